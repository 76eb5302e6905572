/** Values with their intervals on one axis (a forest plot), in a table that reads without the picture. */
import type { ComponentChildren } from "preact";

export interface Row {
  name: string;
  value: number;
  low: number | null;
  high: number | null;
  text: ComponentChildren[]; // the cells after the name
}

/** About `count` round numbers from at most `low` to at least `high`, at steps of 1, 2 or 5 × 10ⁿ. */
export function ticks(low: number, high: number, count = 4): number[] {
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough)!;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const found: number[] = [];
  for (let n = first; n <= last; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
}

export function Forest(props: { caption: string; head: string[]; rows: Row[]; range?: [number, number] }) {
  const { rows } = props;
  const ends = rows.flatMap((row) => [row.value, row.low, row.high]).filter((v) => v !== null);
  const [low, high] = props.range ?? [Math.min(...ends), Math.max(...ends)];
  const marks = ticks(low, high);
  const from = marks[0]!;
  const across = marks.at(-1)! - from;
  // A margin on both sides: the outermost marks' numbers stand centred under them.
  const at = (value: number) => `${6 + (88 * (value - from)) / across}%`;
  return (
    <div class="table forest" tabIndex={0}>
      <table>
        <caption class="visually-hidden">{props.caption}</caption>
        <thead>
          <tr>
            {props.head.map((name, index) => (
              <th key={name} scope="col" class={index > 0 ? "align-right" : ""}>
                {name}
              </th>
            ))}
            <td />
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name}>
              <th scope="row">{row.name}</th>
              {row.text.map((cell) => (
                <td class="align-right">{cell}</td>
              ))}
              <td class="forest-plot">
                <svg aria-hidden="true" focusable="false">
                  {marks.map((mark) => (
                    <line class="grid" x1={at(mark)} x2={at(mark)} y1="0" y2="100%" />
                  ))}
                  {row.low !== null && row.high !== null && (
                    <>
                      <line class="bar-line" x1={at(row.low)} x2={at(row.high)} y1="50%" y2="50%" />
                      {[row.low, row.high].map((end) => (
                        <line class="bar-line" x1={at(end)} x2={at(end)} y1="35%" y2="65%" />
                      ))}
                    </>
                  )}
                  <circle class="bar-point" cx={at(row.value)} cy="50%" r="5" />
                </svg>
              </td>
            </tr>
          ))}
          <tr class="forest-axis" aria-hidden="true">
            {props.head.map(() => (
              <td />
            ))}
            <td class="forest-plot">
              <svg focusable="false">
                {marks.map((mark, index) => (
                  <text class={marks.length > 5 && index % 2 ? "wide-only" : ""} x={at(mark)} y="70%" text-anchor="middle">
                    {mark}
                  </text>
                ))}
              </svg>
            </td>
          </tr>
        </tbody>
      </table>
    </div>
  );
}
