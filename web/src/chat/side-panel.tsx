import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { CloseIcon } from "../icons";
import { useChatStrings } from "../strings-chat";

/** A sheet at the side of the window, at the foot of a phone's. Open while it is drawn. */
export function SidePanel(props: {
  title: string;
  onClose: () => void;
  before?: ComponentChildren;
  foot?: ComponentChildren;
  children: ComponentChildren;
}) {
  const strings = useChatStrings();
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    // The browser's own dialog keeps the focus inside, closes at Escape and gives the focus back.
    dialog.current?.showModal();
  }, []);

  return (
    <dialog
      ref={dialog}
      class="drawer"
      aria-labelledby={id}
      onClose={props.onClose}
      onKeyDown={(event) => event.key === "Escape" && event.stopPropagation()} // it stops no answer
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div class="drawer-inside">
        <header>
          {props.before}
          <h2 id={id}>{props.title}</h2>
          <button type="button" class="round" onClick={() => dialog.current?.close()} aria-label={strings.close}>
            <CloseIcon />
          </button>
        </header>
        <div class="drawer-body" tabIndex={0}>
          {props.children}
        </div>
        {props.foot && <footer>{props.foot}</footer>}
      </div>
    </dialog>
  );
}
