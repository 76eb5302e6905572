import assert from "node:assert/strict";
import { test } from "node:test";
import { asHistory } from "../src/chat/api";
import { chooseModel } from "../src/chat/choices";
import { isSend } from "../src/chat/keys";
import { parseIfJson, pretty, saysSimulated } from "../src/chat/notices";
import { KNOBS, readKnob, withKnob } from "../src/chat/sampling";
import { errorIn, noteIn, toolIn } from "../src/chat/server-words";
import { place } from "../src/chat/sources";
import { spoken } from "../src/chat/status";
import { fullMessage, type Model } from "../src/chat/types";
import { EventReader } from "../src/sse";
import { CHAT } from "../src/strings-chat";

const press = (more: object = {}) =>
  isSend({
    key: "Enter", shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, isComposing: false, keyCode: 13, ...more,
  });

test("Enter sends, but not a new line's and not an input method's", () => {
  assert.equal(press(), true);
  assert.equal(press({ ctrlKey: true }), true);
  for (const not of [{ key: "a" }, { shiftKey: true }, { altKey: true }, { isComposing: true }, { keyCode: 229 }])
    assert.equal(press(not), false, JSON.stringify(not));
});

test("numbers of sampling: what is none of them is refused, an empty field is the model's own", () => {
  const knob = Object.fromEntries(KNOBS.map((one) => [one.name, one]));
  assert.equal(readKnob(knob["temperature"]!, " 0.3 "), 0.3);
  assert.equal(readKnob(knob["temperature"]!, "0,3"), 0.3);
  assert.equal(readKnob(knob["temperature"]!, ""), undefined);
  for (const text of ["NaN", "Infinity", "-1", "1e9", "2.1", "0x1", "one", "1 2", "9223372036854775808"])
    assert.equal(readKnob(knob["temperature"]!, text), null, text);
  assert.equal(readKnob(knob["top_k"]!, "1.5"), null);
  assert.equal(readKnob(knob["seed"]!, "0"), 0);
  assert.deepEqual(withKnob({ seed: 1 }, "temperature", 0), { seed: 1, temperature: 0 });
  assert.deepEqual(withKnob({ seed: 1, temperature: 0 }, "temperature", undefined), { seed: 1 });
});

test("the model that answers", () => {
  const model = (id: string, more: object = {}) => ({ id, ...more }) as Model;
  const models = [model("a"), model("b", { default: true }), model("c")];
  assert.equal(chooseModel(models, null, "c")?.id, "c");
  assert.equal(chooseModel(models, "a", "c")?.id, "a");
  assert.equal(chooseModel(models, "gone", undefined)?.id, "b");
  assert.equal(chooseModel([model("a")])?.id, "a");
  assert.equal(chooseModel([], "a"), null);
});

test("a temporary conversation's history leaves out what has no text", () => {
  const said = (role: "user" | "assistant" | "tool", text: string) => fullMessage({ id: text, role, text });
  assert.deepEqual(asHistory([said("user", "q"), said("assistant", ""), said("tool", "t"), said("assistant", "a")]), [
    { role: "user", content: "q" },
    { role: "assistant", content: "a" },
  ]);
});

test("a tool's arguments and results are readable, and a simulator says that it is one", () => {
  assert.equal(pretty('{"a":1}'), '{\n  "a": 1\n}');
  assert.equal(pretty("plain"), "plain");
  assert.equal(pretty(undefined), "");
  assert.equal(parseIfJson("{broken"), "{broken");
  assert.equal(saysSimulated({ id: "1", name: "w", arguments: {}, result: '{"simulated": true}' }), true);
  assert.equal(saysSimulated({ id: "1", name: "w", arguments: {}, result: { simulated: true } }), true);
  assert.equal(saysSimulated({ id: "1", name: "w", arguments: {}, result: "simulated" }), false);
});

test("where a source is", () => {
  assert.equal(place("https://a.example/%E6%BD%AE.html?x#y"), "a.example/潮.html");
  assert.equal(place("collection:col_1/notes.md"), "notes.md");
  assert.equal(place("https://a.example/%E6"), "a.example/%E6");
});

test("events carry their number and kind, and an id holds until the next", () => {
  const reader = new EventReader();
  const got = reader.read("id: 3\nevent: text\ndata: a\n\nevent: done\ndata: b\n\ndata: c\n\n");
  assert.deepEqual(got, [
    { id: "3", kind: "text", data: "a" },
    { id: "3", kind: "done", data: "b" },
    { id: "3", kind: "message", data: "c" },
  ]);
});

test("both languages say everything, in the same shape", () => {
  const shape = (value: unknown): unknown =>
    value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner)]))
      : typeof value;
  assert.deepEqual(shape(CHAT.zh), shape(CHAT.en));
  const latin = ["comma", "attachKinds"];
  for (const [key, value] of Object.entries(CHAT.zh))
    if (typeof value === "string" && !latin.includes(key)) assert.match(value, /\p{Script=Han}/u, key);
  for (const value of Object.values(CHAT.zh))
    if (typeof value === "string") assert.doesNotMatch(value, /\p{Script=Han}[,;:!?]/u, "full-width signs");
});

test("what is read out has no signs of Markdown in it", () => {
  assert.equal(spoken("# A\n\n- **b** and `c` [1], see [d](https://e.example/)"), "A\n\nb and c [1], see d");
});

test("what the server says in English is said in Chinese where the page is", () => {
  const none = "No passage holds any word of the question; none was shown.";
  assert.equal(noteIn("en", none), none);
  const said = [
    none,
    "The earliest message of this conversation did not fit into the model's context window and was left out.",
    "The 3 earliest messages of this conversation did not fit into the model's context window and were left out.",
    "One passage that the search found did not fit and was left out.",
    "2 passages that the search found did not fit and were left out.",
    "Passage 2 was shown in part: the sentences nearest the question.",
    "Passages 1, 2 and 3 were shown in part: the sentences nearest the question.",
    "Of the file a b.md only the first 40 % fit into the model's context window.",
  ].map((note) => noteIn("zh", note));
  for (const note of said) assert.ok(!/[a-z]{2,}/.test(note.replace("a b.md", "")), note);
  assert.ok(said[2]!.includes("3") && said[3]!.includes("1") && said[6]!.includes("1\u30012\u30013"));
  assert.equal(noteIn("zh", "Kept in mind: x"), "Kept in mind: x");
  assert.equal(errorIn("en", "server_error"), null);
  assert.equal(errorIn("zh", "constructor"), null);
  assert.equal(toolIn("zh", "toString", "as it is"), "as it is");
});
