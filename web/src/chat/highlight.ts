/** Code as coloured elements. Loaded only once there is code to colour. */
import type { ElementContent, Root } from "hast";
import { common, createLowlight } from "lowlight";
import { h, type ComponentChildren } from "preact";

const lowlight = createLowlight(common);

/** The code's tokens as `span`s, or null for a language that is not known here. */
export function highlight(code: string, language: string): ComponentChildren | null {
  const name = language.toLowerCase();
  if (!lowlight.registered(name)) return null;
  return elements(lowlight.highlight(name, code));
}

function elements(node: Root | ElementContent): ComponentChildren {
  if (node.type === "text") return node.value;
  if (node.type === "root") return node.children.map((child) => elements(child as ElementContent));
  if (node.type !== "element") return null;
  const names = node.properties["className"];
  const known = Array.isArray(names) ? names.filter((name) => /^[\w-]+$/.test(String(name))).join(" ") : "";
  return h("span", { class: known }, node.children.map(elements));
}
