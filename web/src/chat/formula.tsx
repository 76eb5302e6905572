import { useMemo } from "preact/hooks";
import { lazily } from "./lazy";

const typesetting = lazily(() => import("./typeset"));

/** A TeX formula; its source until the typesetter is there, and where the TeX cannot be read. */
export function Formula(props: { tex: string; display: boolean; open: boolean }) {
  const typesetter = typesetting.use(!props.open);
  const drawn = useMemo(() => {
    try {
      return typesetter?.typeset(props.tex, props.display) ?? null;
    } catch {
      return null;
    }
  }, [typesetter, props.tex, props.display]);
  const name = props.display ? "formula display" : "formula";
  const inside = drawn ?? <code>{props.tex}</code>;
  if (!props.display) return <span class={name}>{inside}</span>; // a span also on its own line: it may stand in a paragraph
  return (
    <span class={name} tabIndex={0}>
      {inside}
    </span>
  );
}
