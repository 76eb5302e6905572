import assert from "node:assert/strict";
import { test } from "node:test";
import { Component, type ComponentChild, type VNode } from "preact";
import { CodeBlock } from "../src/code";
import { Markdown, safeLink } from "../src/markdown";

/** Elements as text, with their attributes: a small renderer for the tests only. */
function show(node: any): string {
  if (node === null || node === undefined || typeof node === "boolean") return "";
  if (Array.isArray(node)) return node.map(show).join("");
  if (typeof node !== "object") return String(node);
  const { type, props } = node as VNode<any>;
  if (type === (CodeBlock as unknown)) return `<code-block ${props.language}>${props.code}</>`;
  if (typeof type === "function") {
    return show((type as (p: unknown) => ComponentChild)(props));
  }
  const attributes = Object.entries(props)
    .filter(([name]) => name !== "children")
    .map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    .join("");
  return `<${type}${attributes}>${show(props.children)}</${type}>`;
}
void Component;

const chip = (n: number) => (n <= 3 ? <b>{n}</b> : null);
const html = (text: string) => show(<Markdown text={text} citation={chip} />);

test("citations become chips, but not in code, links or beyond the sources", () => {
  assert.match(html("Use it [1][2]."), /Use it\u00a0<b>1<\/b><b>2<\/b>\./);
  assert.match(html("用它[3]。"), /用它<b>3<\/b>。/);
  assert.match(html("See [4]."), /See\u00a0\[4\]\./);
  assert.match(html("Both [1, 3]，和【2】。"), /Both\u00a0<b>1<\/b><b>3<\/b>，和<b>2<\/b>。/);
  assert.match(html("[1]: as it says"), /<b>1<\/b>: as it says/);
  assert.match(html("**bold [1]**"), /<strong>bold\u00a0<b>1<\/b><\/strong>/);
  assert.match(html("`x[1]`"), /<code>x\[1\]<\/code>/);
  assert.match(html("```py\nx[1]\n```"), /<code-block py>x\[1\]/);
  assert.match(html("[1](https://a.example/)"), /<a href="https:\/\/a\.example\/".*>1<\/a>/);
});

test("nothing in Markdown becomes live HTML or a dangerous link", () => {
  const attacks = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:x)",
    "<javascript:alert(1)>",
    "![x](https://evil.example/beacon.png)",
    "![x](javascript:alert(1))",
    "<svg/onload=alert(1)>",
    '[x](https://a.example/" onclick="alert(1))',
    "<iframe src=https://evil.example></iframe>",
    "[x]: javascript:alert(1)\n\n[x]",
  ];
  for (const attack of attacks) {
    const shown = html(attack);
    // Elements made are known ones; what the attack wrote is text among them.
    const made = [...renderedElements(<Markdown text={attack} citation={chip} />)];
    for (const [type, props] of made) {
      assert.ok(["div", "p", "a", "b", "code", "br"].includes(type), `${attack}: ${type}`);
      for (const [name, value] of Object.entries(props)) {
        if (name === "children") continue;
        assert.ok(["class", "href", "target", "rel"].includes(name), `${attack}: ${name}`);
        if (name === "href") assert.match(String(value), /^(https?|mailto):/, attack);
      }
    }
    assert.ok(shown.length > 0);
  }
});

function* renderedElements(node: any): Generator<[string, Record<string, unknown>]> {
  if (Array.isArray(node)) for (const one of node) yield* renderedElements(one);
  else if (node && typeof node === "object") {
    if (typeof node.type === "function") yield* renderedElements(node.type(node.props));
    else {
      yield [node.type, node.props];
      yield* renderedElements(node.props.children);
    }
  }
}

test("links: http, https and mailto only", () => {
  assert.equal(safeLink("https://a.example/x"), "https://a.example/x");
  for (const bad of ["javascript:x", "file:///etc/passwd", "data:text/html,x", "//a.example", "x", ""])
    assert.equal(safeLink(bad), null, bad);
});

test("tables, lists and Chinese emphasis", () => {
  assert.match(html("| a | b |\n|---|--:|\n| 1 | 2 |"), /<table>.*<td class="align-right">2<\/td>/);
  assert.match(html("- a\n- b"), /<ul><li>a<\/li><li>b<\/li><\/ul>/);
  assert.match(html("3. a"), /<ol start=3>/);
  assert.match(html("**这是“重点”。**然后继续"), /<strong>这是“重点”。<\/strong>然后继续/);
});

test("deep nesting and long lines end", () => {
  const started = Date.now();
  html(">".repeat(5000) + "x");
  html("[".repeat(20000));
  html("*a ".repeat(5000));
  html("`".repeat(3000) + "x");
  assert.ok(Date.now() - started < 5000);
});
