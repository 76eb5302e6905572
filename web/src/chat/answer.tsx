import { useCallback, useMemo } from "preact/hooks";
import { RetryIcon, CompareIcon, ForwardIcon } from "../icons";
import { memo } from "../memo";
import { useLang } from "../settings";
import { MoreIcon, PencilIcon, ThumbIcon } from "../shell/icons";
import { Menu } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import { CopyButton } from "./code";
import { ConnectionNotice, LeftOut, ModerationNotice, saysSimulated, SummaryNotice, ToolCall } from "./notices";
import { listedSources } from "./progress";
import type { Connection } from "./run";
import { errorIn } from "./server-words";
import { AnswerText } from "./text";
import { CitationChip, SourceList } from "./sources";
import type { Actions, Names } from "./turns";
import type { Message, Source } from "./types";
import { VersionSwitch } from "./versions";

interface AnswerProps {
  message: Message;
  index: number;
  count: number;
  last: boolean;
  found: boolean;
  busy: boolean;
  connection: Connection;
  names: Names;
  actions: Actions;
}

/** An answer with what belongs to it and what can be done with it. Drawn again only when it changes. */
export const AnswerView = memo(function AnswerView(props: AnswerProps) {
  const { message, actions, names, busy } = props;
  const strings = useChatStrings();
  const writing = message.status === "writing";
  const model = names.models.find((one) => one.id === message.model);
  const canContinue = props.last && !busy && (message.finish === "length" || message.status === "stopped") && message.text !== "";
  return (
    <article
      class={props.found ? "answer found" : "answer"}
      data-message={message.id}
      tabIndex={-1}
      aria-label={model?.title ?? message.model ?? strings.answer}
      aria-busy={writing}
    >
      <AnswerBody message={message} names={names} connection={props.connection} onOpen={actions.open} onAppeal={actions.appeal} />
      {message.status === "failed" && <Problem message={message} busy={busy} onRetry={() => actions.regenerate(message.id)} />}
      {canContinue && (
        <button type="button" class="outlined continue" onClick={() => actions.continue(message.id)}>
          <ForwardIcon />
          <span>{strings.continueWriting}</span>
        </button>
      )}
      {!writing && !(message.status === "failed" && message.text === "" && props.count < 2) && (
        <div class={props.last ? "actions" : "actions quiet-actions"}>
          <VersionSwitch index={props.index} count={props.count} onStep={(by) => actions.step(message.id, by)} />
          <AnswerActions {...props} />
          <Footer message={message} name={model?.title ?? message.model ?? ""} />
        </div>
      )}
    </article>
  );
});

/** What an answer says and rests on, without what can be done with it. */
export function AnswerBody(props: {
  message: Message;
  names: Names;
  connection: Connection;
  onOpen: (source: Source, model: string) => void;
  onAppeal: ((event: string) => void) | null;
}) {
  const strings = useChatStrings();
  const { message, names, onOpen } = props;
  const { retrieved, citations } = message;
  const writing = message.status === "writing";
  const grounded = names.models.find((one) => one.id === message.model)?.grounded ?? false;
  const known = useMemo(() => new Map([...retrieved, ...citations].map((one) => [one.number, one])), [retrieved, citations]);
  const open = useCallback((source: Source) => onOpen(source, message.model ?? ""), [onOpen, message.model]);
  const citation = useCallback(
    (number: number) => {
      const source = known.get(number);
      return source ? <CitationChip key={number} source={source} onOpen={open} /> : null;
    },
    [known, open],
  );
  const sources = listedSources(message);
  const done = message.status === "done" && message.text !== "";
  return (
    <>
      {message.summary && <SummaryNotice summary={message.summary} />}
      {message.tool_calls.length > 0 && (
        <div class="tool-calls">
          {message.tool_calls.map((call) => {
            const tool = names.tools.find((one) => one.name === call.name);
            return (
              <ToolCall
                key={call.id}
                call={call}
                title={tool?.title || call.name}
                simulated={tool?.simulated || saysSimulated(call)}
                running={writing}
              />
            );
          })}
        </div>
      )}
      {message.text !== "" && <AnswerText text={message.text} growing={writing} citation={citation} />}
      {writing && (
        <p class={message.text ? "writing after-text" : "writing"} aria-hidden="true">
          <span class="dot" />
          <span class="dot" />
          <span class="dot" />
        </p>
      )}
      {writing && <ConnectionNotice state={props.connection} />}
      {message.moderation && <ModerationNotice moderation={message.moderation} onAppeal={props.onAppeal} />}
      {message.status === "stopped" && !message.moderation?.blocked && (
        <p class="note">{message.finish === "interrupted" ? strings.interrupted : strings.stopped}</p>
      )}
      {message.finish === "length" && <p class="note">{strings.cutOff}</p>}
      {!writing && sources.length > 0 && <SourceList heading={strings.sources} sources={sources} onOpen={open} />}
      {done && grounded && sources.length === 0 && <p class="note">{strings.noSource}</p>}
      {done && sources.length === 0 && retrieved.length > 0 && (
        <SourceList heading={strings.shown} sources={retrieved} onOpen={open} />
      )}
      {!writing && message.notes.length > 0 && <LeftOut notes={message.notes} />}
    </>
  );
}

