/** What an answer that is still being written looks like when its last line is half a thing. Pure. */

/**
 * The text with its loose ends tied: a bold, a code span or a link that has begun counts as whole, and a
 * line of dashes that may yet become a list or a table does not make a heading of the line above it.
 */
export function tied(text: string): string {
  if (insideFence(text)) return text;
  const from = text.lastIndexOf("\n\n") + 1;
  let end = text.slice(from).replace(/\n[ \t]*(?:[-=*+]+|\d+[.)])[ \t]*$/, "\n");
  // A link's address is of no use until it is whole: its words are.
  end = end.replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1");
  const masked = end.replace(/(``+)[^]*?\1(?!`)/g, (code) => "x".repeat(code.length));
  if (odd(masked, /(?<!`)`(?!`)/g)) end = end.replace(/`$/, "") + (end.endsWith("`") ? "" : "`");
  else {
    const plain = masked.replace(/`[^`]*`/g, (code) => "x".repeat(code.length));
    if (/\*\*$/.test(plain) && odd(plain, /\*\*/g)) end = end.replace(/\*+$/, "");
    else if (odd(plain, /\*\*/g)) end = `${end.replace(/\*$/, "").trimEnd()}**`;
  }
  return text.slice(0, from) + end;
}

function odd(text: string, pattern: RegExp): boolean {
  return (text.match(pattern)?.length ?? 0) % 2 === 1;
}

function insideFence(text: string): boolean {
  let fence = "";
  for (const line of text.split("\n")) {
    const found = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1];
    if (!found) continue;
    if (!fence) fence = found;
    else if (found[0] === fence[0] && found.length >= fence.length && line.trim() === found) fence = "";
  }
  return fence !== "";
}
