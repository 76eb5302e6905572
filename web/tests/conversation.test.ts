import assert from "node:assert/strict";
import { test } from "node:test";
import { readDelta, ServerError } from "../src/api";
import { grow, listedSources, newAnswer, restore, save, toMessages, type Turn } from "../src/conversation";

function storage(initial: Record<string, string> = {}): Storage {
  const values = new Map(Object.entries(initial));
  return {
    getItem: (key: string) => values.get(key) ?? null,
    setItem: (key: string, value: string) => void values.set(key, value),
  } as Storage;
}

const source = (number: number) => ({ number, id: `id${number}`, title: `t${number}`, uri: "", text: "" });

test("an answer grows by its deltas and keeps its sources", () => {
  let answer = newAnswer("m");
  for (const text of ["你", "好", " [2]"]) answer = grow(answer, { text });
  answer = grow(answer, { text: "", retrieved: [source(1), source(2)], finish: "length" });
  assert.equal(answer.text, "你好 [2]");
  assert.equal(answer.cutOff, true);
  assert.deepEqual(listedSources({ ...answer, state: "stopped" }), [source(2)]);
  assert.deepEqual(listedSources({ ...answer, state: "done" }), [], "the server's word counts when it is done");
});

test("what is sent leaves out answers without text", () => {
  const turns: Turn[] = [{ role: "user", text: "a" }, newAnswer("m"), { role: "user", text: "b" }];
  assert.deepEqual(toMessages(turns), [
    { role: "user", content: "a" },
    { role: "user", content: "b" },
  ]);
});

test("a conversation survives a reload, and what was being written counts as stopped", () => {
  const kept = storage();
  save([{ role: "user", text: "问" }, grow(newAnswer("m"), { text: "half" })], kept);
  const turns = restore(kept);
  assert.equal(turns.length, 2);
  assert.equal((turns[1] as { state: string }).state, "stopped");
});

test("broken storage is an empty conversation", () => {
  for (const bad of ["{", "7", '[{"role":"user"}]', '[{"role":"assistant","text":"x"}]', "[null]"])
    assert.deepEqual(restore(storage({ "chatwright.conversation": bad })), [], bad);
});

test("an error in the stream is thrown with the server's words", () => {
  assert.throws(() => readDelta({ error: { message: "no room" } }), (e) => e instanceof ServerError && e.message === "no room");
  assert.deepEqual(readDelta({ choices: [] }), { text: "" }, "the usage chunk");
});