function AnswerActions(props: AnswerProps) {
  const strings = useChatStrings();
  const { message, actions, busy } = props;
  const rating = message.feedback?.rating ?? null;
  const said = message.text !== "";
  return (
    <>
      {said && <CopyButton icon text={message.text} label={strings.copyAnswer} />}
      {said &&
        (["up", "down"] as const).map((one) => (
          <button
            key={one}
            type="button"
            class={`round thumb ${one}`}
            aria-label={strings.thumbs[one]}
            aria-pressed={rating === one}
            data-tip={strings.thumbs[one]}
            onClick={() => actions.thumb(message, one)}
          >
            <ThumbIcon />
          </button>
        ))}
      {message.status !== "failed" && (
        <button
          type="button"
          class="round"
          aria-label={strings.regenerate}
          data-tip={strings.regenerate}
          disabled={busy}
          onClick={() => actions.regenerate(message.id)}
        >
          <RetryIcon />
        </button>
      )}
      {said && (
        <Menu
          label={strings.more}
          items={[
            {
              label: props.count > 1 ? strings.compareVersions : strings.compareAnother,
              icon: <CompareIcon />,
              disabled: busy,
              onSelect: () => actions.compare(message.id),
            },
            { label: strings.improve, icon: <PencilIcon />, onSelect: () => actions.improve(message) },
            ...(props.last && !busy
              ? [{ label: strings.continueWriting, icon: <ForwardIcon />, onSelect: () => actions.continue(message.id) }]
              : []),
            ...(rating ? [{ label: strings.explainRating, icon: <ThumbIcon />, onSelect: () => actions.explain(message) }] : []),
          ]}
        >
          {(trigger) => (
            <button {...trigger} type="button" class="round" aria-label={strings.more} data-tip={strings.more}>
              <MoreIcon />
            </button>
          )}
        </Menu>
      )}
    </>
  );
}

function Footer(props: { message: Message; name: string }) {
  const strings = useChatStrings();
  const language = useLang();
  const { usage, feedback } = props.message;
  const parts = [
    props.name,
    usage?.completion_tokens ? strings.tokens(usage.completion_tokens.toLocaleString(language)) : "",
    feedback?.better ? strings.hasBetter : "",
  ].filter(Boolean);
  return <p class="answer-foot">{parts.join(" \u00b7 ")}</p>;
}

function Problem(props: { message: Message; busy: boolean; onRetry: () => void }) {
  const strings = useChatStrings();
  const language = useLang();
  const { message } = props;
  const lost = message.errorCode === "connection_lost";
  const quota = message.errorCode === "insufficient_quota";
  const known = lost ? strings.lost : quota ? strings.quota : errorIn(language, message.errorCode);
  const said = known ?? (message.error ? `${strings.failed} ${message.error}` : strings.failedPlain);
  return (
    <div class="problem" role="alert">
      <p>{said}</p>
      <button type="button" class="outlined" disabled={props.busy} onClick={props.onRetry}>
        <RetryIcon />
        <span>{strings.retry}</span>
      </button>
    </div>
  );
}
