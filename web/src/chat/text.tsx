/** Markdown whose parser is not part of what the page must load first. */
import type { DrawCitation } from "./markdown";
import { lazily } from "./lazy";

const parser = lazily(() => import("./markdown"));

/** It will be needed as soon as there is an answer. */
export const fetchMarkdown = parser.fetch;

/** An answer's text; `growing` while more is to come. */
export function AnswerText(props: { text: string; growing: boolean; citation: DrawCitation }) {
  const loaded = parser.use();
  return loaded ? <loaded.GrowingMarkdown {...props} /> : <Unparsed text={props.text} failed={loaded === null} />;
}

export function MarkdownText(props: { text: string }) {
  const loaded = parser.use();
  return loaded ? <loaded.Markdown text={props.text} /> : <Unparsed text={props.text} failed={loaded === null} />;
}

/** For a moment it only takes up its room; it is shown as it is where there will be no parser. */
function Unparsed(props: { text: string; failed: boolean }) {
  return <div class={props.failed ? "markdown unparsed" : "markdown unparsed coming"}>{props.text}</div>;
}
