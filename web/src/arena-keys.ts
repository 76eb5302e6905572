/** Which key means what: pure, so that it can be tested without a browser. */
import type { Choice } from "./arena-api";

export type Action =
  | { kind: "choose"; choice: Exclude<Choice, "skip"> }
  | { kind: "digit"; digit: number }
  | { kind: "clear" | "skip" | "undo" | "comment" | "confirm" | "guidelines" };

/** What is read of a `KeyboardEvent`. */
export interface Pressed {
  key: string;
  code: string;
  repeat: boolean;
  isComposing: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

// Not ArrowDown for a tie: the arrows up and down scroll long answers, which everybody needs.
const CHOICES: Record<string, Exclude<Choice, "skip">> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  t: "tie",
  b: "both_bad",
};
const OTHERS = { s: "skip", u: "undo", c: "comment", Enter: "confirm", "?": "guidelines" } as const;

/** The action of a key, or null. Key repeat never votes, and shortcuts of the browser stay its own. */
export function actionOf(event: Pressed): Action | null {
  if (event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return null;
  const key = plainKey(event);
  if (Object.hasOwn(CHOICES, key)) return { kind: "choose", choice: CHOICES[key]! };
  if (Object.hasOwn(OTHERS, key)) return { kind: OTHERS[key as keyof typeof OTHERS] };
  if (/^[1-9]$/.test(key)) return { kind: "digit", digit: Number(key) };
  return key === "0" || key === "Backspace" ? { kind: "clear" } : null;
}

/** The key by its letter; by its place where the layout has other letters (Cyrillic, say). */
function plainKey(event: Pressed): string {
  if (event.key === "？") return "?"; // a Chinese keyboard's
  if (event.key.length > 1 && event.key !== "Process" && event.key !== "Unidentified") return event.key;
  if (/^[\x21-\x7e]$/.test(event.key)) return event.key.toLowerCase();
  return /^(?:Key|Digit|Numpad)(.)$/.exec(event.code)?.[1]?.toLowerCase() ?? event.key;
}

/** Where typing is typing. */
export const isTyping = (element: Element | null) =>
  element !== null && element.matches("textarea, select, input:not([type=radio], [type=checkbox])");
