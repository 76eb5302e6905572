import assert from "node:assert/strict";
import { test } from "node:test";
import type { Conversation } from "../src/clients/history";
import { dateText, sizeText } from "../src/format";
import { createStore } from "../src/store";
import { preferredLanguage } from "../src/language";
import { placeOf } from "../src/router";
import { groupByDate, highlight } from "../src/shell/groups";
import { merge } from "../src/shell/history-store";
import { SHELL } from "../src/strings-shell";

test("addresses and what they ask for", () => {
  const chat = (id: string | null, temporary = false) => ({ view: "chat", id, temporary });
  assert.deepEqual(placeOf("/"), chat(null));
  assert.deepEqual(placeOf("/?temporary"), chat(null, true));
  assert.deepEqual(placeOf("/c/cnv_1?x#msg_2"), { ...chat("cnv_1"), message: "msg_2" });
  assert.deepEqual(placeOf("/c/a%2Fb"), chat("a/b"));
  assert.deepEqual(placeOf("/shared/t0ken"), { view: "shared", token: "t0ken" });
  assert.deepEqual(placeOf("/settings"), { view: "settings", section: "general" });
  assert.deepEqual(placeOf("/settings/keys/"), { view: "settings", section: "keys" });
  assert.deepEqual(placeOf("/admin/audit?x=1"), { view: "admin", section: "audit" });
  for (const view of ["sign-in", "setup", "invite", "knowledge", "arena"])
    assert.deepEqual(placeOf(`/${view}#secret`), { view });
  for (const none of ["/c", "/c/a/b", "/settings/x", "/admin/__proto__", "/shared", "/x", "/c/%"])
    if (none !== "/c/%") assert.deepEqual(placeOf(none), { view: "nowhere" }, none);
  assert.deepEqual(placeOf("/c/%"), chat("%"), "a broken escape is taken as it is");
});

const conversation = (id: string, updated_at: Date, more: Partial<Conversation> = {}): Conversation => ({
  id,
  title: id,
  model: null,
  folder_id: null,
  tags: [],
  pinned: false,
  archived: false,
  created_at: updated_at.toISOString(),
  updated_at: updated_at.toISOString(),
  ...more,
});

test("conversations in date groups, by the reader's own days", () => {
  const now = new Date(2026, 10, 26, 0, 30); // half past midnight
  const at = (...when: [number, number, number, number?]) => new Date(...when);
  const list = [
    conversation("old", at(2026, 7, 3)),
    conversation("older", at(2025, 7, 30)),
    conversation("today", at(2026, 10, 26, 0)),
    conversation("an hour ago, yesterday", at(2026, 10, 25, 23)),
    conversation("a week", at(2026, 10, 19, 12)),
    conversation("a month", at(2026, 10, 18, 12)),
    conversation("pinned", at(2020, 1, 1), { pinned: true }),
    conversation("tomorrow", at(2026, 10, 27, 9)), // a clock that runs ahead
  ];
  const groups = groupByDate(list, now, "en", SHELL.en).map((g) => [g.label, g.conversations.map((c) => c.id)]);
  assert.deepEqual(groups, [
    ["Pinned", ["pinned"]],
    ["Today", ["tomorrow", "today"]],
    ["Yesterday", ["an hour ago, yesterday"]],
    ["Previous 7 days", ["a week"]],
    ["Previous 30 days", ["a month"]],
    ["August 2026", ["old"]],
    ["August 2025", ["older"]],
  ]);
  const chinese = groupByDate(list, now, "zh", SHELL.zh).map((g) => g.label);
  assert.deepEqual(chinese.slice(0, 4), ["置顶", "今天", "昨天", "过去 7 天"]);
  assert.deepEqual(chinese.slice(5), ["2026年8月", "2025年8月"]);
});

test("what a search found is marked, letter by letter as it stands", () => {
  const marked = (text: string, query: string) =>
    highlight(text, query)
      .map((piece) => (piece.hit ? `[${piece.text}]` : piece.text))
      .join("");
  assert.equal(marked("Spring tides in spring", "spring"), "[Spring] tides in [spring]");
  assert.equal(marked("大潮的闸门", "大潮 闸门"), "[大潮]的[闸门]");
  assert.equal(marked("a.b*c", ".*"), "a.b*c", "a query is no pattern");
  assert.equal(marked("aaa", "a aa"), "[aa][a]");
  assert.equal(marked("text", "  "), "text");
  assert.equal(marked("İstanbul", "istanbul"), "İstanbul", "where lower case has another length");
  assert.deepEqual(highlight("", "x"), []);
});

test("lists of conversations are merged by id, the newest word counts", () => {
  const a = conversation("a", new Date(2026, 1, 1));
  const merged = merge([a, conversation("b", new Date(2026, 1, 2))], [{ ...a, title: "new" }]);
  assert.deepEqual(merged.map((one) => [one.id, one.title]), [
    ["a", "new"],
    ["b", "b"],
  ]);
});

test("a store tells of changes only, and not those who left", () => {
  const store = createStore(1);
  const seen: number[] = [];
  const stop = store.subscribe(() => seen.push(store.get()));
  store.set(1);
  store.set(2);
  store.update((now) => now + 1);
  stop();
  store.set(9);
  assert.deepEqual(seen, [2, 3]);
});

test("dates and sizes as each language writes them", () => {
  assert.equal(dateText("2026-11-26T10:00:00Z", "en"), "26 Nov 2026");
  assert.equal(dateText("2026-11-26T10:00:00Z", "zh"), "2026年11月26日");
  assert.equal(dateText("nonsense", "en"), "–");
  assert.equal(dateText(null, "en"), "–");
  assert.equal(sizeText(1_840_222, "en"), "1.8 MB");
  assert.equal(sizeText(1, "en"), "1 byte");
});

test("both languages say everything", () => {
  const said = (strings: object) => Object.entries(strings).map(([key, value]) => [key, typeof value]);
  assert.deepEqual(said(SHELL.en), said(SHELL.zh));
  for (const value of Object.values(SHELL.zh)) if (typeof value === "string") assert.ok(value.trim());
  assert.equal(preferredLanguage(["fr-FR", "zh-TW", "en"]), "zh");
  assert.equal(preferredLanguage(["fr"]), "en");
});
