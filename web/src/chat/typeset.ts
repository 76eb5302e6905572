/** TeX as MathML elements. Loaded only once there is a formula to show. */
import { h, type ComponentChildren } from "preact";
import temml from "temml";

// What may be made; `annotation`, links, images and anything new are not.
const ELEMENTS = new Set(
  ("math mrow mi mo mn ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts " +
    "mprescripts none mtable mtr mtd mlabeledtr mstyle mpadded mphantom merror menclose semantics").split(" "),
);
const ATTRIBUTES = new Set(
  ("accent accentunder columnalign columnlines columnspacing columnspan depth display displaystyle fence form frame " +
    "height largeop linebreak linethickness lspace mathsize mathvariant maxsize minsize movablelimits notation " +
    "rowlines rowspacing rowspan rspace scriptlevel separator stretchy symmetric voffset width xmlns").split(" "),
);
// Sizes and colours; nothing that could fetch anything.
const STYLE = /^[\w\s.,#%()+-]*$/;

interface MathNode {
  type?: string;
  text?: string;
  attributes?: Record<string, unknown>;
  classes?: string[];
  style?: Record<string, unknown>;
  children?: MathNode[];
}

/** Throws for TeX that cannot be read. */
export function typeset(tex: string, display: boolean): ComponentChildren {
  const tree: MathNode = temml.__renderToMathMLTree(tex, {
    displayMode: display,
    throwOnError: true,
    trust: false,
    maxExpand: 200,
    maxSize: [20, 200],
    strict: false,
  });
  return element(tree);
}

function element(node: MathNode): ComponentChildren {
  if (node.type === undefined || !ELEMENTS.has(node.type)) {
    if (typeof node.text === "string") return node.text;
    return (node.children ?? []).map(element); // a fragment
  }
  const props: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(node.attributes ?? {}))
    if (ATTRIBUTES.has(name)) props[name] = String(value);
  const names = (node.classes ?? []).filter((name) => /^[\w-]+$/.test(name));
  if (names.length) props["class"] = names.join(" ");
  const style = Object.entries(node.style ?? {}).filter(([, value]) => STYLE.test(String(value)) && !/url/i.test(String(value)));
  if (style.length) props["style"] = Object.fromEntries(style.map(([name, value]) => [name, String(value)]));
  return h(node.type, props, (node.children ?? []).map(element));
}
