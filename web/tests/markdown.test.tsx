import assert from "node:assert/strict";
import { test } from "node:test";
import type { ComponentChild, VNode } from "preact";
import { CodeBlock } from "../src/chat/code";
import { Formula } from "../src/chat/formula";
import { tied } from "../src/chat/growing";
import { highlight } from "../src/chat/highlight";
import { Markdown } from "../src/chat/markdown";
import { formulaAt } from "../src/chat/math-syntax";
import { safeLink } from "../src/chat/safe-link";
import { typeset } from "../src/chat/typeset";

/** Elements as text, with their attributes: a small renderer for the tests only. */
function show(node: any): string {
  if (node === null || node === undefined || typeof node === "boolean") return "";
  if (Array.isArray(node)) return node.map(show).join("");
  if (typeof node !== "object") return String(node);
  const { type, props } = node as VNode<any>;
  if (type === (CodeBlock as unknown)) return `<code-block ${props.language}>${props.code}</>`;
  if (type === (Formula as unknown)) return `<${props.display ? "display" : "inline"} ${props.tex}>`;
  if (typeof type === "function") {
    return show((type as (p: unknown) => ComponentChild)(props));
  }
  const attributes = Object.entries(props)
    .filter(([name]) => name !== "children")
    .map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    .join("");
  return `<${type}${attributes}>${show(props.children)}</${type}>`;
}

const chip = (n: number) => (n <= 3 ? <b>{n}</b> : null);
const html = (text: string) => show(<Markdown text={text} citation={chip} />);

test("citations become chips, but not in code, links or beyond the sources", () => {
  const plain = (text: string) => html(text).replace(/<\/?span[^>]*>/g, "");
  assert.match(plain("Use it [1][2]."), /Use it\u00a0<b>1<\/b><b>2<\/b>\./);
  assert.match(plain("用它[3]。"), /用它<b>3<\/b>。/);
  assert.match(plain("See [4]."), /See\u00a0\[4\]\./);
  assert.match(plain("Both [1, 3]，和【2】。"), /Both\u00a0<b>1<\/b><b>3<\/b>，和<b>2<\/b>。/);
  assert.match(plain("[1]: as it says"), /<b>1<\/b>: as it says/);
  assert.match(plain("**bold [1]**"), /<strong>bold\u00a0<b>1<\/b><\/strong>/);
  assert.match(html("`x[1]`"), /<code>x\[1\]<\/code>/);
  assert.match(html("```py\nx[1]\n```"), /<code-block py>x\[1\]/);
  assert.match(html("[1](https://a.example/)"), /<a href="https:\/\/a\.example\/".*>1<\/a>/);
});

