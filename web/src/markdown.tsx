/**
 * Markdown to elements, safe by construction: no string of HTML is ever made or parsed. The parser
 * gives tokens, each token that is known becomes an element, HTML in the text stays text, links
 * lead to http, https or mailto only, and images become links, so that nothing is loaded unasked.
 */
import MarkdownIt, { type Token } from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import { Fragment, h, type ComponentChildren, type VNode } from "preact";
import { CodeBlock } from "./code";

/** Draws the chip of citation `[number]`, or null where the text stays as it is. */
export type DrawCitation = (number: number) => VNode | null;

const parser = new MarkdownIt({ html: false, linkify: true, breaks: true }).use(cjkFriendly);
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// `[1]: …` at the start of a line is a citation here, not the definition of a link.
parser.disable("reference");

// `[1]`, `[1, 3]` and `【1】` are citations (as in chatwright/records/grounding.py), in running text
// only: code is another kind of token, and inside a link there is no room for a second one.
const CITATION = /[[【](\d{1,2}(?:\s*[,，、]\s*\d{1,2})*)[\]】]/g;

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
    const add = (type: string, content: string) => {
      const made = new state.Token(type, "", 0);
      made.content = content;
      out.push(made);
    };
    let at = 0;
    for (const found of token.content.matchAll(CITATION)) {
      // A space that does not break: no chip stands alone at the start of a line.
      if (found.index > at) add("text", token.content.slice(at, found.index).replace(/ $/, "\u00a0"));
      add("citation", found[0]);
      at = found.index + found[0].length;
    }
    if (at < token.content.length) add("text", token.content.slice(at));
    return out;
  }
});

/** A link that may be followed, or null. */
export function safeLink(target: string): string | null {
  try {
    const url = new URL(target);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

// Elements that a token may become. Anything else is drawn as its children or its text.
const ELEMENTS = new Set(
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote strong em s table thead tbody tr th td hr br".split(" "),
);

/** `wrapped`: the text was broken into lines by its writer's editor, and reads on across them. */
export function Markdown(props: { text: string; citation?: DrawCitation; wrapped?: boolean }) {
  const tokens = parser.parse(props.text, {});
  if (props.wrapped) tokens.forEach(unwrap);
  return <div class="markdown">{draw(tokens, props.citation)}</div>;
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

function draw(tokens: Token[], citation: DrawCitation | undefined): ComponentChildren[] {
  let position = 0;
  function until(closing: string | null): ComponentChildren[] {
    const out: ComponentChildren[] = [];
    while (position < tokens.length) {
      const token = tokens[position++]!;
      if (token.type === closing) break;
      if (token.nesting === 1) {
        const children = until(token.type.replace(/_open$/, "_close"));
        out.push(element(token, children));
      } else if (token.nesting === 0) out.push(leaf(token, citation));
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
  return h(
    token.tag,
    { ...(align ? { class: `align-${align}` } : {}), ...(start !== undefined ? { start } : {}) },
    children,
  );
}

function leaf(token: Token, citation: DrawCitation | undefined): ComponentChildren {
  switch (token.type) {
    case "inline":
      return <Fragment>{draw(token.children ?? [], citation)}</Fragment>;
    case "citation":
      return chips(token.content, citation);
    case "code_inline":
      return <code>{token.content}</code>;
    case "fence":
    case "code_block":
      return <CodeBlock code={token.content} language={token.info.trim().split(/\s/)[0] ?? ""} />;
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
function chips(written: string, citation: DrawCitation | undefined): ComponentChildren {
  const drawn = (written.match(/\d+/g) ?? []).map((number) => citation?.(Number(number)) ?? null);
  return drawn.every((chip) => chip !== null) ? <Fragment>{drawn}</Fragment> : written;
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
