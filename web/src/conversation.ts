/** A conversation as the page holds it, and what may change it. Pure: no drawing, no network. */
import type { ChatMessage, Delta, Source } from "./api";

export type AnswerState = "writing" | "done" | "stopped" | "failed";

export interface Question {
  role: "user";
  text: string;
}

export interface Answer {
  role: "assistant";
  text: string;
  model: string;
  state: AnswerState;
  retrieved: Source[];
  citations: Source[];
  leftOut: string[];
  cutOff: boolean;
  error: string;
}

export type Turn = Question | Answer;

export function newAnswer(model: string): Answer {
  return {
    role: "assistant",
    text: "",
    model,
    state: "writing",
    retrieved: [],
    citations: [],
    leftOut: [],
    cutOff: false,
    error: "",
  };
}

export function grow(answer: Answer, delta: Delta): Answer {
  return {
    ...answer,
    text: answer.text + delta.text,
    retrieved: delta.retrieved ?? answer.retrieved,
    citations: delta.citations ?? answer.citations,
    leftOut: delta.leftOut ?? answer.leftOut,
    cutOff: delta.finish === "length" || answer.cutOff,
  };
}

/** The sources to list: what the answer cites; for a stopped answer, worked out from its text. */
export function listedSources(answer: Answer): Source[] {
  if (answer.citations.length || answer.state === "done") return answer.citations;
  const groups = answer.text.match(/[[【]\d{1,2}(?:\s*[,，、]\s*\d{1,2})*[\]】]/g) ?? [];
  const cited = new Set(groups.flatMap((group) => group.match(/\d+/g) ?? []).map(Number));
  return answer.retrieved.filter((source) => cited.has(source.number));
}

/** What is sent to the server: every question, and every answer that has text. */
export function toMessages(turns: Turn[]): ChatMessage[] {
  return turns
    .filter((turn) => turn.text !== "")
    .map((turn) => ({ role: turn.role, content: turn.text }));
}

const KEY = "chatwright.conversation";

export function save(turns: Turn[], storage: Storage): void {
  try {
    storage.setItem(KEY, JSON.stringify(turns));
  } catch {
    // Storage full or forbidden: the conversation still works, it only does not survive a reload.
  }
}

/** What was saved in this tab; nothing where it is missing, broken or of another version. */
export function restore(storage: Storage): Turn[] {
  try {
    const turns: unknown = JSON.parse(storage.getItem(KEY) ?? "[]");
    if (!Array.isArray(turns) || !turns.every(isTurn)) return [];
    return turns.map((turn) =>
      turn.role === "assistant" && turn.state === "writing" ? { ...turn, state: "stopped" } : turn,
    );
  } catch {
    return [];
  }
}

function isTurn(value: any): value is Turn {
  if (typeof value?.text !== "string") return false;
  if (value.role === "user") return true;
  return (
    value.role === "assistant" &&
    typeof value.model === "string" &&
    ["writing", "done", "stopped", "failed"].includes(value.state) &&
    [value.retrieved, value.citations, value.leftOut].every(Array.isArray)
  );
}
