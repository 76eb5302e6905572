/** The scoring form: a row of five for each scale, for digits, Tab, arrows and fingers. */
import { useRef } from "preact/hooks";
import type { About } from "./arena-api";
import type { Desk } from "./arena-desk";
import { useStrings } from "./strings";

const SCORES = [1, 2, 3, 4, 5];

export interface Scales {
  desk: Desk;
  about: About;
  asked: string[];
  form: { current: HTMLFormElement | null };
  score: (value: number) => void;
  clear: () => void;
}

/** The scales of what is shown now, and what digits do to the one that is next. */
export function useScales(desk: Desk, about: About): Scales {
  const form = useRef<HTMLFormElement>(null);
  const asked = desk.next?.task?.scales ?? [];

  /** The scale that has the focus, or else the first without a score. */
  function active(): string | undefined {
    const focused = document.activeElement;
    const inside = focused instanceof HTMLInputElement && form.current?.contains(focused);
    return inside ? focused.name : asked.find((scale) => !(scale in desk.latest().draft.scores));
  }

  function focusOn(scale: string | undefined, value: number | undefined) {
    if (scale === undefined) return;
    const inputs = form.current?.querySelectorAll<HTMLInputElement>(`input[name="${scale}"]`);
    inputs?.[(value ?? 1) - 1]?.focus();
  }

  return {
    desk,
    about,
    asked,
    form,
    score(value) {
      const scale = active();
      if (scale === undefined || value > SCORES.length) return;
      desk.change(({ scores }) => ({ scores: { ...scores, [scale]: value } }));
      const next = asked[asked.indexOf(scale) + 1];
      focusOn(next ?? scale, next ? desk.latest().draft.scores[next] : value);
    },
    clear() {
      const scale = active();
      if (scale === undefined) return;
      desk.change(({ scores: { [scale]: _, ...others } }) => ({ scores: others }));
    },
  };
}

export function ScaleForm(props: { scales: Scales }) {
  const strings = useStrings().arena;
  const { desk, about, asked, form } = props.scales;
  const { scores } = desk.draft;
  return (
    <form ref={form} class="scales" aria-label={strings.scales} onSubmit={(event) => event.preventDefault()}>
      <header>
        <h2>{strings.scales}</h2>
        <button
          type="button"
          class="quiet"
          disabled={Object.keys(scores).length === 0}
          onClick={() => desk.change(() => ({ scores: {} }))}
        >
          {strings.reset}
        </button>
      </header>
      {about.scales
        .filter((scale) => asked.includes(scale.code))
        .map((scale) => {
          const [name, hint] = halves(scale[strings.code]);
          return (
            <fieldset key={scale.code} class="scale">
              <legend>
                <strong>{name}</strong> <span class="faint">{hint}</span>
              </legend>
              <div class="scores">
                {SCORES.map((value) => (
                  <label key={value} class="score">
                    <input
                      type="radio"
                      class="visually-hidden"
                      name={scale.code}
                      value={value}
                      checked={scores[scale.code] === value}
                      aria-label={strings.score(value)}
                      onChange={() => desk.change((draft) => ({ scores: { ...draft.scores, [scale.code]: value } }))}
                    />
                    <span aria-hidden="true">{value}</span>
                  </label>
                ))}
              </div>
            </fieldset>
          );
        })}
      <p class="scale-ends note">
        <span>{strings.worst}</span>
        <span>{strings.best}</span>
      </p>
    </form>
  );
}

/** "Helpful: does it …?" as its name and the rest. */
export function halves(text: string): [string, string] {
  const at = text.search(/[:：]/);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1).trim()];
}
