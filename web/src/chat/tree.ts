/**
 * A conversation as a tree: editing a question or writing an answer anew makes a sibling, nothing is lost.
 * Pure; every change returns a new tree that shares what did not change.
 */
import type { Message } from "./types";

export interface Tree {
  /** In the order they were made, so a parent stands before its children. */
  messages: ReadonlyMap<string, Message>;
  leaf: string | null;
}

export const EMPTY: Tree = { messages: new Map(), leaf: null };

/** Siblings, oldest first, and where in them (from 0) a message stands. */
export interface Versions {
  ids: string[];
  index: number;
}

/** A tree of messages in any order. A `leaf` that is not among them becomes the newest message's leaf. */
export function toTree(messages: readonly Message[], leaf: string | null): Tree {
  const ordered = messages
    .map((message, index) => ({ message, index }))
    .sort((a, b) => compare(a.message.created_at, b.message.created_at) || a.index - b.index)
    .map((entry) => entry.message);
  const map = new Map(ordered.map((message) => [message.id, message]));
  const tree = { messages: map, leaf: null };
  const start = leaf !== null && map.has(leaf) ? leaf : (ordered.at(-1)?.id ?? null);
  return { ...tree, leaf: start === null ? null : newestLeaf(tree, start) };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** From the first question to the leaf. Ends where a parent is missing, and at a loop. */
export function path(tree: Tree, leaf: string | null = tree.leaf): Message[] {
  const found: Message[] = [];
  const seen = new Set<string>();
  for (let id = leaf; id !== null && !seen.has(id); ) {
    const message = tree.messages.get(id);
    if (!message) break;
    seen.add(id);
    found.push(message);
    id = message.parent_id;
  }
  return found.reverse();
}

export function children(tree: Tree, parent: string | null): Message[] {
  return [...tree.messages.values()].filter((message) => message.parent_id === parent);
}

export function versions(tree: Tree, id: string): Versions {
  const message = tree.messages.get(id);
  if (!message) return { ids: [id], index: 0 };
  const ids = children(tree, message.parent_id)
    .filter((one) => one.role === message.role)
    .map((one) => one.id);
  return { ids, index: ids.indexOf(id) };
}

/** The versions of every message of the path at once: one walk over the tree. */
export function pathVersions(tree: Tree, shown: readonly Message[]): Versions[] {
  const groups = new Map<string, string[]>();
  const key = (message: Message) => `${message.parent_id ?? ""} ${message.role}`;
  for (const message of tree.messages.values()) {
    const group = groups.get(key(message));
    if (group) group.push(message.id);
    else groups.set(key(message), [message.id]);
  }
  return shown.map((message) => {
    const ids = groups.get(key(message)) ?? [message.id];
    return { ids, index: ids.indexOf(message.id) };
  });
}

/** Below a message, always the newest child. */
export function newestLeaf(tree: Tree, id: string): string {
  const newest = new Map<string | null, string>();
  for (const message of tree.messages.values()) newest.set(message.parent_id, message.id);
  const seen = new Set<string>();
  let leaf = id;
  for (let next = newest.get(leaf); next !== undefined && !seen.has(next); next = newest.get(leaf)) {
    seen.add(next);
    leaf = next;
  }
  return leaf;
}

/** Show another version of a message, with the newest that was said below it. */
export function switchTo(tree: Tree, id: string): Tree {
  return tree.messages.has(id) ? { ...tree, leaf: newestLeaf(tree, id) } : tree;
}

/** Add messages (a parent before its child) and show the last one. Known ids are replaced in place. */
export function add(tree: Tree, ...added: Message[]): Tree {
  if (!added.length) return tree;
  const messages = new Map(tree.messages);
  for (const message of added) messages.set(message.id, message);
  return { messages, leaf: added.at(-1)!.id };
}

/** Change a message, wherever it stands; the leaf stays. */
export function update(tree: Tree, id: string, change: (message: Message) => Message): Tree {
  const before = tree.messages.get(id);
  if (!before) return tree;
  const after = change(before);
  if (after === before) return tree;
  return { ...tree, messages: new Map(tree.messages).set(id, after) };
}

/** Give a message the id that the server chose for it; its children and the leaf follow. */
export function rename(tree: Tree, from: string, to: string): Tree {
  if (from === to || !tree.messages.has(from)) return tree;
  const messages = new Map<string, Message>();
  for (const message of tree.messages.values()) {
    const id = message.id === from ? to : message.id;
    const parent_id = message.parent_id === from ? to : message.parent_id;
    messages.set(id, id === message.id && parent_id === message.parent_id ? message : { ...message, id, parent_id });
  }
  return { messages, leaf: tree.leaf === from ? to : tree.leaf };
}

/** Take out a message and all below it; the parent becomes the leaf where the leaf was among them. */
export function remove(tree: Tree, id: string): Tree {
  const gone = tree.messages.get(id);
  if (!gone) return tree;
  const ids = new Set([id]);
  for (const message of tree.messages.values())
    if (message.parent_id !== null && ids.has(message.parent_id)) ids.add(message.id);
  const messages = new Map([...tree.messages].filter(([key]) => !ids.has(key)));
  const lost = tree.leaf !== null && ids.has(tree.leaf);
  const left = { messages, leaf: tree.leaf };
  if (!lost) return left;
  const sibling = children(left, gone.parent_id).at(-1)?.id;
  return { messages, leaf: sibling ? newestLeaf(left, sibling) : gone.parent_id };
}
