/** What the server sends about conversations, answers and who is asking (docs/reference/api.md). */

export interface Person {
  id: string;
  name: string;
  role: "user" | "annotator" | "admin";
}

export interface Session {
  mode: "accounts" | "local";
  person: Person | null;
}

/** A passage that an answer was shown or cites. `collection_id` where it is from an own document. */
export interface Source {
  number: number;
  id: string;
  title: string;
  uri: string;
  text?: string; // not in what is shared
  collection_id?: string | null;
}

export interface ToolUse {
  id: string;
  name: string;
  arguments: unknown;
  result?: unknown;
  error?: string | null;
  simulated?: boolean;
}

export interface Moderation {
  direction: "input" | "output";
  blocked: boolean;
  categories: string[];
  reason: string;
  event_id: string;
}

export interface Summary {
  messages: number;
  text: string;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
}

export interface Attached {
  id: string;
  name: string;
  size: number;
}

export type Rating = "up" | "down";

export interface Feedback {
  rating: Rating | null;
  reasons: string[];
  comment: string;
  better: string | null;
}

export type Status = "writing" | "done" | "stopped" | "failed";

export interface Message {
  id: string;
  parent_id: string | null;
  role: "user" | "assistant" | "tool" | "system";
  text: string;
  model: string | null;
  status: Status;
  citations: Source[];
  retrieved: Source[];
  notes: string[];
  attachments: Attached[];
  tool_calls: ToolUse[];
  moderation: Moderation | null;
  usage: Usage | null;
  feedback: Feedback | null;
  created_at: string;
  /** Known only while this page watches the answer: why it ended, what went wrong, the window's size. */
  finish?: string;
  error?: string;
  errorCode?: string;
  context?: number;
  summary?: Summary | null;
}

/** How answers are sampled; a missing number is left to the model's own default. */
export interface Params {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  max_tokens?: number;
  repetition_penalty?: number;
  seed?: number;
}

/** What holds for a whole conversation. */
export interface Settings {
  model?: string;
  params?: Params;
  instructions?: string;
  persona_id?: string | null;
  collections?: string[];
  tools?: string[];
}

export interface Conversation {
  id: string;
  title: string;
  model: string | null;
  messages: Sent[];
  current_leaf: string | null;
  settings: Settings;
}

export interface Model {
  id: string;
  title: string;
  kind: "assistant" | "model";
  context: number | null;
  examples: string[];
  grounded: boolean;
  description: string;
  default?: boolean;
}

export interface Tool {
  name: string;
  title: string; // in the page's language
  description: string;
  simulated: boolean;
}

export interface Collection {
  id: string;
  name: string;
  shared?: boolean;
}

export interface Persona {
  id: string;
  name: string;
  instructions: string;
  model: string | null;
  params: Params | null;
}

/** One event of a run (`id` is its number, for going on after it). */
export interface RunEvent {
  id: number;
  kind: string;
  data: any;
}

/** A message as the server sends it. */
export type Sent = Partial<Message> & Pick<Message, "id" | "role"> & { finish_reason?: string | null };

/** A message with every field, whatever the server (or an older one) left out. */
export function fullMessage({ finish_reason, ...part }: Sent): Message {
  return {
    ...part,
    ...(finish_reason ? { finish: finish_reason } : {}),
    parent_id: part.parent_id ?? null,
    text: part.text ?? "",
    model: part.model ?? null,
    status: part.status ?? "done",
    citations: part.citations ?? [],
    retrieved: part.retrieved ?? [],
    notes: part.notes ?? [],
    attachments: part.attachments ?? [],
    tool_calls: part.tool_calls ?? [],
    moderation: part.moderation ?? null,
    usage: part.usage ?? null,
    feedback: part.feedback ?? null,
    created_at: part.created_at ?? "",
  };
}