test("a chip stays with the word before it and the sign after it", () => {
  assert.match(html("It opens at noon [1]."), /at <span class="cited">noon\u00a0<b>1<\/b>\.<\/span>/);
  assert.match(html("大潮的时候[1]，小潮"), /大潮的时<span class="cited">候<b>1<\/b>，<\/span>小潮/);
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
      assert.ok(["div", "p", "a", "b", "code", "br", "span"].includes(type), `${attack}: ${type}`);
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

const formulas = (text: string) => [...html(text).matchAll(/<(inline|display) ([^]*?)>/g)].map((found) => `${found[1]}: ${found[2]}`);

test("formulas, between the signs that TeX and pandoc know", () => {
  assert.deepEqual(formulas("So $x^2$ and \\(y_1\\) hold."), ["inline: x^2", "inline: y_1"]);
  assert.deepEqual(formulas("$$\n\\int_0^1 x\\,dx\n$$"), ["display: \\int_0^1 x\\,dx"]);
  assert.deepEqual(formulas("\\[ a = b \\]"), ["display: a = b"]);
  assert.deepEqual(formulas("text\n$$a$$\nmore"), ["display: a"]);
  assert.deepEqual(formulas("in a line $$a+b$$ so"), ["display: a+b"]);
  assert.deepEqual(formulas("- $$\n  a\n  $$\n- b"), ["display: a"]);
  assert.deepEqual(formulas("设 $x=1$，则成立"), ["inline: x=1"]);
  assert.deepEqual(formulas("$a_1 * b * c$ *em*"), ["inline: a_1 * b * c"], "no emphasis inside");
  assert.deepEqual(formulas("$\\$5$"), ["inline: \\$5"]);
});

test("money, code and loose signs are no formulas", () => {
  for (const text of [
    "It costs $5 and $6.",
    "Between $5-$10, or US$3.",
    "I paid $20, and you pay 30$.",
    "$ x $",
    "a $ sign",
    "`$x$`",
    "```\n$x$\n```",
    "    $$x$$ in indented code",
    "\\$x\\$",
    "cost$ and price$",
    "`a` costs $2 and `b` costs `$3`",
    "从 $5 涨到 $8",
    "$$\nnever closed",
    "$$$$",
    "\\(\\)",
  ])
    assert.deepEqual(formulas(text), [], text);
  assert.equal(formulaAt("x", 0), null);
});

function* nodes(node: any): Generator<[string, Record<string, any>]> {
  if (Array.isArray(node)) for (const one of node) yield* nodes(one);
  else if (node && typeof node === "object") {
    yield [node.type, node.props];
    yield* nodes(node.props.children);
  }
}

test("TeX becomes MathML elements, and nothing that could fetch, link or run", () => {
  const made = [...nodes(typeset("\\frac{a}{\\sqrt{b}} \\begin{pmatrix}1&2\\\\3&4\\end{pmatrix} \\text{if } x \\cancel{y}", true))];
  assert.equal(made[0]![0], "math");
  for (const wanted of ["mfrac", "msqrt", "mtable", "mtext"]) assert.ok(made.some(([type]) => type === wanted), wanted);
  for (const attack of [
    "\\href{javascript:alert(1)}{x}",
    "\\url{https://evil.example}",
    "\\includegraphics{https://evil.example/x.png}",
    "\\class{a}{\\id{b}{x}} \\style{background:url(https://evil.example)}{x}",
    "\\data{onclick=alert(1)}{x}",
    "\\color{url(https://evil.example)}{x}",
    "\\def\\x{\\x\\x}\\x",
    "\\rule{9999em}{9999em}",
    "x".repeat(4000),
  ]) {
    try {
      for (const [type, props] of nodes(typeset(attack, false))) {
        assert.match(type, /^m[a-z]+$|^none$|^semantics$/, attack);
        assert.doesNotMatch(JSON.stringify({ ...props, children: 0 }), /evil|javascript|alert|on\w+=|href|src/i, attack);
      }
    } catch (error) {
      assert.equal((error as Error).name, "ParseError", `${attack}: ${error}`);
    }
  }
});

test("code is coloured by elements, its text stays as it was", () => {
  const code = 'def f(x):\n    return "<b>" + x  # why\n';
  const drawn = highlight(code, "Python");
  const words = (node: any): string =>
    Array.isArray(node) ? node.map(words).join("") : typeof node === "object" && node ? words(node.props.children) : String(node ?? "");
  assert.equal(words(drawn), code);
  assert.ok([...nodes(drawn)].some(([type, props]) => type === "span" && props.class === "hljs-keyword"));
  assert.ok([...nodes(drawn)].every(([type]) => type === "span"));
  assert.equal(highlight("x", "no-such-language"), null);
});

test("tasks have boxes, headings and quotes nest, pictures are links", () => {
  const shown = html("- [x] done\n- [ ] open\n- plain [x]");
  assert.equal(shown.match(/type="checkbox"/g)?.length, 2);
  assert.equal(shown.match(/checked=true/g)?.length, 1);
  assert.match(html("> a\n>> b\n\n1. x\n   - y\n     - z"), /<blockquote>.*<blockquote>.*<ol start=1>.*<ul>.*<ul>/s);
  assert.match(html("![a cat](https://x.example/cat.png)"), /<a href="https:\/\/x\.example\/cat\.png".*>a cat<\/a>/);
  assert.match(html("<b>bold</b>"), /<b>bold<\/b>/);
});

test("while it grows, a loose end looks like what it will be", () => {
  const same = (text: string) => assert.equal(tied(text), text);
  assert.equal(tied("so **bold"), "so **bold**");
  assert.equal(tied("so **bold*"), "so **bold**");
  assert.equal(tied("so **"), "so ");
  assert.equal(tied("so `code"), "so `code`");
  assert.equal(tied("so `"), "so ");
  assert.equal(tied("see [the page](https://a.exa"), "see the page");
  assert.equal(tied("a line\n-"), "a line\n");
  assert.equal(tied("a line\n==="), "a line\n");
  same("so **bold** and `code`");
  same("a list\n\n- one\n- two");
  same("```py\nx = **kw");
  same("a `**` b");
  same("two ``a ` b`` c");
  assert.match(show(<Markdown text={tied("x\n\n```py\nprint(")} />), /<code-block py>print\(/);
});
