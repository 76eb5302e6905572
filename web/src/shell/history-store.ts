/** The conversations that the sidebar shows, and everything that can be done to them. */
import * as api from "../clients/history";
import type { Conversation, Named, NamedKind } from "../clients/history";
import { route } from "../http";
import { currentLanguage } from "../settings";
import { createStore } from "../store";
import { SHELL } from "../strings-shell";
import { attempt, problemText } from "./problem";
import { toast } from "./toast";

export interface Filter {
  archived: boolean;
  tag: string | null;
}

export interface History {
  conversations: Conversation[]; // all that are known, of whatever folder
  listed: Set<string>; // which of them the list shows (the rest came with an opened folder)
  next: string | null; // where the list goes on
  complete: boolean;
  loading: boolean;
  problem: string;
  filter: Filter;
  folders: Named[];
  tags: Named[];
  hidden: Set<string>; // deleted, and can still be brought back
}

const empty = (): History => ({
  conversations: [],
  listed: new Set(),
  next: null,
  complete: false,
  loading: false,
  problem: "",
  filter: { archived: false, tag: null },
  folders: [],
  tags: [],
  hidden: new Set(),
});

export const history = createStore<History>(empty());
const strings = () => SHELL[currentLanguage()];

/** Every list that may lack what was just done asks again (an opened folder, say). */
let generation = 0;

export function forgetHistory() {
  generation++;
  history.set(empty());
}

export function merge(known: Conversation[], found: Conversation[]): Conversation[] {
  const by = new Map(known.map((one) => [one.id, one]));
  for (const one of found) by.set(one.id, one);
  return [...by.values()];
}

/** The next page; the first of all comes with the folders and tags, so that nothing jumps. */
export async function loadMore(): Promise<void> {
  const { filter, next, loading, complete } = history.get();
  if (loading || complete) return;
  const mine = generation;
  history.update((now) => ({ ...now, loading: true, problem: "" }));
  try {
    const names = next ? null : listNames();
    const page = await api.listConversations({
      ...(filter.archived ? { archived: true } : {}),
      ...(filter.tag ? { tag: filter.tag } : {}),
      ...(next ? { cursor: next } : {}),
      limit: 40,
    });
    const named = await names;
    if (mine !== generation) return;
    history.update((now) => ({
      ...now,
      ...named,
      conversations: merge(now.conversations, page.data),
      listed: new Set([...now.listed, ...page.data.map((one) => one.id)]),
      next: page.next,
      complete: !page.next,
      loading: false,
    }));
  } catch (error) {
    if (mine === generation) history.update((now) => ({ ...now, loading: false, problem: problemText(error) }));
  }
}

/** Folders and tags; nothing where they cannot be had, for the chats matter more. */
async function listNames(): Promise<Partial<Pick<History, "folders" | "tags">>> {
  try {
    const [folders, tags] = await Promise.all([api.listNamed("folders"), api.listNamed("tags")]);
    return { folders, tags };
  } catch {
    return {};
  }
}

/** Ask for everything again, from the top; what is drawn stays until it is there. */
export async function reloadHistory(filter = history.get().filter): Promise<void> {
  generation++;
  history.update((now) => ({
    ...now,
    filter,
    listed: filter === now.filter ? now.listed : new Set(),
    next: null,
    complete: false,
    loading: false,
  }));
  await loadMore();
}

export const setFilter = (changes: Partial<Filter>) =>
  void reloadHistory({ archived: false, tag: null, ...changes });

export async function loadFolder(folder: string): Promise<void> {
  let cursor: string | null = null;
  do {
    const page: { data: Conversation[]; next: string | null } = await api.listConversations({
      folder,
      limit: 100,
      ...(cursor ? { cursor } : {}),
    });
    history.update((now) => ({ ...now, conversations: merge(now.conversations, page.data) }));
    cursor = page.next;
  } while (cursor);
}

/** A conversation that was made, or whose title is new: shown without asking. */
export function noteConversation(one: Partial<Conversation> & { id: string }) {
  const at = new Date().toISOString();
  history.update((now) => {
    const known = now.conversations.find((other) => other.id === one.id);
    const made: Conversation = {
      title: "",
      model: null,
      folder_id: null,
      tags: [],
      pinned: false,
      archived: false,
      created_at: at,
      updated_at: at,
      ...known,
      ...one,
    };
    return { ...now, conversations: merge(now.conversations, [made]), listed: new Set([...now.listed, one.id]) };
  });
}

