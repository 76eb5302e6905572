import { memo } from "./memo";
import type { Source } from "./api";
import { CopyButton } from "./code";
import { listedSources, type Answer } from "./conversation";
import { NoteIcon, RetryIcon } from "./icons";
import { Markdown } from "./markdown";
import { useStrings } from "./strings";

export function QuestionView(props: { text: string }) {
  const strings = useStrings();
  return (
    <article class="question" aria-label={strings.you}>
      <p dir="auto">{props.text}</p>
    </article>
  );
}

interface AnswerProps {
  answer: Answer;
  name: string;
  grounded: boolean;
  onOpen: (source: Source, model: string) => void;
  onRetry: (() => void) | null;
}

/** An answer with its chips, sources, notes and actions. Drawn again only when it changes. */
export const AnswerView = memo(function AnswerView(props: AnswerProps) {
  const strings = useStrings();
  const { answer } = props;
  const sources = listedSources(answer);
  const known = new Map([...answer.retrieved, ...answer.citations].map((s) => [s.number, s]));
  const open = (source: Source) => props.onOpen(source, answer.model);
  const writing = answer.state === "writing";

  function citation(number: number) {
    const source = known.get(number);
    if (!source) return null;
    return (
      <button
        type="button"
        class="chip"
        title={source.title}
        aria-label={strings.openSource(number, source.title)}
        onClick={() => open(source)}
      >
        {number}
      </button>
    );
  }

  return (
    <article class="answer" aria-label={props.name} aria-busy={writing}>
      {answer.text !== "" && <Markdown text={answer.text} citation={citation} />}
      {writing && (
        <p class={answer.text ? "writing after-text" : "writing"} aria-hidden="true">
          <span class="dot" />
          <span class="dot" />
          <span class="dot" />
        </p>
      )}
      {answer.state === "stopped" && <p class="note">{strings.stopped}</p>}
      {answer.cutOff && <p class="note">{strings.cutOff}</p>}
      {answer.state === "failed" && (
        <p class="problem" role="alert">
          {answer.error}
        </p>
      )}
      {!writing && sources.length > 0 && (
        <SourceList heading={strings.sources} sources={sources} onOpen={open} />
      )}
      {answer.state === "done" && props.grounded && sources.length === 0 && (
        <p class="note">{strings.noSource}</p>
      )}
      {answer.state === "done" && sources.length === 0 && answer.retrieved.length > 0 && (
        <SourceList heading={strings.shown} sources={answer.retrieved} onOpen={open} />
      )}
      {!writing && answer.leftOut.length > 0 && (
        <aside class="left-out note" aria-label={strings.leftOut}>
          <NoteIcon />
          <div>
            {answer.leftOut.map((note) => (
              <p>{note}</p>
            ))}
          </div>
        </aside>
      )}
      {!writing && (
        <div class="actions">
          {answer.text !== "" && <CopyButton text={answer.text} label={strings.copyAnswer} />}
          {props.onRetry && (
            <button type="button" class="quiet" onClick={props.onRetry}>
              <RetryIcon />
              <span>{strings.retry}</span>
            </button>
          )}
        </div>
      )}
    </article>
  );
});

function SourceList(props: {
  heading: string;
  sources: Source[];
  onOpen: (source: Source) => void;
}) {
  return (
    <section class="sources" aria-label={props.heading}>
      <h3>{props.heading}</h3>
      <ol>
        {props.sources.map((source) => (
          <li key={source.number}>
            <button type="button" onClick={() => props.onOpen(source)}>
              <span class="chip" aria-hidden="true">
                {source.number}
              </span>
              <span class="source-title">{source.title || source.uri}</span>
              <span class="source-place">{place(source.uri)}</span>
            </button>
          </li>
        ))}
      </ol>
    </section>
  );
}

/** Where a page is, short enough for one line: host and path without scheme. */
export function place(uri: string): string {
  return decodeURI_(uri.replace(/^https?:\/\//, "").replace(/[#?].*$/, ""));
}

function decodeURI_(text: string): string {
  try {
    return decodeURI(text);
  } catch {
    return text;
  }
}
