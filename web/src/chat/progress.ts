/** What each event of a run makes of the answer it writes. Pure. */
import { ServerError } from "../http";
import type { Message, RunEvent, Source, Status, ToolUse } from "./types";

const STATUSES: readonly string[] = ["writing", "done", "stopped", "failed"];

/** The answer after one more event. Events of kinds that this page does not know change nothing. */
export function grow(answer: Message, event: RunEvent): Message {
  const data = event.data ?? {};
  switch (event.kind) {
    case "start":
      return {
        ...answer,
        model: typeof data.model === "string" ? data.model : answer.model,
        retrieved: sources(data.retrieved) ?? answer.retrieved,
        notes: strings(data.notes) ?? answer.notes,
        ...(Number.isFinite(data.context) && { context: data.context }),
        ...(Number.isFinite(data.prompt_tokens) && {
          usage: { prompt_tokens: data.prompt_tokens, completion_tokens: answer.usage?.completion_tokens ?? 0 },
        }),
      };
    case "text":
      return typeof data.text === "string" ? { ...answer, text: answer.text + data.text } : answer;
    case "tool":
      return typeof data.id === "string" ? { ...answer, tool_calls: withTool(answer.tool_calls, data) } : answer;
    case "moderation":
      return { ...answer, moderation: { ...data, blocked: Boolean(data.blocked) } };
    case "summary":
      return { ...answer, summary: { messages: data.messages ?? 0, text: String(data.text ?? "") } };
    case "done":
      return {
        ...answer,
        status: STATUSES.includes(data.status) ? (data.status as Status) : "done",
        text: typeof data.text === "string" ? data.text : answer.text,
        citations: sources(data.citations) ?? answer.citations,
        retrieved: sources(data.retrieved) ?? answer.retrieved,
        notes: strings(data.notes) ?? answer.notes,
        usage: data.usage ?? answer.usage,
        finish: String(data.finish_reason ?? ""),
      };
    case "failed":
      return { ...answer, status: "failed", error: String(data.message ?? ""), errorCode: String(data.code ?? "") };
    default:
      return answer;
  }
}

function sources(value: unknown): Source[] | null {
  return Array.isArray(value) ? value : null;
}

function strings(value: unknown): string[] | null {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : null;
}

/** A call is told when it starts and again with its result. */
function withTool(calls: ToolUse[], told: ToolUse): ToolUse[] {
  const known = calls.some((call) => call.id === told.id);
  if (!known) return [...calls, told];
  return calls.map((call) => (call.id === told.id ? { ...call, ...told } : call));
}

/** An answer that could not be had: the server said no, or it was not to be reached. */
export function failed(answer: Message, error: unknown): Message {
  const server = error instanceof ServerError;
  return {
    ...answer,
    status: "failed",
    error: server ? error.message : "",
    errorCode: server ? error.code : "connection_lost",
  };
}

/**
 * After a reload a run tells its answer from the beginning. Until it has caught up, what was saved stays
 * on the page; an answer that was continued (its run tells only what is new) stays so to its end.
 */
export function again(saved: Message): typeof grow {
  let told: Message = { ...saved, text: "", tool_calls: [] };
  return (answer, event) => {
    told = grow(told, event);
    if (told.status !== "writing") return { ...told, feedback: answer.feedback };
    return { ...told, text: told.text.startsWith(saved.text) ? told.text : saved.text };
  };
}

/** The sources to list: what the answer cites; for a stopped answer, worked out from its text. */
export function listedSources(answer: Message): Source[] {
  if (answer.citations.length || answer.status === "done") return answer.citations;
  const groups = answer.text.match(/[[\u3010]\d{1,2}(?:\s*[,\uff0c\u3001]\s*\d{1,2})*[\]\u3011]/g) ?? [];
  const cited = new Set(groups.flatMap((group) => group.match(/\d+/g) ?? []).map(Number));
  return answer.retrieved.filter((source) => cited.has(source.number));
}

/** How full the context window was after an answer: from 0 to 1, or null where it is not known. */
export function fullness(answer: Message | undefined, context: number | null | undefined): number | null {
  const size = answer?.context ?? context;
  if (!answer?.usage || !size || size <= 0) return null;
  const used = answer.usage.prompt_tokens + answer.usage.completion_tokens;
  return used > 0 ? Math.min(1, used / size) : null; // 0: the question never reached the model
}
