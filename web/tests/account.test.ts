import assert from "node:assert/strict";
import { test } from "node:test";
import { readSvg } from "../src/account/qr";
import { browserName } from "../src/account/security";
import { detailsOf } from "../src/admin/audit";
import { daysUntil, roundUp } from "../src/admin/charts";
import { sums } from "../src/admin/usage";

test("of a QR code's SVG only its paths are taken", () => {
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="132" height="132" class="segno" onload="alert(1)">' +
    '<script>alert(1)</script><path transform="scale(4)" stroke="#000" d="M4 4.5h7m1 0h2" onclick="x()"/></svg>';
  assert.deepEqual(readSvg(svg), {
    viewBox: "0 0 132 132",
    paths: [{ d: "M4 4.5h7m1 0h2", stroke: true, transform: "scale(4)" }],
  });
  assert.equal(readSvg("<svg viewBox='0 0 1 1'></svg>"), null);
  assert.equal(readSvg('<svg viewBox="0 0 1 1"><path d="url(javascript:x)"/></svg>'), null);
});

test("browsers by name", () => {
  const phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Version/17.0 Safari/604";
  assert.equal(browserName(phone), "Safari · iPhone");
  assert.equal(browserName("Mozilla/5.0 (Windows NT 10.0) Chrome/130.0 Safari/537.36 Edg/130.0"), "Edge · Windows");
  assert.equal(browserName("curl/8.5"), "curl/8.5");
  assert.equal(browserName(""), "–");
});

test("details of the audit log in one line", () => {
  assert.equal(detailsOf({ role: "admin", daily_tokens: null }), "role: admin · daily tokens: –");
  assert.equal(detailsOf('{"scopes": ["chat", "files"]}'), "scopes: chat, files");
  assert.equal(detailsOf("{}"), "");
  assert.equal(detailsOf("not JSON"), "not JSON");
});

test("charts: every day, and axes that end at a round number", () => {
  assert.deepEqual(daysUntil(new Date("2026-03-01T23:59:00Z"), 3), ["2026-02-27", "2026-02-28", "2026-03-01"]);
  assert.deepEqual([0, 1, 11, 260, 99_000].map(roundUp), [1, 1, 20, 500, 100_000]);
  const row = (model: string, tokens: number) => ({
    day: "2026-03-01",
    model,
    requests: 1,
    prompt_tokens: tokens,
    completion_tokens: 1,
  });
  assert.deepEqual(sums([row("a", 1), row("b", 9), row("a", 2)], (one) => one.model), [
    { name: "b", value: 10 },
    { name: "a", value: 5 },
  ]);
});
