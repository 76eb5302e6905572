/** Dialogs: the browser's own modal element, which holds the focus and gives it back. */
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { CloseIcon } from "../icons";
import { createStore, useStore } from "../store";
import { useShell } from "../strings-shell";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  actions?: ComponentChildren; // the row of buttons at its foot
  size?: "small" | "medium" | "large";
  locked?: boolean; // cannot be put away: something must be done first
  hideTitle?: boolean;
}

/** Open while it is drawn. Escape, the cross and a press beside it call `onClose`. */
export function Dialog(props: DialogProps) {
  const strings = useShell();
  const id = useId();
  const element = useRef<HTMLDialogElement>(null);

  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const dialog = element.current!;
    dialog.showModal();
    // The first thing to do in it, not the cross.
    dialog.querySelector<HTMLElement>(".dialog-body :is(input, textarea, select, button, a[href]), .dialog-actions button")?.focus();
    return () => {
      dialog.close();
      if (before?.isConnected) before.focus({ preventScroll: true });
    };
  }, []);

  return (
    <dialog
      ref={element}
      class={`dialog ${props.size ?? "medium"}`}
      aria-labelledby={`${id}-title`}
      onCancel={(event) => {
        event.preventDefault(); // what draws it decides
        if (!props.locked) props.onClose();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") event.stopPropagation(); // Escape in here stops no answer
        if (event.key === "Escape" && event.isComposing) event.preventDefault();
      }}
      onPointerDown={(event) => {
        if (event.target === element.current && !props.locked) props.onClose();
      }}
    >
      <div class="dialog-inside">
        <header class="dialog-head">
          <h2 id={`${id}-title`} class={props.hideTitle ? "visually-hidden" : ""}>
            {props.title}
          </h2>
          {!props.locked && (
            <button type="button" class="round" aria-label={strings.close} data-tip={strings.close} onClick={props.onClose}>
              <CloseIcon />
            </button>
          )}
        </header>
        <div class="dialog-body">{props.children}</div>
        {props.actions && <footer class="dialog-actions">{props.actions}</footer>}
      </div>
    </dialog>
  );
}

interface Question {
  title: string;
  text: ComponentChildren;
  action: string; // what the button that does it says
  danger?: boolean;
  typed?: string; // must be typed first, word for word
}

const question = createStore<{ asked: Question; answer: (yes: boolean) => void } | null>(null);

/** Ask before something that cannot be taken back; whether it is to be done. */
export function confirm(asked: Question): Promise<boolean> {
  question.get()?.answer(false);
  return new Promise((resolve) =>
    question.set({
      asked,
      answer(yes) {
        question.set(null);
        resolve(yes);
      },
    }),
  );
}

/** Where `confirm` is drawn; once in the page. */
export function Confirms() {
  const now = useStore(question);
  return now && <ConfirmDialog asked={now.asked} answer={now.answer} />;
}

function ConfirmDialog(props: { asked: Question; answer: (yes: boolean) => void }) {
  const strings = useShell();
  const { asked, answer } = props;
  const [typed, setTyped] = useState("");
  const ready = !asked.typed || typed.trim() === asked.typed;
  return (
    <Dialog
      title={asked.title}
      size="small"
      onClose={() => answer(false)}
      actions={
        <>
          <button type="button" class="outlined" onClick={() => answer(false)}>
            {strings.cancel}
          </button>
          <button
            type="button"
            class={asked.danger ? "danger filled" : "primary"}
            disabled={!ready}
            onClick={() => answer(true)}
          >
            {asked.action}
          </button>
        </>
      }
    >
      <div class="stack">
        {typeof asked.text === "string" ? <p>{asked.text}</p> : asked.text}
        {asked.typed && (
          <label class="field">
            <span>{strings.typeToConfirm(asked.typed)}</span>
            <input class="input" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
          </label>
        )}
      </div>
    </Dialog>
  );
}
