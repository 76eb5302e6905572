/** A button and the small panel that it opens: closes at Escape, at a press beside it, and when Tab leaves it. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";

export function Popover(props: {
  label: string;
  button: ComponentChildren;
  class?: string;
  children: () => ComponentChildren;
  onOpen?: () => void;
}) {
  const id = useId();
  const frame = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);

  useEffect(() => {
    if (!open) return;
    panel.current?.querySelector<HTMLElement>("input, button, a[href]")?.focus();
    const outside = (event: Event) => {
      const target = event.target as Node;
      // A press on plain text in the panel gives the focus to what is around it: that is not leaving.
      const around = event.type === "focusin" && target.contains(frame.current);
      if (!around && !frame.current?.contains(target)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside, true);
    document.addEventListener("focusin", outside, true);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      document.removeEventListener("focusin", outside, true);
    };
  }, [open]);

  return (
    <div
      class="popover-frame"
      ref={frame}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open) return;
        event.stopPropagation();
        setOpen(false);
        button.current?.focus();
      }}
    >
      <button
        ref={button}
        type="button"
        class={props.class ?? "quiet"}
        aria-label={props.label}
        aria-haspopup="dialog"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        data-tip={props.label}
        onClick={() => {
          if (!open) props.onOpen?.();
          setOpen(!open);
        }}
      >
        {props.button}
      </button>
      {open && (
        <div class="popover-panel" id={id} ref={panel} role="dialog" aria-label={props.label}>
          {props.children()}
        </div>
      )}
    </div>
  );
}
