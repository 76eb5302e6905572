/** The server's routes that the chat uses. */
import { ConnectionLost, getJson, getList, reach, route, sendFile, sendJson, ServerError } from "../http";
import { Gone, type Wire } from "./run";
import type {
  Attached,
  Collection,
  Conversation,
  Feedback,
  Message,
  Model,
  Params,
  Persona,
  Settings,
  Source,
  Tool,
} from "./types";

export type Action = "ask" | "regenerate" | "edit" | "continue" | "compare";

/** What is asked of `POST /answers`. */
export interface AnswerRequest {
  action: Action;
  conversation_id?: string;
  temporary?: boolean;
  /** The conversation so far, for a temporary one, which the server does not keep. */
  messages?: { role: "user" | "assistant"; content: string }[];
  parent_id?: string;
  message_id?: string;
  text?: string;
  attachments?: string[];
  model?: string;
  params?: Params;
  instructions?: string;
  persona_id?: string;
  collections?: string[];
  tools?: string[];
}

export interface AnswerStarted {
  run_id: string;
  conversation_id: string | null;
  question_id: string | null;
  answer_id: string | null;
  other?: { run_id: string; answer_id: string | null } | null;
}

export interface RunUnderWay {
  run_id: string;
  answer_id: string;
}

/** What the chat needs from the server; tests bring their own. */
export interface ChatApi {
  conversation(id: string): Promise<Conversation>;
  answer(request: AnswerRequest): Promise<AnswerStarted>;
  runs(): Promise<RunUnderWay[]>;
  stop(run: string): Promise<void>;
  change(id: string, change: { current_leaf?: string; settings?: Settings; model?: string }): Promise<void>;
  feedback(message: string, feedback: Feedback | null): Promise<void>;
  compare(left: string, right: string, choice: Choice): Promise<void>;
  wire: Wire;
}

export type Choice = "left" | "right" | "tie" | "both_bad";

const at = (id: string) => encodeURIComponent(id);

export const chatApi: ChatApi = {
  conversation: (id) => getJson(`/conversations/${at(id)}`),
  answer: (request) => sendJson("POST", "/answers", request),
  async runs() {
    const rows = await getList<{ id?: string; run_id?: string; answer_id: string }>("/runs");
    return rows.map((row) => ({ run_id: row.run_id ?? row.id ?? "", answer_id: row.answer_id }));
  },
  stop: (run) => sendJson("POST", `/runs/${at(run)}/stop`),
  change: (id, change) => sendJson("PATCH", `/conversations/${at(id)}`, change),
  async feedback(message, feedback) {
    if (feedback) await sendJson("PUT", `/messages/${at(message)}/feedback`, feedback);
    else await sendJson("DELETE", `/messages/${at(message)}/feedback`);
  },
  compare: (left_id, right_id, choice) => sendJson("POST", "/comparisons", { left_id, right_id, choice }),
  wire: {
    async open(run, after, signal) {
      let response: Response;
      try {
        response = await reach(route(`/runs/${at(run)}/events`, { after }), { signal });
      } catch (error) {
        if (error instanceof ServerError && [401, 403, 404, 410].includes(error.status))
          throw new Gone(error.message);
        throw error;
      }
      if (!response.body) throw new ConnectionLost();
      return texts(response.body);
    },
    wait: (ms, signal) =>
      new Promise((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          removeEventListener("online", finish);
          signal.removeEventListener("abort", finish);
          resolve();
        };
        const timer = setTimeout(finish, ms);
        addEventListener("online", finish);
        signal.addEventListener("abort", finish);
      }),
    online: () => navigator.onLine,
  },
};

async function* texts(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const part = await reader.read();
      if (part.done) return;
      yield decoder.decode(part.value, { stream: true });
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

export const listModels = () => getList<Model>("/models");
/** The tools, named in the page's language. */
export async function listTools(language: string): Promise<Tool[]> {
  const tools = await getList<Omit<Tool, "title"> & { title: string | Record<string, string> }>("/tools");
  return tools.map((tool) => {
    const title = localized(tool.title, language) || tool.name;
    // That it is a simulator is said by a badge of its own.
    return { ...tool, title: tool.simulated ? title.replace(/\s*[(\uff08](simulated|\u6a21\u62df)[)\uff09]$/, "") : title };
  });
}

function localized(title: string | Record<string, string>, language: string): string {
  return typeof title === "string" ? title : (title[language] ?? title["en"] ?? "");
}
export const listCollections = () => getList<Collection>("/collections");
export const listPersonas = () => getList<Persona>("/personas");

export const attach = (file: File, onProgress: (share: number) => void) =>
  sendFile<Attached & { characters: number }>("/attachments", file, onProgress);

export const detach = (id: string) => sendJson<void>("DELETE", `/attachments/${at(id)}`);

export const appeal = (event: string, text: string) =>
  sendJson<void>("POST", `/moderation/${at(event)}/appeal`, { text });

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

/** Where a passage of an assistant's knowledge comes from. */
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

export const lineage = (model: string, passage: string) =>
  getJson<Lineage>(`/passages/${at(passage)}`, { model });

/** A passage of a person's own documents with what stands around it. */
export interface DocumentPassage {
  passage: { id: string; text: string; title?: string; page?: number | null };
  file: { id: string; name: string };
  before: string;
  after: string;
}

/** `before` and `after` come as texts or as passages. */
export async function documentPassage(collection: string, passage: string): Promise<DocumentPassage> {
  const found = await getJson<any>(`/collections/${at(collection)}/passages/${at(passage)}`);
  return { ...found, before: asText(found.before), after: asText(found.after) };
}

function asText(value: any): string {
  if (Array.isArray(value)) return value.map(asText).filter(Boolean).join("\n\n");
  return typeof value === "string" ? value : String(value?.text ?? "");
}

/** Where a source is kept: in a collection of documents, or in the knowledge of an assistant. */
export const collectionOf = (source: Source): string | null => source.collection_id || null;

/** A conversation's messages as the server takes them for a temporary one. */
export function asHistory(messages: readonly Message[]): NonNullable<AnswerRequest["messages"]> {
  return messages.flatMap((message) =>
    (message.role === "user" || message.role === "assistant") && message.text !== ""
      ? [{ role: message.role, content: message.text }]
      : [],
  );
}