export const find = (id: string | null) => history.get().conversations.find((one) => one.id === id) ?? null;
export const titleOf = (one: Conversation | null) => one?.title || strings().untitled;

type Changes = Parameters<typeof api.changeConversation>[1];

/** Shown at once, and taken back where the server says no. */
export async function change(id: string, changes: Changes): Promise<boolean> {
  const before = find(id);
  const put = (one: Conversation) =>
    history.update((now) => ({ ...now, conversations: merge(now.conversations, [one]) }));
  if (before) put({ ...before, ...changes });
  const worked = await attempt(async () => {
    const found = await api.changeConversation(id, changes);
    const now = find(id);
    if (now) put({ ...now, ...pick(found) });
  });
  if (!worked && before) put(before);
  return worked;
}

const pick = (one: Conversation) => ({
  title: one.title,
  folder_id: one.folder_id,
  tags: one.tags,
  pinned: one.pinned,
  archived: one.archived,
});

export async function archive(one: Conversation, archived: boolean): Promise<void> {
  if (!(await change(one.id, { archived }))) return;
  if (archived)
    toast(strings().archivedNotice(titleOf(one)), {
      action: { label: strings().undo, onSelect: () => void change(one.id, { archived: false }) },
    });
}

const waiting = new Map<string, ReturnType<typeof setTimeout>>();
const UNDO_SECONDS = 7;

/** Gone from the list now, from the server when nobody takes it back. */
export function remove(one: Conversation): void {
  const hide = (hidden: boolean) =>
    history.update((now) => {
      const next = new Set(now.hidden);
      if (hidden) next.add(one.id);
      else next.delete(one.id);
      return { ...now, hidden: next };
    });
  hide(true);
  const gone = () => {
    waiting.delete(one.id);
    void attempt(() => api.deleteConversation(one.id)).then((worked) => {
      if (worked) history.update((now) => ({ ...now, conversations: now.conversations.filter((c) => c.id !== one.id) }));
      hide(false);
    });
  };
  waiting.set(one.id, setTimeout(gone, UNDO_SECONDS * 1000));
  toast(strings().deleted(titleOf(one)), {
    seconds: UNDO_SECONDS,
    action: {
      label: strings().undo,
      onSelect: () => {
        clearTimeout(waiting.get(one.id));
        waiting.delete(one.id);
        hide(false);
      },
    },
  });
}

/** The page is left: what was deleted is deleted, whoever waits for it. */
export function finishDeleting(): void {
  for (const [id, timer] of waiting) {
    clearTimeout(timer);
    void fetch(route(`/conversations/${encodeURIComponent(id)}`), { method: "DELETE", keepalive: true });
  }
  waiting.clear();
}

export async function createNamed(kind: NamedKind, name: string): Promise<Named | null> {
  let made: Named | null = null;
  await attempt(async () => {
    made = await api.createNamed(kind, name);
    history.update((now) => ({ ...now, [kind]: [...now[kind], made!] }));
  });
  return made;
}

export const renameNamed = (kind: NamedKind, id: string, name: string) =>
  attempt(async () => {
    await api.renameNamed(kind, id, name);
    history.update((now) => ({ ...now, [kind]: now[kind].map((one) => (one.id === id ? { ...one, name } : one)) }));
  });

export const deleteNamed = (kind: NamedKind, id: string) =>
  attempt(async () => {
    await api.deleteNamed(kind, id);
    history.update((now) => ({
      ...now,
      [kind]: now[kind].filter((one) => one.id !== id),
      conversations: now.conversations.map((one) =>
        kind === "folders"
          ? one.folder_id === id
            ? { ...one, folder_id: null }
            : one
          : { ...one, tags: one.tags.filter((tag) => tag !== id) },
      ),
    }));
    if (kind === "tags" && history.get().filter.tag === id) void reloadHistory({ archived: false, tag: null });
  });

export async function moveTo(one: Conversation, folder: Named | null): Promise<void> {
  if (one.folder_id === (folder?.id ?? null)) return;
  if (await change(one.id, { folder_id: folder?.id ?? null }))
    toast(folder ? strings().movedTo(folder.name) : strings().movedOut);
}

export async function deleteAll(): Promise<boolean> {
  const worked = await attempt(api.deleteAllConversations);
  if (worked) {
    await reloadHistory({ archived: false, tag: null });
    history.update((now) => ({ ...now, conversations: now.conversations.filter((one) => now.listed.has(one.id)) }));
  }
  return worked;
}
