import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnswerRequest, ChatApi } from "../src/chat/api";
import { ChatStore } from "../src/chat/store";
import { fullMessage, type Conversation, type Sent } from "../src/chat/types";
import { ServerError } from "../src/http";

const frame = (id: number, kind: string, data: unknown) => `id: ${id}\nevent: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;
const done = (text: string, more: object = {}) =>
  frame(1, "text", { text: text.slice(0, 2) }) + frame(2, "text", { text: text.slice(2) }) +
  frame(3, "done", { status: "done", text, ...more });

/** A server in memory: every run's events are scripted, and what was asked is kept. */
class FakeApi implements ChatApi {
  requests: AnswerRequest[] = [];
  changes: object[] = [];
  votes: unknown[] = [];
  stopped: string[] = [];
  ratings: unknown[] = [];
  conversations = new Map<string, Conversation>();
  underWay: { run_id: string; answer_id: string }[] = [];
  events = (run: string) => done(`answer of ${run}`);
  refuse: Error | null = null;
  #n = 0;

  async conversation(id: string) {
    const found = this.conversations.get(id);
    if (!found) throw new ServerError("not found", 404);
    return found;
  }
  async answer(request: AnswerRequest) {
    if (this.refuse) throw this.refuse;
    this.requests.push(request);
    const n = ++this.#n;
    const kept = !request.temporary;
    return {
      run_id: `run_${n}`,
      conversation_id: kept ? (request.conversation_id ?? "cnv_1") : null,
      question_id: kept ? (["regenerate", "continue"].includes(request.action) ? null : `q${n}`) : null,
      answer_id: kept ? (request.action === "continue" ? request.message_id! : `a${n}`) : null,
      ...(request.action === "compare" ? { other: { run_id: `run_${n}b`, answer_id: `a${n}b` } } : {}),
    };
  }
  runs = async () => this.underWay;
  stop = async (run: string) => void this.stopped.push(run);
  change = async (_: string, change: object) => void this.changes.push(change);
  feedback = async (...told: unknown[]) => {
    if (this.refuse) throw this.refuse;
    this.ratings.push(told);
  };
  compare = async (...told: unknown[]) => void this.votes.push(told);
  wire = {
    open: async (run: string, after: number) => {
      const text = this.events(run);
      void after;
      return (async function* () {
        yield text;
      })();
    },
    wait: async () => undefined,
    online: () => true,
  };
}

function made(temporary = false) {
  const api = new FakeApi();
  const told: string[] = [];
  const store = new ChatStore(
    api,
    { onConversation: (one) => told.push(one.id), onTitle: (id, title) => told.push(`${id}: ${title}`) },
    temporary,
  );
  return { api, store, told, texts: () => store.snapshot.shown.map((one) => one.text) };
}

test("the first question makes a conversation, and its answer arrives", async () => {
  const { api, store, told, texts } = made();
  api.events = () => frame(1, "title", { title: "Tides" }) + frame(2, "done", { status: "done", text: "hi" });
  await store.open(null);
  await store.ask("hello");
  assert.deepEqual(texts(), ["hello", "hi"]);
  assert.deepEqual(told, ["cnv_1", "cnv_1: Tides"]);
  assert.deepEqual(store.snapshot.shown.map((one) => one.id), ["q1", "a1"]);
  assert.equal(store.snapshot.live.size, 0);
  await store.open("cnv_1"); // its address is shown now: nothing is asked for again
  assert.deepEqual(texts(), ["hello", "hi"]);
});

test("a second question goes below the first answer", async () => {
  const { api, store } = made();
  await store.open(null);
  await store.ask("one");
  await store.ask("two", [{ id: "file_1", name: "a.md", size: 3 }]);
  assert.deepEqual(api.requests[1], { action: "ask", text: "two", parent_id: "a1", attachments: ["file_1"], conversation_id: "cnv_1" });
});

test("editing and answering again make versions, and one can go back", async () => {
  const { api, store, texts } = made();
  await store.open(null);
  await store.ask("one");
  await store.edit("q1", "one, better");
  assert.deepEqual(texts(), ["one, better", "answer of run_2"]);
  await store.regenerate("a2");
  assert.equal(store.snapshot.shown[1]!.id, "a3");
  store.show("a2");
  assert.equal(store.snapshot.shown[1]!.id, "a2");
  store.show("q1");
  assert.deepEqual(texts(), ["one", "answer of run_1"]);
  assert.deepEqual(api.requests.slice(1).map((one) => [one.action, one.message_id]), [["edit", "q1"], ["regenerate", "a2"]]);
  assert.deepEqual(api.changes, [{ current_leaf: "a2" }, { current_leaf: "a1" }]);
});

test("a cut-off answer is written on", async () => {
  const { api, store, texts } = made();
  api.events = () => done("Once upon", { finish_reason: "length" });
  await store.open(null);
  await store.ask("tell");
  assert.equal(store.snapshot.shown[1]!.finish, "length");
  const seen: string[] = [];
  store.subscribe(() => seen.push(store.snapshot.shown[1]!.text));
  api.events = () => frame(1, "text", { text: " a time" }) + frame(2, "done", { status: "done", text: "Once upon a time" });
  await store.continue("a1");
  assert.deepEqual(texts(), ["tell", "Once upon a time"]);
  assert.ok(seen.every((text) => text.startsWith("Once upon")), "what was there never goes");
});

test("what the server refuses is said, and can be asked again", async () => {
  const { api, store, texts } = made();
  api.refuse = new ServerError("the queue is full", 429, "busy");
  await store.open(null);
  await store.ask("hello");
  const last = store.snapshot.shown[1]!;
  assert.deepEqual([last.status, last.error, last.errorCode], ["failed", "the queue is full", "busy"]);
  api.refuse = null;
  await store.regenerate(last.id);
  assert.deepEqual(texts(), ["hello", "answer of run_1"]);
  assert.equal(store.snapshot.tree.messages.size, 2, "nothing is left of the first attempt");
  assert.equal(api.requests[0]!.action, "ask");
});

test("stopping before the server has answered stops as soon as it has", async () => {
  const { api, store } = made();
  await store.open(null);
  const asking = store.ask("hello");
  store.stop();
  await asking;
  assert.deepEqual(api.stopped, ["run_1"]);
});

test("a temporary chat sends all of it, and keeps nothing", async () => {
  const { api, store, told, texts } = made(true);
  await store.open(null);
  await store.ask("one");
  await store.ask("two");
  assert.deepEqual(api.requests[1], {
    action: "ask",
    temporary: true,
    messages: [
      { role: "user", content: "one" },
      { role: "assistant", content: "answer of run_1" },
      { role: "user", content: "two" },
    ],
  });
  await store.regenerate(store.snapshot.shown[3]!.id);
  assert.deepEqual(api.requests[2]!.messages, api.requests[1]!.messages);
  assert.deepEqual(texts(), ["one", "answer of run_1", "two", "answer of run_3"]);
  assert.deepEqual(told, []);
});

test("two answers, side by side, and the one that is chosen is shown", async () => {
  const { api, store } = made();
  await store.open(null);
  await store.ask("which?", [], true);
  assert.deepEqual(store.snapshot.pair, ["a1", "a1b"]);
  assert.equal(store.snapshot.tree.messages.get("a1")!.status, "done");
  await store.vote("left");
  assert.deepEqual(api.votes, [["a1", "a1b", "left"]]);
  assert.equal(store.snapshot.pair, null);
  assert.equal(store.snapshot.shown[1]!.id, "a1");
});

const conversation = (messages: Sent[]): Conversation => ({
  id: "cnv_9", title: "t", model: null, messages, current_leaf: null, settings: { tools: ["calculator"] },
});

test("after a reload the answer under way is taken up, and what was there stays meanwhile", async () => {
  const { api, store } = made();
  const question: Sent = { id: "q", role: "user", text: "hi" };
  const answer: Sent = { id: "a", role: "assistant", parent_id: "q", text: "Hel", status: "writing" };
  api.conversations.set("cnv_9", conversation([question, answer]));
  api.underWay = [{ run_id: "run_x", answer_id: "a" }];
  api.events = () => done("Hello there");
  const seen: string[] = [];
  store.subscribe(() => seen.push(store.snapshot.shown[1]?.text ?? ""));
  await store.open("cnv_9");
  while (store.snapshot.live.size) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(store.snapshot.shown[1]!.text, "Hello there");
  assert.ok(seen.filter(Boolean).every((text) => text.startsWith("Hel")));
  assert.deepEqual(store.snapshot.settings, { tools: ["calculator"] });
});

test("an answer that ended meanwhile is read again", async () => {
  const { api, store } = made();
  const part: Sent = { id: "a", role: "assistant", text: "Hel", status: "writing" };
  api.conversations.set("cnv_9", conversation([part]));
  await store.open("cnv_9");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(store.snapshot.shown[0]!.status, "stopped", "a writing message without a run is not waited for");
});

test("a conversation that is not there, and a server that is not there", async () => {
  const { api, store } = made();
  await store.open("cnv_none");
  assert.deepEqual([store.snapshot.state, store.snapshot.problem], ["failed", "missing"]);
  api.conversation = async () => {
    throw new Error("down");
  };
  await store.open("cnv_other");
  assert.deepEqual([store.snapshot.state, store.snapshot.problem], ["failed", "unreachable"]);
});

test("a rating is shown at once and taken back when the server refuses it", async () => {
  const { api, store } = made();
  await store.open(null);
  await store.ask("hello");
  const up = { rating: "up" as const, reasons: [], comment: "", better: null };
  const rating = store.rate("a1", up);
  assert.equal(store.snapshot.shown[1]!.feedback, up);
  await rating;
  assert.deepEqual(api.ratings, [["a1", up]]);
  api.refuse = new ServerError("no");
  await assert.rejects(store.rate("a1", null));
  assert.equal(store.snapshot.shown[1]!.feedback, up);
});

test("what is chosen goes with the next question", async () => {
  const { api, store } = made();
  await store.open(null);
  store.configure({ model: "m", params: { temperature: 0 }, instructions: "brief", tools: ["date"], collections: [] });
  await store.ask("x");
  const { action, text, ...rest } = api.requests[0]!;
  assert.deepEqual([action, text], ["ask", "x"]);
  assert.deepEqual(rest, { model: "m", params: { temperature: 0 }, instructions: "brief", tools: ["date"] });
});

test("a conversation that was left before it had a title still gets it", async () => {
  const { api, store, told, texts } = made();
  let say: () => void = () => undefined;
  const later = new Promise<void>((resolve) => (say = resolve));
  api.wire.open = async () =>
    (async function* () {
      yield frame(1, "text", { text: "a" });
      await later;
      yield frame(2, "text", { text: "b" }) + frame(3, "title", { title: "Tides" }) + frame(4, "done", { status: "done", text: "ab" });
    })();
  await store.open(null);
  const asking = store.ask("first");
  while (!told.length) await new Promise((resolve) => setTimeout(resolve, 5));
  await store.open(null);
  say();
  await asking;
  assert.deepEqual(told, ["cnv_1", "cnv_1: Tides"]);
  assert.deepEqual(texts(), [], "and nothing else of it is drawn");
  assert.equal(store.snapshot.live.size, 0);
});

test("leaving a conversation ends its listening, and the next one is its own", async () => {
  const { api, store, texts } = made();
  await store.open(null);
  const asking = store.ask("first");
  await store.open(null);
  await asking;
  assert.deepEqual(texts(), []);
  assert.equal(store.snapshot.live.size, 0);
  void fullMessage;
  void api;
});

test("a title that comes after the answer arrives, and does not keep the next question waiting", async () => {
  const { api, store, told, texts } = made();
  let say: () => void = () => undefined;
  const later = new Promise<void>((resolve) => (say = resolve));
  api.wire.open = async (run) =>
    (async function* () {
      yield done(`answer of ${run}`);
      if (run !== "run_1") return;
      await later;
      yield frame(4, "title", { title: "Tides" });
    })();
  await store.open(null);
  const asking = store.ask("first");
  while (store.snapshot.live.size || !told.length) await new Promise((resolve) => setTimeout(resolve, 5));
  await store.ask("second");
  assert.deepEqual(texts(), ["first", "answer of run_1", "second", "answer of run_2"]);
  say();
  await asking;
  assert.deepEqual(told, ["cnv_1", "cnv_1: Tides"]);
});

test("what was chosen a moment ago is kept when the conversation is left", async () => {
  const { api, store } = made();
  await store.open(null);
  await store.ask("first");
  store.configure({ tools: ["calculator"] });
  assert.deepEqual(api.changes, []);
  await store.open(null);
  assert.deepEqual(api.changes, [{ settings: { tools: ["calculator"] } }]);
});
