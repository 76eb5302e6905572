import assert from "node:assert/strict";
import { test } from "node:test";
import { EventReader } from "../src/sse";

const stream = 'data: {"a":1}\n\n: still here\n\ndata: two\r\n\r\nevent: x\ndata: l1\ndata: l2\n\ndata:tight\n\nid: 7\n\n';
const events = ['{"a":1}', "two", "l1\nl2", "tight"];

test("events come out whole, however the text is cut", () => {
  for (let size = 1; size <= stream.length; size++) {
    const reader = new EventReader();
    const got: string[] = [];
    for (let at = 0; at < stream.length; at += size) got.push(...reader.push(stream.slice(at, at + size)));
    assert.deepEqual(got, events, `pieces of ${size}`);
  }
});

test("an unfinished event is not given", () => {
  const reader = new EventReader();
  assert.deepEqual(reader.push("data: half"), []);
  assert.deepEqual(reader.push(" and half\n"), []);
  assert.deepEqual(reader.push("\n"), ["half and half"]);
});
