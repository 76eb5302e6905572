/** What is said beside an answer: what was filtered, summarised, left out or called, and how the line is. */
import { useState } from "preact/hooks";
import { ChevronIcon, NoteIcon, ToolIcon } from "../icons";
import { CloudOffIcon, ShieldIcon } from "../shell/icons";
import { Button, Dialog, Field, toast } from "../shell/parts";
import { createStore, useStore } from "../store";
import { useLang } from "../settings";
import { useChatStrings } from "../strings-chat";
import { appeal } from "./api";
import type { Connection } from "./run";
import { noteIn } from "./server-words";
import type { Moderation, Summary, ToolUse } from "./types";

/** The events that somebody at this page has objected to. */
const appealed = createStore<ReadonlySet<string>>(new Set());

/** `onAppeal` opens the dialog for it; null where the reader is a guest. */
export function ModerationNotice(props: { moderation: Moderation; onAppeal: ((event: string) => void) | null }) {
  const strings = useChatStrings();
  const { moderation } = props;
  const sent = useStore(appealed).has(moderation.event_id);
  const about = moderation.direction === "input" ? strings.questionFiltered : strings.answerFiltered;
  const categories = (moderation.categories ?? []).map((one) => strings.categories[one] ?? one);
  return (
    <div
      class={moderation.blocked ? "notice of-problem" : "notice"}
      role="note"
      aria-label={strings.moderation}
    >
      <ShieldIcon />
      <div class="notice-body">
        <p>{moderation.reason || (moderation.blocked ? about.blocked : about.flagged)}</p>
        {categories.length > 0 && <p class="note">{categories.join(strings.comma)}</p>}
        {props.onAppeal && moderation.event_id && (
          <button
            type="button"
            class="link"
            disabled={sent}
            onClick={() => props.onAppeal?.(moderation.event_id)}
          >
            {sent ? strings.appealSent : strings.appeal}
          </button>
        )}
      </div>
    </div>
  );
}

export function AppealDialog(props: { event: string; onClose: () => void }) {
  const strings = useChatStrings();
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  async function send() {
    setBusy(true);
    try {
      await appeal(props.event, text.trim());
      appealed.update((now) => new Set(now).add(props.event));
      toast(strings.appealSent);
      props.onClose();
    } catch (error) {
      setProblem((error as Error).message || strings.lost);
      setBusy(false);
    }
  }
  return (
    <Dialog
      title={strings.appeal}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{strings.cancel}</Button>
          <Button kind="primary" busy={busy} disabled={!text.trim()} onClick={send}>
            {strings.sendAppeal}
          </Button>
        </>
      }
    >
      <Field label={strings.appealWhy} rows={4} maxLength={2000} value={text} onInput={setText} error={problem || undefined} hint={strings.appealHint} />
    </Dialog>
  );
}

export function SummaryNotice(props: { summary: Summary }) {
  const strings = useChatStrings();
  return (
    <details class="fold">
      <summary>
        <NoteIcon />
        <span>{strings.summarised(props.summary.messages)}</span>
        <ChevronIcon />
      </summary>
      <p class="fold-body">{props.summary.text}</p>
    </details>
  );
}

/** A call of a tool: what was asked of it and what it said. */
export function ToolCall(props: { call: ToolUse; title: string; simulated: boolean; running: boolean }) {
  const strings = useChatStrings();
  const { call } = props;
  const failed = Boolean(call.error);
  const over = failed || call.result !== undefined;
  const state = over ? (failed ? strings.toolFailed : strings.toolUsed) : strings.toolRunning;
  return (
    <details class="fold tool">
      <summary>
        <ToolIcon />
        <span>
          {state(props.title)}
          {props.running && !over && <span class="visually-hidden">…</span>}
        </span>
        {props.simulated && <span class="badge">{strings.simulated}</span>}
        <ChevronIcon />
      </summary>
      <dl class="fold-body">
        <dt>{strings.toolArguments}</dt>
        <dd>
          <pre tabIndex={0}>{pretty(call.arguments)}</pre>
        </dd>
        {over && (
          <>
            <dt>{failed ? strings.toolError : strings.toolResult}</dt>
            <dd>
              <pre tabIndex={0}>{failed ? call.error : pretty(call.result)}</pre>
            </dd>
          </>
        )}
      </dl>
    </details>
  );
}

/** Indented JSON of a value, or of a text that holds JSON. */
export function pretty(value: unknown): string {
  const parsed = parseIfJson(value);
  return typeof parsed === "string" ? parsed : JSON.stringify(parsed, null, 2);
}

export function parseIfJson(value: unknown): unknown {
  if (typeof value !== "string") return value ?? "";
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

/** A tool that only acts as if says so in its result, or is known for it. */
export function saysSimulated(call: ToolUse): boolean {
  const result = parseIfJson(call.result);
  return call.simulated === true || (typeof result === "object" && result !== null && (result as any).simulated === true);
}

export function LeftOut(props: { notes: string[] }) {
  const strings = useChatStrings();
  const language = useLang();
  return (
    <div class="left-out note" role="note" aria-label={strings.leftOut}>
      <NoteIcon />
      <div>
        {props.notes.map((note) => (
          <p key={note}>{noteIn(language, note)}</p>
        ))}
      </div>
    </div>
  );
}

export function ConnectionNotice(props: { state: Connection }) {
  const strings = useChatStrings();
  if (props.state === "open") return null;
  return (
    <p class="notice" role="status">
      <CloudOffIcon />
      <span>{props.state === "offline" ? strings.offlineNow : strings.reconnecting}</span>
    </p>
  );
}
