/** A button and the list that it opens: arrow keys, first letters, Escape, and the focus given back. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { CheckIcon } from "../icons";

export type MenuItem =
  | "line"
  | { heading: string }
  | {
      label: string;
      onSelect: () => void;
      icon?: ComponentChildren;
      detail?: string; // a second, quieter line
      hint?: string; // at the end of the line, as a key to press
      checked?: boolean; // one of a set
      danger?: boolean;
      disabled?: boolean;
    };

type Trigger = {
  ref: { current: HTMLButtonElement | null };
  "aria-haspopup": "menu";
  "aria-expanded": boolean;
  "aria-controls": string | undefined;
  onClick: (event: MouseEvent) => void;
  onKeyDown: (event: KeyboardEvent) => void;
};

/** `children` draws the button: `(trigger) => <button {...trigger}>…</button>`. */
export function Menu(props: {
  label: string;
  items: MenuItem[] | (() => MenuItem[]);
  children: (trigger: Trigger) => JSX.Element;
  align?: "start" | "end";
  wide?: boolean;
  onOpen?: (open: boolean) => void;
}) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [open, setOpenState] = useState<"first" | "last" | null>(null);
  const typed = useRef({ text: "", at: 0 });

  const setOpen = (next: "first" | "last" | null) => {
    setOpenState(next);
    props.onOpen?.(next !== null);
  };
  const close = (giveBack = true) => {
    setOpen(null);
    if (giveBack) button.current?.focus();
  };

  useLayoutEffect(() => {
    if (!open || !list.current || !button.current) return;
    place(list.current, button.current, props.align ?? "start");
    const entries = rows(list.current);
    const checked = entries.find((entry) => entry.getAttribute("aria-checked") === "true");
    (open === "last" ? entries.at(-1) : (checked ?? entries[0]))?.focus({ preventScroll: true });
    checked?.scrollIntoView({ block: "nearest" });
  }, [open]);

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      const target = event.target as Node;
      if (!list.current?.contains(target) && !button.current?.contains(target)) close(false);
    };
    const moved = () => close(false);
    const scrolled = (event: Event) => {
      if (!list.current?.contains(event.target as Node)) close(false);
    };
    document.addEventListener("pointerdown", outside, true);
    document.addEventListener("scroll", scrolled, true);
    addEventListener("resize", moved);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      document.removeEventListener("scroll", scrolled, true);
      removeEventListener("resize", moved);
    };
  }, [open]);

  function onKeyDown(event: KeyboardEvent) {
    const entries = rows(list.current!);
    const at = entries.indexOf(document.activeElement as HTMLElement);
    const count = entries.length;
    const to = { ArrowDown: (at + 1) % count, ArrowUp: (at - 1 + count) % count, Home: 0, End: count - 1 }[event.key];
    if (event.key === "Escape") close();
    else if (event.key === "Tab") close();
    else if (to !== undefined) entries[to]?.focus();
    else if (event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey) {
      const now = performance.now();
      typed.current = { text: (now - typed.current.at < 600 ? typed.current.text : "") + event.key.toLowerCase(), at: now };
      const start = typed.current.text.length > 1 ? at : at + 1;
      const order = entries.map((_, index) => entries[(start + index) % count]!);
      order.find((entry) => entry.textContent!.trim().toLowerCase().startsWith(typed.current.text))?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const items = open ? (typeof props.items === "function" ? props.items() : props.items) : [];
  const radio = items.some((item) => typeof item === "object" && "label" in item && item.checked !== undefined);
  return (
    <>
      {props.children({
        ref: button,
        "aria-haspopup": "menu",
        "aria-expanded": open !== null,
        "aria-controls": open ? id : undefined,
        onClick: (event) => {
          event.stopPropagation();
          setOpen(open ? null : "first");
        },
        onKeyDown: (event) => {
          if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
          event.preventDefault();
          event.stopPropagation();
          setOpen(event.key === "ArrowDown" ? "first" : "last");
        },
      })}
      {open && (
        <div
          ref={list}
          id={id}
          class={props.wide ? "menu wide" : "menu"}
          role="menu"
          aria-label={props.label}
          tabIndex={-1}
          onKeyDown={onKeyDown}
          onClick={(event) => event.stopPropagation()}
        >
          {items.map((item, index) =>
            item === "line" ? (
              <div key={index} class="menu-line" role="separator" />
            ) : "heading" in item ? (
              <div key={index} class="menu-heading" role="presentation">
                {item.heading}
              </div>
            ) : (
              <button
                key={index}
                type="button"
                class={item.danger ? "menu-item of-danger" : "menu-item"}
                role={item.checked !== undefined ? "menuitemradio" : "menuitem"}
                aria-checked={item.checked}
                aria-disabled={item.disabled || undefined}
                tabIndex={-1}
                onPointerMove={(event) => event.currentTarget.focus({ preventScroll: true })}
                onClick={() => {
                  if (item.disabled) return;
                  close();
                  item.onSelect();
                }}
              >
                {item.icon}
                <span class="menu-text">
                  <span>{item.label}</span>
                  {item.detail && <span class="menu-detail">{item.detail}</span>}
                </span>
                {item.hint && <span class="menu-hint">{item.hint}</span>}
                {radio && <span class="menu-check">{item.checked && <CheckIcon />}</span>}
              </button>
            ),
          )}
        </div>
      )}
    </>
  );
}

const rows = (list: HTMLElement) => [...list.querySelectorAll<HTMLElement>("[role^=menuitem]")];

/** Below its button where there is room, else above; always inside the window. */
function place(list: HTMLElement, button: HTMLElement, align: "start" | "end") {
  const gap = 4;
  const edge = 8;
  const anchor = button.getBoundingClientRect();
  const { width, height } = list.getBoundingClientRect();
  const below = innerHeight - anchor.bottom - gap - edge;
  const above = anchor.top - gap - edge;
  const up = height > below && above > below;
  const left = align === "end" ? anchor.right - width : anchor.left;
  list.style.left = `${Math.max(edge, Math.min(left, innerWidth - width - edge))}px`;
  list.style.maxHeight = `${up ? above : below}px`;
  if (up) list.style.bottom = `${innerHeight - anchor.top + gap}px`;
  else list.style.top = `${anchor.bottom + gap}px`;
}
