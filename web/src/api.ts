/** The server's OpenAI-compatible API, as far as the page needs it. `clients/` has our own routes. */
import { ConnectionLost, errorMessage, reach, ServerError } from "./http";
import { EventReader } from "./sse";

export { ConnectionLost, reach, ServerError };

export interface Source {
  number: number;
  id: string;
  title: string;
  uri: string;
  text: string;
}

export interface Model {
  id: string;
  kind: "assistant" | "model";
  title: string;
  description: string;
  examples: string[];
  grounded: boolean;
}

export interface ChatMessage {
  role: "user" | "assistant";
  content: string;
}

/** What a piece of a streamed answer brings; the sources come at its end (or earlier). */
export interface Delta {
  text: string;
  retrieved?: Source[];
  citations?: Source[];
  leftOut?: string[];
  finish?: string;
}

export interface LedgerLine {
  stage: string;
  action: string;
  rule: string;
  value: number | null;
  bound: string | null;
  detail: string | null;
}

export interface Step {
  stage: string;
  dataset?: string;
  fingerprint: string;
  rows?: number;
  created_at?: string;
  ledger?: LedgerLine[];
  missing: boolean;
}

export interface Lineage {
  passage: { id: string; title: string; uri: string; text: string; language: string | null };
  page: {
    id: string;
    title: string;
    uri: string;
    source: string;
    license: string | null;
    language: string | null;
    collected_at: string | null;
  };
  steps: Step[];
}

export async function listModels(): Promise<Model[]> {
  const body = await (await reach("/v1/models")).json();
  return body.data.map((entry: { id: string; chatwright: Omit<Model, "id"> }) => ({
    id: entry.id,
    ...entry.chatwright,
  }));
}

export async function lineage(model: string, passage: string): Promise<Lineage> {
  const query = new URLSearchParams({ model });
  const path = `/v1/chatwright/passages/${encodeURIComponent(passage)}?${query}`;
  return (await reach(path)).json();
}

/** Ask, and yield the answer as it is written. Aborting `signal` also stops the engine. */
export async function* ask(
  model: string,
  messages: ChatMessage[],
  signal: AbortSignal,
): AsyncGenerator<Delta> {
  const response = await reach("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true }),
    signal,
  });
  if (!response.body) throw new ConnectionLost();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  for (;;) {
    let part: ReadableStreamReadResult<Uint8Array>;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal.aborted) throw error;
      throw new ConnectionLost();
    }
    if (part.done) throw new ConnectionLost(); // a whole answer ends with [DONE]
    for (const data of events.push(decoder.decode(part.value, { stream: true }))) {
      if (data === "[DONE]") return;
      yield readDelta(JSON.parse(data));
    }
  }
}

/** One event's JSON as a `Delta`. Throws `ServerError` for an error told in the stream. */
export function readDelta(body: any): Delta {
  const failed = errorMessage(body);
  if (failed !== undefined) throw new ServerError(failed);
  const choice = body.choices?.[0];
  const delta: Delta = { text: choice?.delta?.content ?? "" };
  if (choice?.delta?.retrieved) delta.retrieved = choice.delta.retrieved;
  if (choice?.delta?.citations) delta.citations = choice.delta.citations;
  if (choice?.delta?.left_out) delta.leftOut = choice.delta.left_out;
  if (choice?.finish_reason) delta.finish = choice.finish_reason;
  return delta;
}
