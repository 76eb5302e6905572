/** The sidebar's order: pinned first, then by how long ago. Pure. */
import { monthText } from "../format";
import type { Language } from "../language";
import type { Conversation } from "../clients/history";

export interface Group {
  key: string;
  label: string;
  conversations: Conversation[];
}

interface Words {
  pinned: string;
  today: string;
  yesterday: string;
  week: string;
  days30: string;
}

const DAY = 86_400_000;

/** In groups by the day of their last change, in the reader's own time zone; newest first. */
export function groupByDate(
  conversations: Conversation[],
  now: Date,
  language: Language,
  words: Words,
): Group[] {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const groups = new Map<string, Group>();
  const newest = [...conversations].sort((a, b) => time(b) - time(a));
  for (const one of newest) {
    const [key, label] = one.pinned ? ["pinned", words.pinned] : period(time(one), midnight, language, words);
    const group = groups.get(key) ?? { key, label, conversations: [] };
    group.conversations.push(one);
    groups.set(key, group);
  }
  const pinned = groups.get("pinned");
  groups.delete("pinned");
  return pinned ? [pinned, ...groups.values()] : [...groups.values()];
}

const time = (one: Conversation) => Date.parse(one.updated_at) || 0;

function period(at: number, midnight: number, language: Language, words: Words): [string, string] {
  if (at >= midnight) return ["today", words.today];
  // Not midnight − 24 h: the day before may have had 23 or 25.
  const back = Math.round((midnight - startOfDay(at)) / DAY);
  if (back <= 1) return ["yesterday", words.yesterday];
  if (back <= 7) return ["week", words.week];
  if (back <= 30) return ["days30", words.days30];
  const date = new Date(at);
  return [`${date.getFullYear()}-${date.getMonth()}`, monthText(date, language)];
}

function startOfDay(at: number): number {
  const date = new Date(at);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** `text` in pieces, those that a search for `query` found marked. */
export function highlight(text: string, query: string): { text: string; hit: boolean }[] {
  const words = query
    .trim()
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .sort((a, b) => b.length - a.length);
  if (!words.length) return text ? [{ text, hit: false }] : [];
  const lower = text.toLowerCase();
  // Where lower case has another length (İ), marks would lie beside the words: better none.
  if (lower.length !== text.length) return [{ text, hit: false }];
  const pieces: { text: string; hit: boolean }[] = [];
  let plain = 0;
  let at = 0;
  while (at < text.length) {
    const word = words.find((one) => lower.startsWith(one, at));
    if (!word) {
      at++;
      continue;
    }
    if (at > plain) pieces.push({ text: text.slice(plain, at), hit: false });
    pieces.push({ text: text.slice(at, at + word.length), hit: true });
    at += word.length;
    plain = at;
  }
  if (plain < text.length) pieces.push({ text: text.slice(plain), hit: false });
  return pieces;
}
