import { useEffect, useRef, useState } from "preact/hooks";
import { lineage, type Lineage, type Source, type Step } from "./api";
import { CloseIcon, LinkIcon } from "./icons";
import { Markdown, safeLink } from "./markdown";
import { useStrings, type Language } from "./strings";

export interface Opened {
  source: Source;
  model: string;
}

/** A cited passage beside the conversation: its text, its page, and the way it took to get here. */
export function Drawer(props: { opened: Opened; language: Language; onClose: () => void }) {
  const strings = useStrings();
  const { source, model } = props.opened;
  const dialog = useRef<HTMLDialogElement>(null);
  const [found, setFound] = useState<Lineage | null>(null);
  const [problem, setProblem] = useState("");

  useEffect(() => {
    // The browser's own dialog keeps the focus inside, closes at Escape and gives the focus back.
    dialog.current?.showModal();
  }, []);

  useEffect(() => {
    let wanted = true;
    setFound(null);
    setProblem("");
    lineage(model, source.id).then(
      (value) => wanted && setFound(value),
      (error: Error) => wanted && setProblem(error.message || strings.offline),
    );
    return () => {
      wanted = false;
    };
  }, [model, source.id]);

  const link = safeLink(source.uri);
  return (
    <dialog
      ref={dialog}
      class="drawer"
      aria-labelledby="drawer-title"
      onClose={props.onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div class="drawer-inside">
        <header>
          <span class="chip" aria-hidden="true">
            {source.number}
          </span>
          <h2 id="drawer-title">{source.title || source.uri}</h2>
          <button type="button" class="round" onClick={() => dialog.current?.close()} aria-label={strings.close}>
            <CloseIcon />
          </button>
        </header>
        <div class="drawer-body" tabIndex={0}>
          {link ? (
            <a class="page-link" href={link} target="_blank" rel="noopener noreferrer">
              <LinkIcon />
              <span>{strings.openPage}</span>
            </a>
          ) : (
            <p class="page-link plain">{source.uri}</p>
          )}
          <h3>{strings.passage}</h3>
          <blockquote class="passage" dir="auto">
            <Markdown text={found?.passage.text ?? source.text} />
          </blockquote>
          <h3>{strings.lineage}</h3>
          {problem && <p class="problem">{problem}</p>}
          {!found && !problem && <p class="note">{strings.loading}</p>}
          {found && <Facts found={found} language={props.language} />}
        </div>
      </div>
    </dialog>
  );
}

function Facts(props: { found: Lineage; language: Language }) {
  const strings = useStrings();
  const { page, steps } = props.found;
  const facts: [string, string | null, string?][] = [
    [strings.page, page.title || page.uri],
    [strings.collection, page.source, "mono"],
    [strings.licence, page.license],
    [strings.language, languageName(page.language, props.language)],
    [strings.collectedAt, date(page.collected_at, props.language)],
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
          <StepView key={step.fingerprint} step={step} language={props.language} />
        ))}
      </ol>
    </>
  );
}

function StepView(props: { step: Step; language: Language }) {
  const strings = useStrings();
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
          {step.ledger!.map((line) => (
            <li>
              <span class={`action ${line.action}`}>{strings.actions[line.action] ?? line.action}</span> {line.rule}
              {line.value !== null && ` ${measure(line.value, props.language)}`}
              {line.bound && ` (${line.bound})`}
              {line.detail && ` · ${line.detail}`}
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
