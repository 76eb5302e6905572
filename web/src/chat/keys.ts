/** Enter that means "send": not a new line, and not the one that confirms an input method's candidate. */
import { useRef } from "preact/hooks";

/** What of a key press counts; a `KeyboardEvent` is one. */
export interface Pressed {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  altKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
  keyCode: number;
}

export function isSend(event: Pressed): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.altKey && !event.isComposing && event.keyCode !== 229;
}

// Safari ends a composition before it sends the Enter that confirmed it.
const AFTER_COMPOSITION_MS = 50;

/** Handlers for a text field in which Enter sends. */
export function useSendKey(send: () => void) {
  const composedAt = useRef(-Infinity);
  return {
    onCompositionEnd: (event: CompositionEvent) => void (composedAt.current = event.timeStamp),
    onKeyDown(event: KeyboardEvent) {
      if (!isSend(event) || event.timeStamp - composedAt.current < AFTER_COMPOSITION_MS) return;
      event.preventDefault();
      send();
    },
  };
}
