/** Markdown as elements: no string of HTML is made at any point, and no picture is loaded. */
import MarkdownIt, { type Token } from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import { Fragment, h, type ComponentChildren, type VNode } from "preact";
import { useRef } from "preact/hooks";
import { CodeBlock } from "./code";
import { Formula } from "./formula";
import { tied } from "./growing";
import { mathSyntax } from "./math-syntax";
import { safeLink } from "./safe-link";

/** Draws the chip of citation `[number]`, or null where the text stays as it is. */
export type DrawCitation = (number: number) => VNode | null;

interface Drawing {
  citation: DrawCitation | undefined;
  growing: boolean;
}

const parser = new MarkdownIt({ html: false, linkify: true, breaks: true }).use(cjkFriendly).use(mathSyntax);
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// `[1]: …` at the start of a line is a citation here, not the definition of a link.
parser.disable("reference");

// `[1]`, `[1, 3]` and `【1】` are citations (as in chatwright/records/grounding.py), in running text
// only: code is another kind of token, and inside a link there is no room for a second one.
const CITATION = /[[\u3010](\d{1,2}(?:\s*[,\uff0c\u3001]\s*\d{1,2})*)[\]\u3011]/g;

// What a chip stays on one line with: the word before it, and the sign that closes after it.
const LAST_WORD = /(?:[^\s\p{Script=Han}]{1,24}|\p{Script=Han})? ?$/u;
const CLOSING = /^[.,;:!?)\u3001\u3002\uff01\uff09\uff0c\uff1a\uff1b\uff1f\u300d\u300f\u201d]{1,3}/;

parser.core.ruler.push("citations", (state) => {
  for (const block of state.tokens) {
    if (!block.children) continue;
    let links = 0;
    block.children = block.children.flatMap((token) => {
      if (token.type === "link_open" || token.type === "link_close") links += token.nesting;
      return token.type === "text" && links === 0 ? split(token) : [token];
    });
  }
  function split(token: Token): Token[] {
    const out: Token[] = [];
    const text = token.content;
    let at = 0;
    const add = (content: string) => {
      if (!content) return;
      const made = new state.Token("text", "", 0);
      made.content = content;
      out.push(made);
    };
    for (const found of text.matchAll(CITATION)) {
      const end = found.index + found[0].length;
      const before = LAST_WORD.exec(text.slice(at, found.index))?.[0] ?? "";
      const after = CLOSING.exec(text.slice(end))?.[0] ?? "";
      add(text.slice(at, found.index - before.length));
      const made = new state.Token("citation", "", 0);
      made.content = found[0];
      made.meta = { before: before.replace(/ $/, "\u00a0"), after };
      out.push(made);
      at = end + after.length;
    }
    add(text.slice(at));
    return out;
  }
});

// "- [ ] to do" and "- [x] done".
parser.core.ruler.push("tasks", (state) => {
  state.tokens.forEach((token, index) => {
    const item = state.tokens[index - 2];
    const first = token.children?.[0];
    if (token.type !== "inline" || item?.type !== "list_item_open" || first?.type !== "text") return;
    const mark = /^\[([ xX])\] /.exec(first.content);
    if (!mark) return;
    first.content = first.content.slice(4);
    const box = new state.Token("task", "input", 0);
    box.meta = { done: mark[1] !== " " };
    token.children!.unshift(box);
    item.attrSet("class", "task");
  });
});

// Elements that a token may become. Anything else is drawn as its children or its text.
const ELEMENTS = new Set(
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote strong em s table thead tbody tr th td hr br".split(" "),
);

/** `wrapped`: the text was broken into lines by its writer's editor, and reads on across them. */
export function Markdown(props: { text: string; citation?: DrawCitation | undefined; wrapped?: boolean }) {
  const tokens = parser.parse(props.text, {});
  if (props.wrapped) tokens.forEach(unwrap);
  return <div class="markdown">{draw(tokens, { citation: props.citation, growing: false })}</div>;
}

/** The same for an answer: while it grows, only its last block is drawn again. */
export function GrowingMarkdown(props: { text: string; growing: boolean; citation: DrawCitation }) {
  const cache = useRef<{ citation: DrawCitation; drawn: { source: string; node: VNode }[] } | null>(null);
  const text = props.growing ? tied(props.text) : props.text;
  const lines = text.split("\n");
  const blocks = topLevel(parser.parse(text, { growing: props.growing }));
  const old = cache.current?.citation === props.citation ? cache.current.drawn : [];
  const drawn = blocks.map((tokens, index) => {
    const last = props.growing && index === blocks.length - 1;
    const map = tokens[0]?.map;
    const source = `${last} ${map ? lines.slice(map[0], map[1]).join("\n") : index}`;
    const known = old[index];
    if (known?.source === source) return known; // the very same element: nothing below it is looked at
    const node = <Fragment key={index}>{draw(tokens, { citation: props.citation, growing: last })}</Fragment>;
    return { source, node };
  });
  cache.current = { citation: props.citation, drawn };
  return <div class="markdown">{drawn.map((one) => one.node)}</div>;
}

