/** Conversations and what orders them: folders, tags, search, shares, exports. */
import { getJson, getList, reach, route, sendJson } from "../http";

export interface Conversation {
  id: string;
  title: string;
  model: string | null;
  folder_id: string | null;
  tags: string[];
  pinned: boolean;
  archived: boolean;
  created_at: string;
  updated_at: string;
}

export interface Named {
  id: string;
  name: string;
}

export interface Found {
  conversation_id: string;
  message_id: string | null;
  title: string;
  snippet: string;
  at: string;
}

export interface Share {
  id: string;
  conversation_id: string;
  title?: string;
  url?: string;
  created_at: string;
}

export interface ListQuery {
  archived?: boolean;
  folder?: string;
  tag?: string;
  cursor?: string;
  limit?: number;
}

const id = encodeURIComponent;

export const listConversations = (query: ListQuery) =>
  getJson<{ data: Conversation[]; next: string | null }>("/conversations", { ...query });

export const changeConversation = (
  one: string,
  changes: Partial<Pick<Conversation, "title" | "folder_id" | "tags" | "pinned" | "archived">>,
) => sendJson<Conversation>("PATCH", `/conversations/${id(one)}`, changes);

export const deleteConversation = (one: string) => sendJson("DELETE", `/conversations/${id(one)}`);
export const deleteAllConversations = () => sendJson("DELETE", "/conversations");

export const search = async (q: string, signal: AbortSignal): Promise<Found[]> =>
  (await getJson<{ data: Found[] }>("/search", { q, limit: 20 }, signal)).data;

export type NamedKind = "folders" | "tags";
export const listNamed = (kind: NamedKind) => getList<Named>(`/${kind}`);
export const createNamed = (kind: NamedKind, name: string) => sendJson<Named>("POST", `/${kind}`, { name });
export const renameNamed = (kind: NamedKind, one: string, name: string) =>
  sendJson<Named>("PATCH", `/${kind}/${id(one)}`, { name });
export const deleteNamed = (kind: NamedKind, one: string) => sendJson("DELETE", `/${kind}/${id(one)}`);

export const createShare = (conversation: string) =>
  sendJson<{ id: string; url: string }>("POST", `/conversations/${id(conversation)}/shares`, {});
export const listShares = () => getList<Share>("/shares");
export const revokeShare = (one: string) => sendJson("DELETE", `/shares/${id(one)}`);

export interface Shared {
  title: string;
  messages: unknown[];
  created_at?: string;
  shared_at?: string;
}

export const readShared = (token: string) => getJson<Shared>(`/shared/${id(token)}`);

export type ExportFormat = "markdown" | "json" | "chatgpt";

/** The whole file, to be saved; its name is the server's where it gives one. */
export async function download(path: string, query: Record<string, string>, fallback: string): Promise<void> {
  const response = await reach(route(path, query));
  const blob = await response.blob();
  const told = /filename\*?=(?:UTF-8'')?"?([^";]+)/i.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
  save(blob, told ? decodeName(told) : fallback);
}

function decodeName(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Offer a blob as a download. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const exportConversation = (one: string, format: ExportFormat, title: string) => {
  const ending = format === "markdown" ? "md" : "json";
  const name = title.replace(/[\\/:*?"<>|\u0000-\u001f]+/g, " ").trim().slice(0, 80) || "conversation";
  return download(`/conversations/${id(one)}/export`, { format }, `${name}.${ending}`);
};

export const exportAll = () => download("/export", {}, "chatwright-export.json");

export interface Imported {
  conversations?: number;
  messages?: number;
  imported?: number;
  skipped?: number;
}

/** Send a file's content: ChatGPT's export, ours or ShareGPT. Archives are refused by the server. */
export async function importFile(file: File): Promise<Imported> {
  const response = await reach(route("/import"), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: file,
  });
  return response.json();
}
