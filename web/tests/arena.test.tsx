import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyDraft } from "../src/arena-api";
import { ticks } from "../src/arena-charts";
import { isReady, Stopwatch } from "../src/arena-desk";
import { actionOf, type Pressed } from "../src/arena-keys";
import { halves } from "../src/arena-scales";
import { arenaEn, arenaZh } from "../src/arena-strings";
import { Markdown } from "../src/chat/markdown";

const press = (key: string, more: Partial<Pressed> = {}) =>
  actionOf({
    key,
    code: "",
    repeat: false,
    isComposing: false,
    ctrlKey: false,
    metaKey: false,
    altKey: false,
    ...more,
  });

test("keys and what they do", () => {
  assert.deepEqual(press("ArrowLeft"), { kind: "choose", choice: "left" });
  assert.deepEqual(press("ArrowRight"), { kind: "choose", choice: "right" });
  for (const key of ["t", "T"]) assert.deepEqual(press(key), { kind: "choose", choice: "tie" });
  assert.deepEqual(press("b"), { kind: "choose", choice: "both_bad" });
  assert.deepEqual(press("9"), { kind: "digit", digit: 9 });
  for (const key of ["0", "Backspace"]) assert.deepEqual(press(key), { kind: "clear" });
  for (const [key, kind] of [["s", "skip"], ["u", "undo"], ["c", "comment"], ["Enter", "confirm"]])
    assert.deepEqual(press(key!), { kind });
  for (const key of ["?", "？"]) assert.deepEqual(press(key), { kind: "guidelines" });
});

test("keys that are somebody else's", () => {
  for (const key of ["ArrowDown", "ArrowUp", " ", "PageDown", "Tab", "Escape", "x", "toString", "constructor", "F5"])
    assert.equal(press(key), null, key);
  assert.equal(press("s", { ctrlKey: true }), null, "saving the page is no skip");
  assert.equal(press("ArrowLeft", { altKey: true }), null, "nor is going back a choice");
  assert.equal(press("t", { metaKey: true }), null);
  assert.equal(press("Enter", { repeat: true }), null, "a key held down does not vote on and on");
  assert.equal(press("Enter", { isComposing: true }), null);
});

test("other layouts and input methods are read by the key's place", () => {
  assert.deepEqual(press("е", { code: "KeyT" }), { kind: "choose", choice: "tie" }); // Cyrillic
  assert.deepEqual(press("Process", { code: "KeyS" }), { kind: "skip" });
  assert.deepEqual(press("&", { code: "Digit1" }), null, "an ASCII sign is what it is");
  assert.deepEqual(press("Unidentified", { code: "Numpad3" }), { kind: "digit", digit: 3 });
});

test("time counts while the page is looked at", () => {
  let now = 0;
  const watch = new Stopwatch(() => now);
  watch.run(true);
  now = 2000;
  watch.run(false);
  now = 60_000;
  assert.equal(watch.seconds, 2);
  watch.run(true);
  watch.run(true);
  now = 61_500;
  assert.equal(watch.seconds, 3.5);
  watch.restart();
  now = 62_000;
  assert.equal(watch.seconds, 0.5);
});

test("what can be confirmed", () => {
  const draft = emptyDraft();
  assert.equal(isReady("compare", { ...draft, scores: { helpful: 3 } }), false);
  assert.equal(isReady("compare", { ...draft, choice: "tie" }), true);
  assert.equal(isReady("rate", { ...draft, choice: "tie" }), false);
  assert.equal(isReady("rate", { ...draft, scores: { helpful: 3 } }), true);
});

test("an axis has round numbers and holds everything", () => {
  assert.deepEqual(ticks(1, 5), [1, 2, 3, 4, 5]);
  assert.deepEqual(ticks(561, 1349), [400, 600, 800, 1000, 1200, 1400]);
  assert.deepEqual(ticks(0.1, 0.3), [0.1, 0.15, 0.2, 0.25, 0.3]);
  for (const [low, high] of [[1000, 1000], [-3, -3], [0, 0], [-1e6, 1e6], [999.9, 1000.1]] as const) {
    const marks = ticks(low, high);
    assert.ok(marks.length >= 2 && marks.length <= 7, `${low} ${high}: ${marks}`);
    assert.ok(marks[0]! <= low && marks.at(-1)! >= high, `${low} ${high}: ${marks}`);
  }
});

test("a scale's name and what it asks", () => {
  assert.deepEqual(halves("Helpful: does it do what was asked?"), ["Helpful", "does it do what was asked?"]);
  assert.deepEqual(halves("有用：是否完成了要求？"), ["有用", "是否完成了要求？"]);
  assert.deepEqual(halves("plain"), ["plain", ""]);
});

test("both languages say everything, in the same shape", () => {
  function shape(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(shape);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner)]));
    return typeof value;
  }
  assert.deepEqual(shape(arenaZh), shape(arenaEn));
  for (const [key, value] of Object.entries(arenaZh))
    if (typeof value === "string" && !["code", "kappa", "fleiss", "alpha"].includes(key))
      assert.match(value, /\p{Script=Han}/u, key);
});

function words(node: any): string {
  if (Array.isArray(node)) return node.map(words).join("");
  if (node === null || node === undefined || typeof node !== "object") return String(node ?? "");
  if (typeof node.type === "function") return words(node.type(node.props));
  return node.type === "br" ? "\n" : words(node.props.children);
}

test("guidelines that an editor wrapped read on, an answer's lines stay", () => {
  assert.equal(words(<Markdown text={"a *line*\nand more"} wrapped />), "a line and more");
  assert.equal(words(<Markdown text={"跳过。\n跳过没有坏处"} wrapped />), "跳过。跳过没有坏处");
  assert.equal(words(<Markdown text={"选**跳过**\n没有"} wrapped />), "选跳过没有");
  assert.equal(words(<Markdown text={"a\nb"} />), "a\nb");
});