function topLevel(tokens: Token[]): Token[][] {
  const groups: Token[][] = [];
  let depth = 0;
  for (const token of tokens) {
    if (depth === 0) groups.push([]);
    groups.at(-1)!.push(token);
    depth += token.nesting;
  }
  return groups;
}

// Between Chinese characters a line's end is nothing, elsewhere a space.
const WIDE = /[\u3000-\u9fff\uff00-\uffef]/;

function unwrap(block: Token) {
  const children = block.children ?? [];
  const written = (tokens: Token[]) => tokens.map((token) => token.content).join("");
  children.forEach((token, index) => {
    if (token.type !== "softbreak") return;
    const before = written(children.slice(0, index)).at(-1) ?? "";
    const after = written(children.slice(index + 1)).at(0) ?? "";
    token.type = "text";
    token.content = WIDE.test(before) && WIDE.test(after) ? "" : " ";
  });
}

function draw(tokens: Token[], how: Drawing): ComponentChildren[] {
  let position = 0;
  function until(closing: string | null): ComponentChildren[] {
    const out: ComponentChildren[] = [];
    while (position < tokens.length) {
      const token = tokens[position++]!;
      if (token.type === closing) break;
      if (token.nesting === 1) {
        const children = until(token.type.replace(/_open$/, "_close"));
        out.push(element(token, children));
      } else if (token.nesting === 0) out.push(leaf(token, how));
    }
    return out;
  }
  return until(null);
}

const attribute = (token: Token, name: string) => String(token.attrGet(name) ?? "");

function element(token: Token, children: ComponentChildren[]): ComponentChildren {
  if (token.hidden) return <Fragment>{children}</Fragment>; // the paragraphs of a tight list
  if (token.tag === "a") return <Link href={attribute(token, "href")}>{children}</Link>;
  if (token.tag === "table")
    return (
      <div class="table" tabIndex={0}>
        <table>{children}</table>
      </div>
    );
  if (!ELEMENTS.has(token.tag)) return <Fragment>{children}</Fragment>;
  const align = /text-align:(left|center|right)/.exec(attribute(token, "style"))?.[1];
  const start = token.tag === "ol" ? Number(token.attrGet("start") ?? 1) : undefined;
  const task = token.tag === "li" && token.attrGet("class") === "task";
  return h(
    token.tag,
    {
      ...(align ? { class: `align-${align}` } : {}),
      ...(task ? { class: "task" } : {}),
      ...(start !== undefined ? { start } : {}),
    },
    children,
  );
}

function leaf(token: Token, how: Drawing): ComponentChildren {
  switch (token.type) {
    case "inline":
      return <Fragment>{draw(token.children ?? [], how)}</Fragment>;
    case "citation":
      return <Cited token={token} draw={how.citation} />;
    case "code_inline":
      return <code>{token.content}</code>;
    case "fence":
    case "code_block":
      return (
        <CodeBlock
          code={token.content}
          language={token.info.trim().split(/\s/)[0] ?? ""}
          growing={how.growing}
        />
      );
    case "math_inline":
    case "math_block":
      return (
        <Formula
          tex={token.content}
          display={Boolean(token.meta?.["display"])}
          open={Boolean(token.meta?.["open"])}
        />
      );
    case "task":
      return <TaskBox done={Boolean(token.meta?.["done"])} />;
    case "image":
      return <Link href={attribute(token, "src")}>{token.content || "image"}</Link>;
    case "softbreak":
    case "hardbreak":
      return <br />;
    case "hr":
      return <hr />;
    default:
      return token.content;
  }
}

/** A chip for each number with a source; the citation as written where one has none. */
function Cited(props: { token: Token; draw: DrawCitation | undefined }) {
  const { content, meta } = props.token;
  const drawn = (content.match(/\d+/g) ?? []).map((number) => props.draw?.(Number(number)) ?? null);
  const inside = drawn.every((chip) => chip !== null) ? drawn : content;
  return (
    <span class="cited">
      {String(meta?.["before"] ?? "")}
      {inside}
      {String(meta?.["after"] ?? "")}
    </span>
  );
}

function TaskBox(props: { done: boolean }) {
  return <input type="checkbox" disabled checked={props.done} aria-label={props.done ? "\u2713" : "\u2610"} />;
}

function Link(props: { href: string; children: ComponentChildren }) {
  const href = safeLink(props.href);
  if (href === null) return <Fragment>{props.children}</Fragment>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {props.children}
    </a>
  );
}
