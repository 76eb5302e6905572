/** What the page knows of one conversation at a moment, and whom it tells of it. */
import type { Connection } from "./run";
import { EMPTY, type Tree } from "./tree";
import type { Message, Settings } from "./types";

export interface Snapshot {
  id: string | null;
  state: "new" | "loading" | "ready" | "failed";
  /** Why the conversation could not be opened; "missing" where there is none of that id. */
  problem: "" | "missing" | "unreachable";
  tree: Tree;
  shown: readonly Message[];
  settings: Settings;
  /** Answers being written, and how each one's connection is. */
  live: ReadonlyMap<string, Connection>;
  /** Two answers to vote on, side by side. */
  pair: readonly [string, string] | null;
}

export interface Told {
  onConversation: (conversation: { id: string; title?: string }) => void;
  onTitle: (id: string, title: string) => void;
}

export const NEW: Snapshot = {
  id: null,
  state: "new",
  problem: "",
  tree: EMPTY,
  shown: [],
  settings: {},
  live: new Map(),
  pair: null,
};
