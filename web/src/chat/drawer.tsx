/** A cited passage beside the conversation: its text, where it stands, and the way it took to get here. */
import { useEffect, useState } from "preact/hooks";
import { useLang } from "../settings";
import { LinkIcon } from "../icons";
import { FileIcon } from "../shell/icons";
import type { Language } from "../strings";
import { useChatStrings } from "../strings-chat";
import { collectionOf, documentPassage, lineage, type DocumentPassage, type Lineage, type Step } from "./api";
import { safeLink } from "./safe-link";
import { SidePanel } from "./side-panel";
import { MarkdownText } from "./text";
import type { Source } from "./types";

export interface Opened {
  source: Source;
  model: string;
}

export function Drawer(props: { opened: Opened; onClose: () => void; offline?: boolean }) {
  const strings = useChatStrings();
  const { source, model } = props.opened;
  const collection = collectionOf(source);
  const [found, setFound] = useState<Lineage | null>(null);
  const [document, setDocument] = useState<DocumentPassage | null>(null);
  const [problem, setProblem] = useState("");

  useEffect(() => {
    if (props.offline) return;
    let wanted = true;
    setFound(null);
    setDocument(null);
    setProblem("");
    const fail = (error: Error) => wanted && setProblem(error.message || strings.lost);
    if (collection) documentPassage(collection, source.id).then((value) => wanted && setDocument(value), fail);
    else lineage(model, source.id).then((value) => wanted && setFound(value), fail);
    return () => {
      wanted = false;
    };
  }, [model, source.id, collection]);

  const link = safeLink(source.uri ?? "");
  // A shared conversation may name its sources without their text.
  const text = found?.passage.text ?? document?.passage.text ?? source.text ?? "";
  return (
    <SidePanel
      title={source.title || source.uri}
      before={
        <span class="chip" aria-hidden="true">
          {source.number}
        </span>
      }
      onClose={props.onClose}
    >
      {collection ? (
        <p class="page-link plain">
          <FileIcon />
          <span>
            {document?.file.name ?? source.title}
            {document?.passage.page && ` \u00b7 ${strings.pageNumber(document.passage.page)}`}
          </span>
        </p>
      ) : link ? (
        <a class="page-link" href={link} target="_blank" rel="noopener noreferrer nofollow">
          <LinkIcon />
          <span>{strings.openPage}</span>
        </a>
      ) : (
        source.uri && <p class="page-link plain">{source.uri}</p>
      )}
      {text && (
        <>
          <h3>{strings.passage}</h3>
          {document?.before && <Around text={document.before} />}
          <blockquote class="passage" dir="auto">
            <MarkdownText text={text} />
          </blockquote>
          {document?.after && <Around text={document.after} />}
        </>
      )}
      {props.offline && !text && <p class="note">{strings.passageNotShared}</p>}
      {!props.offline && !collection && <h3>{strings.lineage}</h3>}
      {problem && <p class="problem">{problem}</p>}
      {!props.offline && !found && !document && !problem && <p class="note">{strings.loading}</p>}
      {found && <Facts found={found} />}
    </SidePanel>
  );
}

function Around(props: { text: string }) {
  return (
    <div class="around" dir="auto">
      <MarkdownText text={props.text} />
    </div>
  );
}

function Facts(props: { found: Lineage }) {
  const strings = useChatStrings();
  const language = useLang();
  const { page, steps } = props.found;
  const facts: [string, string | null, string?][] = [
    [strings.page, page.title || page.uri],
    [strings.collection, page.source, "mono"],
    [strings.licence, page.license],
    [strings.language, languageName(page.language, language)],
    [strings.collectedAt, date(page.collected_at, language)],
    [strings.pageId, page.id, "mono"],
  ];
  return (
    <>
      <dl class="facts">
        {facts.map(([name, value, style]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class={style ?? ""}>{value || <span class="faint">{strings.unknown}</span>}</dd>
          </div>
        ))}
      </dl>
      <h3>{strings.path}</h3>
      <ol class="steps">
        {[...steps].reverse().map((step) => (
          <StepView key={step.fingerprint} step={step} language={language} />
        ))}
      </ol>
    </>
  );
}

function StepView(props: { step: Step; language: Language }) {
  const strings = useChatStrings();
  const { step } = props;
  return (
    <li>
      <strong>{step.stage}</strong>
      <span class="faint">{step.missing ? strings.stepMissing : strings.rows(step.rows ?? 0)}</span>
      <span class="mono faint" title={step.fingerprint}>
        {step.fingerprint.slice(0, 12)}
      </span>
      {(step.ledger?.length ?? 0) > 0 && (
        <ul>
          {step.ledger!.map((line, index) => (
            <li key={index}>
              <span class={`action ${line.action}`}>{strings.ledgerActions[line.action] ?? line.action}</span> {line.rule}
              {line.value !== null && ` ${measure(line.value, props.language)}`}
              {line.bound && ` (${line.bound})`}
              {line.detail && ` \u00b7 ${line.detail}`}
            </li>
          ))}
        </ul>
      )}
    </li>
  );
}

function measure(value: number, language: Language): string {
  const digits = Number.isInteger(value) ? {} : { maximumSignificantDigits: 4 };
  return value.toLocaleString(language, digits);
}

function date(iso: string | null, language: Language): string | null {
  if (!iso) return null;
  const time = new Date(iso);
  if (Number.isNaN(time.valueOf())) return iso;
  return time.toLocaleDateString(language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "long" });
}

function languageName(tag: string | null, language: Language): string | null {
  if (!tag) return null;
  try {
    return new Intl.DisplayNames([language], { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag;
  }
}
