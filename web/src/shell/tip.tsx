/** What a picture means, shown when it is pointed at or reached by key: any element with `data-tip`. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

/** Gives what is inside a tip. (A button with a picture has one by itself.) */
export function Tooltip(props: { text: string; children: ComponentChildren }) {
  return (
    <span class="tipped" data-tip={props.text}>
      {props.children}
    </span>
  );
}

const WAIT = 450;

/** Where tips are drawn; once in the page. Screen readers have the label of the element itself. */
export function Tips() {
  const [shown, setShown] = useState<{ text: string; anchor: Element } | null>(null);
  const bubble = useRef<HTMLDivElement>(null);

  useEffect(() => {
    let timer = 0;
    const hide = () => {
      clearTimeout(timer);
      setShown(null);
    };
    const over = (event: Event) => {
      const anchor = (event.target as Element).closest?.("[data-tip]");
      hide();
      if (!anchor || anchor.getAttribute("aria-expanded") === "true") return;
      if (event.type === "focusin" && !anchor.matches(":focus-visible")) return;
      const touch = event instanceof PointerEvent && event.pointerType === "touch";
      if (!touch) timer = setTimeout(() => setShown({ text: anchor.getAttribute("data-tip")!, anchor }), WAIT);
    };
    document.addEventListener("pointerover", over);
    document.addEventListener("focusin", over);
    for (const kind of ["pointerdown", "keydown", "scroll", "focusout"]) document.addEventListener(kind, hide, true);
    return () => {
      hide();
      document.removeEventListener("pointerover", over);
      document.removeEventListener("focusin", over);
      for (const kind of ["pointerdown", "keydown", "scroll", "focusout"])
        document.removeEventListener(kind, hide, true);
    };
  }, []);

  useEffect(() => {
    const element = bubble.current;
    if (!element || !shown) return;
    if ("showPopover" in element && !element.matches(":popover-open")) element.showPopover();
    const anchor = shown.anchor.getBoundingClientRect();
    const { width, height } = element.getBoundingClientRect();
    const left = anchor.left + anchor.width / 2 - width / 2;
    const below = anchor.bottom + 6;
    element.style.left = `${Math.max(6, Math.min(left, innerWidth - width - 6))}px`;
    element.style.top = `${below + height > innerHeight - 6 ? anchor.top - height - 6 : below}px`;
  }, [shown]);

  return shown && (
    <div ref={bubble} class="tip" popover="manual" aria-hidden="true">
      {shown.text}
    </div>
  );
}
