/** TeX formulas in Markdown as tokens `math_inline` and `math_block`: `$…$`, `$$…$$`, `\(…\)`, `\[…\]`. */
import type { MarkdownIt } from "markdown-it";

// A formula is short; a dollar sign without a partner must not make the parser read far.
const LONGEST = 4000;

const FENCES = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
] as const;

/** `env.growing`: more text is to come, so a block without its end is a formula already. */
export function mathSyntax(parser: MarkdownIt): void {
  parser.inline.ruler.before("escape", "math_inline", (state, silent) => {
    const found = formulaAt(state.src, state.pos, state.posMax);
    if (!found) return false;
    if (!silent) {
      const token = state.push("math_inline", "math", 0);
      token.content = found.tex;
      token.meta = { display: found.display };
    }
    state.pos = found.end;
    return true;
  });

  parser.block.ruler.before(
    "fence",
    "math_block",
    (state, startLine, endLine, silent) => {
      const start = state.bMarks[startLine]! + state.tShift[startLine]!;
      if (state.sCount[startLine]! - state.blkIndent >= 4) return false; // indented code
      const fence = FENCES.find((one) => one.display && state.src.startsWith(one.open, start));
      if (!fence) return false;
      const lines: string[] = [];
      let line = startLine;
      let closed = false;
      for (; line < endLine && !closed; line++) {
        const from = line === startLine ? start + fence.open.length : state.bMarks[line]! + state.tShift[line]!;
        if (line > startLine && state.sCount[line]! < state.blkIndent && !state.isEmpty(line)) break;
        const text = state.src.slice(from, state.eMarks[line]);
        const end = text.indexOf(fence.close);
        if (end < 0) lines.push(text);
        else if (text.slice(end + fence.close.length).trim() === "") {
          lines.push(text.slice(0, end));
          closed = true;
        } else return false; // text follows: a formula inside a paragraph
      }
      const open = !closed && line >= endLine && Boolean(state.env?.growing);
      if ((!closed && !open) || lines.join("").length > LONGEST) return false;
      if (!lines.join("").trim() && !open) return false;
      if (silent) return true;
      const token = state.push("math_block", "math", 0);
      token.block = true;
      token.content = lines.join("\n").trim();
      token.map = [startLine, line];
      token.meta = { display: true, open };
      state.line = line;
      return true;
    },
    { alt: ["paragraph", "blockquote", "list"] },
  );
}

/** The formula that begins at `at`, or null. */
export function formulaAt(
  text: string,
  at: number,
  limit = text.length,
): { tex: string; display: boolean; end: number } | null {
  const char = text[at];
  if (char !== "$" && char !== "\\") return null;
  const fence = FENCES.find((one) => text.startsWith(one.open, at));
  if (fence) {
    const from = at + fence.open.length;
    const end = text.slice(from, Math.min(limit, from + LONGEST)).indexOf(fence.close);
    const tex = end < 0 ? "" : text.slice(from, from + end).trim();
    return tex ? { tex, display: fence.display, end: from + end + fence.close.length } : null;
  }
  return char === "$" ? dollars(text, at, limit) : null;
}

/** `$x$`, as pandoc reads it, and sums of money left alone. */
function dollars(text: string, at: number, limit: number) {
  if (/[\w$]/.test(text[at - 1] ?? "") || /[\s$]/.test(text[at + 1] ?? " ")) return null;
  const stop = Math.min(limit, at + 1 + LONGEST);
  for (let end = at + 1; end < stop; end++) {
    const char = text[end];
    if (char === "\\") end += 1;
    else if (char === "`") return null; // code begins here
    else if (char === "$") {
      const tex = text.slice(at + 1, end);
      if (/\s$/.test(tex) || /[\w$]/.test(text[end + 1] ?? "")) return null;
      return looksLikeMoney(tex) ? null : { tex, display: false, end: end + 1 };
    }
  }
  return null;
}

/** "20, and you pay 30": words after a number, and no sign of TeX. */
function looksLikeMoney(tex: string): boolean {
  return /^[\d.,]+/.test(tex) && !/[\\^_={}]/.test(tex) && /[\s,][\p{L}]{2,}|\p{Script=Han}/u.test(tex);
}
