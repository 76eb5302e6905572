import assert from "node:assert/strict";
import { test } from "node:test";
import { add, children, EMPTY, newestLeaf, path, pathVersions, remove, rename, switchTo, toTree, update, versions } from "../src/chat/tree";
import { fullMessage, type Message } from "../src/chat/types";

let clock = 0;
function message(id: string, parent_id: string | null, role: Message["role"] = "user"): Message {
  const at = new Date(Date.UTC(2026, 0, 1) + ++clock * 1000).toISOString();
  return { ...fullMessage({ id, role, parent_id, text: id }), created_at: at };
}

const ids = (messages: readonly Message[]) => messages.map((one) => one.id);

// q1 -> a1, a2 (again) -> q2 -> a3; q1b (edited) -> a4
const q1 = message("q1", null);
const a1 = message("a1", "q1", "assistant");
const a2 = message("a2", "q1", "assistant");
const q2 = message("q2", "a2");
const a3 = message("a3", "q2", "assistant");
const q1b = message("q1b", null);
const a4 = message("a4", "q1b", "assistant");
const all = [q1, a1, a2, q2, a3, q1b, a4];

test("the path from the first question to the leaf", () => {
  const tree = toTree(all, "a3");
  assert.deepEqual(ids(path(tree)), ["q1", "a2", "q2", "a3"]);
  assert.deepEqual(ids(path(tree, "a1")), ["q1", "a1"]);
  assert.deepEqual(path(EMPTY), []);
});

test("messages come in any order, and an unknown leaf is the newest one", () => {
  assert.deepEqual(ids(path(toTree([...all].reverse(), "a3"))), ["q1", "a2", "q2", "a3"]);
  for (const leaf of [null, "gone"]) assert.deepEqual(ids(path(toTree(all, leaf))), ["q1b", "a4"]);
  assert.equal(toTree([], "x").leaf, null);
});

test("a leaf that has children is followed to its end", () => {
  assert.equal(toTree(all, "q1").leaf, "a3");
  assert.equal(newestLeaf(toTree(all, null), "a1"), "a1");
});

test("versions are siblings of the same kind, oldest first", () => {
  const tree = toTree(all, "a3");
  assert.deepEqual(versions(tree, "a2"), { ids: ["a1", "a2"], index: 1 });
  assert.deepEqual(versions(tree, "q1"), { ids: ["q1", "q1b"], index: 0 });
  assert.deepEqual(versions(tree, "nobody"), { ids: ["nobody"], index: 0 });
  const shown = path(tree);
  assert.deepEqual(pathVersions(tree, shown), shown.map((one) => versions(tree, one.id)));
});

test("switching shows another version with what was said below it last", () => {
  const tree = switchTo(toTree(all, "a4"), "q1");
  assert.deepEqual(ids(path(tree)), ["q1", "a2", "q2", "a3"]);
  assert.deepEqual(ids(path(switchTo(tree, "a1"))), ["q1", "a1"]);
  assert.equal(switchTo(tree, "nobody"), tree);
});

test("adding shares the rest, and shows what was added", () => {
  const before = toTree(all, "a1");
  const after = add(before, message("q3", "a1"), message("a5", "q3", "assistant"));
  assert.deepEqual(ids(path(after)), ["q1", "a1", "q3", "a5"]);
  assert.equal(after.messages.get("q1"), before.messages.get("q1"));
  assert.equal(before.messages.has("q3"), false, "the old tree is as it was");
  assert.equal(add(before), before);
});

test("editing a question makes a branch: the old one stays", () => {
  const tree = add(toTree(all, "a3"), message("q2b", "a2"), message("a6", "q2b", "assistant"));
  assert.deepEqual(versions(tree, "q2b"), { ids: ["q2", "q2b"], index: 1 });
  assert.deepEqual(ids(path(switchTo(tree, "q2"))), ["q1", "a2", "q2", "a3"]);
});

test("updating changes one message and no other", () => {
  const tree = toTree(all, "a3");
  const next = update(tree, "a3", (one) => ({ ...one, text: "x" }));
  assert.equal(next.messages.get("a3")!.text, "x");
  for (const id of ["q1", "a2", "q2"]) assert.equal(next.messages.get(id), tree.messages.get(id));
  assert.equal(update(tree, "a3", (one) => one), tree);
  assert.equal(update(tree, "nobody", (one) => ({ ...one })), tree);
});

test("a message gets its real id, and its children and the leaf follow", () => {
  const tree = rename(rename(add(EMPTY, message("l1", null), message("l2", "l1", "assistant")), "l1", "msg_q"), "l2", "msg_a");
  assert.deepEqual(ids(path(tree)), ["msg_q", "msg_a"]);
  assert.equal(tree.leaf, "msg_a");
});

test("removing takes what is below, and shows a version that is left", () => {
  const tree = remove(toTree(all, "a3"), "a2");
  assert.deepEqual([...tree.messages.keys()].sort(), ["a1", "a4", "q1", "q1b"]);
  assert.deepEqual(ids(path(tree)), ["q1", "a1"]);
  assert.deepEqual(ids(path(remove(toTree([q1, a1], "a1"), "a1"))), ["q1"]);
  assert.equal(remove(toTree([q1, a1], "a1"), "q1").leaf, null);
  assert.equal(remove(toTree(all, "a4"), "a2").leaf, "a4", "what is looked at stays");
});

test("a loop or a missing parent ends the path", () => {
  const tree = { messages: new Map([message("x", "y"), message("y", "x")].map((one) => [one.id, one])), leaf: "x" };
  assert.deepEqual(ids(path(tree)), ["y", "x"]);
  assert.ok(newestLeaf(tree, "x"));
  assert.deepEqual(ids(path(toTree([message("z", "gone")], "z"))), ["z"]);
  assert.deepEqual(children(tree, "x").length, 1);
});

test("a long conversation is quick", () => {
  const long = Array.from({ length: 5000 }, (_, index) =>
    message(`m${index}`, index ? `m${index - 1}` : null, index % 2 ? "assistant" : "user"),
  );
  const started = performance.now();
  const tree = toTree(long, "m0");
  const shown = path(tree);
  pathVersions(tree, shown);
  assert.equal(shown.length, 5000);
  assert.ok(performance.now() - started < 500);
});
