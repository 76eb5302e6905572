/** What comparing and scoring share: the prompt, an answer's card, the bar's tools, guidelines. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { About, Form, Task } from "./arena-api";
import { isReady, type Desk } from "./arena-desk";
import { CloseIcon } from "./icons";
import { Markdown } from "./chat/markdown";
import { memo } from "./memo";
import { useStrings } from "./strings";

/** The conversation up to the user's last turn, which is what the answers answer. */
export const Prompt = memo(function Prompt(props: { task: Task }) {
  const { arena: strings, you } = useStrings();
  const { messages, context, reference, language } = props.task;
  const lang = language ?? undefined;
  const question = messages.at(-1);
  const system = messages.filter((m) => m.role === "system");
  const earlier = messages.slice(0, -1).filter((m) => m.role !== "system");
  return (
    <section class="prompt" aria-label={strings.prompt} lang={lang}>
      {system.length > 0 && (
        <Folded label={strings.instructions}>
          {system.map((m) => (
            <Markdown text={m.content} />
          ))}
        </Folded>
      )}
      {earlier.length > 0 && (
        <details open={earlier.length <= 2} class="folded">
          <summary>{strings.earlier(earlier.length)}</summary>
          <div class="earlier">
            {earlier.map((m) =>
              m.role === "user" ? (
                <article class="question" aria-label={you} dir="auto">
                  {m.content}
                </article>
              ) : (
                <article aria-label={strings.assistant}>
                  <Markdown text={m.content} />
                </article>
              ),
            )}
          </div>
        </details>
      )}
      <p class="question" dir="auto">
        {question?.content}
      </p>
      {context !== null && (
        <Folded label={strings.context}>
          <Markdown text={context} />
        </Folded>
      )}
      {reference !== null && (
        <Folded label={strings.reference}>
          <Markdown text={reference} />
        </Folded>
      )}
    </section>
  );
});

function Folded(props: { label: string; children: ComponentChildren }) {
  return (
    <details class="folded">
      <summary>{props.label}</summary>
      <div class="folded-body">{props.children}</div>
    </details>
  );
}

/** A model's words, as text: nothing in them becomes live. */
export const AnswerCard = memo(function AnswerCard(props: {
  side: string;
  text: string;
  language: string | null;
  chosen: boolean;
}) {
  const strings = useStrings().arena;
  const label = props.side ? strings.answer(props.side) : strings.theAnswer;
  return (
    <section class={props.chosen ? "card chosen" : "card"} aria-label={label}>
      <h2>{props.side ? <span class="side">{props.side}</span> : strings.theAnswer}</h2>
      <div class="card-body" lang={props.language ?? undefined} dir="auto">
        {props.text.trim() ? <Markdown text={props.text} /> : <p class="faint">{strings.emptyAnswer}</p>}
      </div>
    </section>
  );
});

export const Key = (props: { children: ComponentChildren }) => (
  <kbd aria-hidden="true" class="wide-only">
    {props.children}
  </kbd>
);

// A click must not take the focus: Enter then still confirms, and is not the button's own.
export const keepFocus = (event: MouseEvent) => event.preventDefault();

/** A button that is pressed or not. */
export function Toggle(props: {
  class: string;
  pressed: boolean;
  hint: string;
  shortcut: string;
  disabled?: boolean;
  onPress: () => void;
  children: ComponentChildren;
}) {
  return (
    <button
      type="button"
      class={props.class}
      aria-pressed={props.pressed}
      aria-keyshortcuts={props.shortcut}
      disabled={props.disabled ?? false}
      onMouseDown={keepFocus}
      onClick={props.onPress}
    >
      <Key>{props.hint}</Key>
      <span>{props.children}</span>
    </button>
  );
}

/** The last row of the bar: undo, skip, comment, confirm; a comment's field above it. */
export function Tools(props: {
  desk: Desk;
  field: { current: HTMLTextAreaElement | null };
  commenting: boolean;
  onCommenting: (open: boolean) => void;
}) {
  const strings = useStrings().arena;
  const { desk, field, commenting } = props;

  function onKeyDown(event: KeyboardEvent) {
    if (event.isComposing || event.keyCode === 229) return; // Enter chooses a word of an input method
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
      event.preventDefault();
      field.current?.blur();
      if (!desk.draft.comment.trim()) props.onCommenting(false);
      if (event.key === "Enter") desk.confirm();
    }
  }

  return (
    <>
      {/* Always there, so that it can take the focus at once: what is typed next is no command. */}
      <textarea
        ref={field}
        class={commenting ? "comment" : "visually-hidden"}
        tabIndex={commenting ? 0 : -1}
        aria-hidden={!commenting}
        rows={2}
        maxLength={4000}
        value={desk.draft.comment}
        placeholder={strings.commentPlaceholder}
        aria-label={strings.comment}
        onFocus={() => props.onCommenting(true)}
        onInput={({ currentTarget: { value } }) => desk.change(() => ({ comment: value }))}
        onKeyDown={onKeyDown}
      />
      <div class="tools">
        <Tool hint="U" onPress={desk.undo}>
          {strings.undo}
        </Tool>
        <Tool hint="S" onPress={desk.skip}>
          {strings.skip}
        </Tool>
        <Tool hint="C" onPress={() => (commenting ? props.onCommenting(false) : field.current?.focus())}>
          {strings.comment}
        </Tool>
        <p class={desk.problem ? "bar-note problem" : "bar-note"} role={desk.problem ? "alert" : undefined}>
          {desk.problem || desk.notice}
        </p>
        <button
          type="button"
          class="confirm"
          aria-keyshortcuts="Enter"
          aria-disabled={desk.busy || !desk.next || !isReady(desk.next.form, desk.draft)}
          onMouseDown={keepFocus}
          onClick={desk.confirm}
        >
          <span>{strings.confirm}</span>
          <Key>⏎</Key>
        </button>
      </div>
    </>
  );
}

function Tool(props: { hint: string; onPress: () => void; children: ComponentChildren }) {
  return (
    <button
      type="button"
      class="quiet"
      aria-keyshortcuts={props.hint.toLowerCase()}
      onMouseDown={keepFocus}
      onClick={props.onPress}
    >
      <Key>{props.hint}</Key>
      <span>{props.children}</span>
    </button>
  );
}

/** What to judge by, and the keys: before the first one, and with `?`. */
export function Guidelines(props: { about: About; form: Form; first: boolean; onClose: () => void }) {
  const strings = useStrings();
  const { arena } = strings;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys = props.form === "compare" ? arena.keysCompare : arena.keysRate;
  const close = () => dialog.current?.close();
  return (
    <dialog ref={dialog} class="sheet" aria-label={arena.guidelines} onClose={props.onClose}>
      <div class="sheet-body" tabIndex={0}>
        <Markdown text={props.about.guidelines[arena.code]} wrapped />
        <section class="wide-only">
          <h2>{arena.keys}</h2>
          <dl class="keys">
            {keys.map(([key, what]) => (
              <div key={key}>
                <dt>
                  <kbd>{key}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </section>
      </div>
      <footer>
        <button type="button" class="confirm" autoFocus onClick={close}>
          {props.first ? arena.begin : strings.close}
        </button>
      </footer>
      <button type="button" class="round sheet-close" aria-label={strings.close} onClick={close}>
        <CloseIcon />
      </button>
    </dialog>
  );
}
