import assert from "node:assert/strict";
import { test } from "node:test";
import { fullness, grow, listedSources } from "../src/chat/progress";
import { follow, Gone, waitBefore, type Heard, type Wire } from "../src/chat/run";
import { fullMessage, type RunEvent } from "../src/chat/types";

const frame = (id: number, kind: string, data: unknown) => `id: ${id}\nevent: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;

/** A server that plays one script after another; a script is pieces of text, or an error to throw. */
function wire(scripts: (string[] | Error)[], online: boolean[] = []): Wire & { asked: number[]; waited: number[] } {
  const asked: number[] = [];
  const waited: number[] = [];
  return {
    asked,
    waited,
    async open(_run, after) {
      asked.push(after);
      const script = scripts.shift();
      if (!script) throw new Error("nothing left to play");
      if (script instanceof Error) throw script;
      return (async function* () {
        yield* script;
      })();
    },
    async wait(ms) {
      waited.push(ms);
    },
    online: () => online.shift() ?? true,
  };
}

async function heard(from: Wire, signal = new AbortController().signal): Promise<Heard[]> {
  const all: Heard[] = [];
  for await (const one of follow("run_1", from, signal)) all.push(one);
  return all;
}

const events = (all: Heard[]) => all.flatMap((one) => (one.kind === "event" ? [one.event.id] : []));
const states = (all: Heard[]) => all.flatMap((one) => (one.kind === "connection" ? [one.state] : []));

test("a run from its first event to its last", async () => {
  const text = frame(1, "start", {}) + frame(2, "text", { text: "a" }) + frame(3, "done", { status: "done" });
  const all = await heard(wire([[text.slice(0, 20), text.slice(20)]]));
  assert.deepEqual(events(all), [1, 2, 3]);
  assert.deepEqual(states(all), []);
});

test("a lost connection goes on after the last event that arrived, and nothing is told twice", async () => {
  const from = wire([
    [frame(1, "start", {}), frame(2, "text", { text: "a" }), "id: 3\nevent: text\nda"],
    new Error("no route"),
    [frame(2, "text", { text: "a" }), frame(3, "text", { text: "b" }), frame(4, "done", {})],
  ]);
  const all = await heard(from);
  assert.deepEqual(events(all), [1, 2, 3, 4]);
  assert.deepEqual(from.asked, [0, 2, 2]);
  assert.deepEqual(states(all), ["reconnecting", "open"]);
  assert.deepEqual(from.waited, [500, 1000]);
});

test("without a network it waits as long as it takes, and says so", async () => {
  const lost = new Error("offline");
  const from = wire(
    [...Array.from({ length: 30 }, () => lost), [frame(1, "done", {})]],
    Array.from({ length: 30 }, () => false),
  );
  const all = await heard(from);
  assert.deepEqual(states(all), ["offline", "open"]);
  assert.deepEqual(events(all), [1]);
});

test("with a network it gives up in the end, with the last reason", async () => {
  const from = wire(Array.from({ length: 40 }, () => new Error("refused")));
  await assert.rejects(heard(from), /refused/);
  assert.ok(from.asked.length > 5 && from.asked.length < 20);
});

test("the waits grow to a bound", () => {
  const waits = [0, 1, 2, 3, 4, 9, 50].map(waitBefore);
  assert.deepEqual(waits, [500, 500, 1000, 2000, 4000, 15_000, 15_000]);
});

test("a run that is gone is not asked for again; a broken event is passed over", async () => {
  const from = wire([new Gone("not found")]);
  await assert.rejects(heard(from), Gone);
  assert.equal(from.asked.length, 1);
  const all = await heard(wire([["id: 1\nevent: text\ndata: {broken\n\n", "id: x\ndata: {}\n\n", frame(2, "failed", {})]]));
  assert.deepEqual(events(all), [2]);
});

test("aborting ends it quietly", async () => {
  const abort = new AbortController();
  const from = wire([[frame(1, "text", {}), frame(2, "text", {})]]);
  const got: Heard[] = [];
  for await (const one of follow("r", from, abort.signal)) {
    got.push(one);
    abort.abort();
  }
  assert.deepEqual(events(got), [1]);
  assert.equal(from.asked.length, 1);
});

const answer = { ...fullMessage({ id: "a", role: "assistant" }), status: "writing" as const };
const play = (...told: [string, unknown][]) =>
  told.reduce((now, [kind, data], index) => grow(now, { id: index + 1, kind, data } as RunEvent), answer);

const source = (number: number) => ({ number, id: `id${number}`, title: `t${number}`, uri: "", text: "" });

test("an answer grows by its events", () => {
  const done = play(
    ["start", { model: "m", prompt_tokens: 10, context: 100, retrieved: [source(1), source(2)], notes: ["n"] }],
    ["text", { text: "你好" }],
    ["summary", { messages: 4, text: "before" }],
    ["tool", { id: "c1", name: "calculator", arguments: { x: 1 } }],
    ["text", { text: " [2]" }],
    ["tool", { id: "c1", name: "calculator", arguments: { x: 1 }, result: 2 }],
    ["something_new", { text: "ignored" }],
    ["done", { status: "done", text: "你好 [2].", citations: [source(2)], usage: { prompt_tokens: 10, completion_tokens: 40 }, finish_reason: "length" }],
  );
  assert.equal(done.text, "你好 [2].");
  assert.equal(done.status, "done");
  assert.equal(done.finish, "length");
  assert.equal(done.model, "m");
  assert.deepEqual(done.notes, ["n"]);
  assert.deepEqual(done.summary, { messages: 4, text: "before" });
  assert.deepEqual(done.tool_calls, [{ id: "c1", name: "calculator", arguments: { x: 1 }, result: 2 }]);
  assert.deepEqual(done.citations, [source(2)]);
  assert.equal(fullness(done, null), 0.5);
  assert.equal(fullness(answer, 100), null);
});

test("what was said so far stays when it fails, and the reason is kept", () => {
  const failed = play(["text", { text: "so far" }], ["failed", { message: "no room", code: "context" }]);
  assert.deepEqual([failed.text, failed.status, failed.error, failed.errorCode], ["so far", "failed", "no room", "context"]);
});

test("events with nonsense in them change nothing", () => {
  for (const data of [null, {}, { text: 7 }, { id: 3 }])
    for (const kind of ["text", "tool", "start"]) assert.equal(play([kind, data]).text, "");
  assert.equal(play(["done", {}]).status, "done");
  assert.equal(play(["done", { status: "exploded" }]).status, "done");
});

test("a stopped answer lists the sources that its text cites", () => {
  const stopped = { ...answer, text: "x [2]，【1】", retrieved: [source(1), source(2), source(3)] };
  assert.deepEqual(listedSources({ ...stopped, status: "stopped" }).map((one) => one.number), [1, 2]);
  assert.deepEqual(listedSources({ ...stopped, status: "done" }), [], "the server's word counts when it is done");
});
