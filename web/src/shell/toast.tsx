/** Short words at the foot of the page that go by themselves. */
import { useEffect, useRef } from "preact/hooks";
import { CloseIcon } from "../icons";
import { createStore, useStore } from "../store";
import { useShell } from "../strings-shell";

interface Toast {
  id: number;
  text: string;
  tone: "plain" | "problem";
  action: { label: string; onSelect: () => void } | undefined;
}

const toasts = createStore<Toast[]>([]);
let count = 0;

/** Say something for a moment; `action` (undo) keeps it a little longer. Returns what takes it away. */
export function toast(
  text: string,
  options: { tone?: "plain" | "problem"; action?: { label: string; onSelect: () => void }; seconds?: number } = {},
): () => void {
  const id = ++count;
  const remove = () => toasts.update((now) => now.filter((one) => one.id !== id));
  const made: Toast = { id, text, tone: options.tone ?? "plain", action: options.action };
  toasts.update((now) => [...now.filter((one) => one.text !== text), made].slice(-3));
  setTimeout(remove, 1000 * (options.seconds ?? (options.action || options.tone === "problem" ? 8 : 4)));
  return remove;
}

/** Where toasts are drawn; once in the page. They lie above open dialogs. */
export function Toasts() {
  const strings = useShell();
  const now = useStore(toasts);
  const region = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const element = region.current;
    if (!element || !("showPopover" in element)) return;
    // The newest layer is on top: close it and open it again above what opened meanwhile.
    if (element.matches(":popover-open")) element.hidePopover();
    if (now.length) element.showPopover();
  }, [now]);

  return (
    <div ref={region} class="toasts" popover="manual" role="status" aria-live="polite">
      {now.map((one) => (
        <div key={one.id} class={one.tone === "problem" ? "toast of-problem" : "toast"}>
          <span>{one.text}</span>
          {one.action && (
            <button
              type="button"
              class="toast-action"
              onClick={() => {
                toasts.update((all) => all.filter((other) => other.id !== one.id));
                one.action!.onSelect();
              }}
            >
              {one.action.label}
            </button>
          )}
          <button
            type="button"
            class="toast-close"
            aria-label={strings.close}
            onClick={() => toasts.update((all) => all.filter((other) => other.id !== one.id))}
          >
            <CloseIcon />
          </button>
        </div>
      ))}
    </div>
  );
}
