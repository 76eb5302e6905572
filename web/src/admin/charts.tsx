/** Plain SVG charts, each with the same numbers as a table for those who cannot see it. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useFormat } from "../format";
import { useWords } from "./strings";

export interface Series {
  name: string;
  values: number[]; // one for each day
}

/** Every day between the first and `days` back from the last, so that empty ones show. */
export function daysUntil(last: Date, days: number): string[] {
  return Array.from({ length: days }, (_, index) => {
    const day = new Date(Date.UTC(last.getUTCFullYear(), last.getUTCMonth(), last.getUTCDate() - days + 1 + index));
    return day.toISOString().slice(0, 10);
  });
}

/** A round number at or above `most`, for the top of an axis. */
export function roundUp(most: number): number {
  if (most <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].map((one) => one * step).find((one) => one >= most)!;
}

/** How wide the drawing is shown, so that its letters keep their size. */
function useWidth() {
  const element = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(720);
  useLayoutEffect(() => {
    const look = () => element.current && setWidth(Math.max(240, Math.round(element.current.clientWidth)));
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, []);
  return { element, width };
}

const HEIGHT = 220;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 10;

/** Bars of each day, its series stacked. */
export function Bars(props: { title: string; days: string[]; series: Series[] }) {
  const words = useWords();
  const format = useFormat();
  const { element, width } = useWidth();
  const totals = props.days.map((_, day) => props.series.reduce((sum, one) => sum + (one.values[day] ?? 0), 0));
  const whole = totals.reduce((sum, one) => sum + one, 0);
  const top = roundUp(Math.max(...totals, 0));
  const step = (width - LEFT) / props.days.length;
  const bar = Math.max(2, Math.min(28, step * 0.68));
  const y = (value: number) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const every = Math.max(1, Math.ceil(props.days.length / Math.max(2, width / 110)));
  const short = (value: number) => format.number(value, { notation: "compact", maximumFractionDigits: 1 });
  return (
    <figure class="chart" ref={element}>
      <figcaption class="chart-head">
        <h2>{props.title}</h2>
        {props.series.length > 1 && (
          <ul class="legend">
            {props.series.map((one, index) => (
              <li key={one.name}>
                <span class={`swatch series-${index % 6}`} aria-hidden="true" />
                {one.name}
              </li>
            ))}
          </ul>
        )}
      </figcaption>
      <svg
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label={words.chartOf(props.title, format.number(whole))}
      >
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line class="grid" x1={LEFT} x2={width} y1={y(top * share)} y2={y(top * share)} />
            <text x={LEFT - 8} y={y(top * share) + 4} text-anchor="end">
              {short(top * share)}
            </text>
          </g>
        ))}
        {props.days.map((day, index) => {
          let below = 0;
          const x = LEFT + step * index + (step - bar) / 2;
          return (
            <g key={day}>
              {props.series.map((one, number) => {
                const value = one.values[index] ?? 0;
                if (!value) return null;
                const from = below;
                below += value;
                return (
                  <rect
                    key={one.name}
                    class={`series-${number % 6}`}
                    x={x}
                    width={bar}
                    y={y(below)}
                    height={Math.max(1, y(from) - y(below))}
                  >
                    <title>{`${format.day(day)} · ${one.name}: ${format.number(value)}`}</title>
                  </rect>
                );
              })}
              {(props.days.length - 1 - index) % every === 0 && (
                <text x={x + bar / 2} y={HEIGHT - 6} text-anchor={index === props.days.length - 1 ? "end" : "middle"}>
                  {format.day(day)}
                </text>
              )}
            </g>
          );
        })}
      </svg>
      <details class="chart-table">
        <summary>{words.asTable}</summary>
        <div class="table-frame" tabIndex={0} role="region" aria-label={props.title}>
          <table class="data">
            <thead>
              <tr>
                <th scope="col">{words.day}</th>
                {props.series.map((one) => (
                  <th key={one.name} scope="col" class="number">
                    {one.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {props.days.map((day, index) =>
                totals[index] ? (
                  <tr key={day}>
                    <th scope="row">{format.day(day)}</th>
                    {props.series.map((one) => (
                      <td key={one.name} class="number">
                        {format.number(one.values[index] ?? 0)}
                      </td>
                    ))}
                  </tr>
                ) : null,
              )}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}

/** Names with a bar each, the longest first. The number is written beside it. */
export function Ranking(props: {
  title: string;
  rows: { name: string; value: number; detail?: string; share?: number }[];
}) {
  const format = useFormat();
  const most = Math.max(...props.rows.map((row) => row.value), 1);
  return (
    <section class="chart">
      <h2>{props.title}</h2>
      <ul class="ranking">
        {props.rows.map((row) => (
          <li key={row.name}>
            <span class="ranking-name">{row.name}</span>
            <span class="ranking-value">
              {row.share === undefined ? format.number(row.value) : format.number(row.share, { style: "percent" })}
              {row.detail && <span class="note">{row.detail}</span>}
            </span>
            <svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
              <rect class="track" width="100" height="4" />
              <rect class="series-0" width={(row.share ?? row.value / most) * 100} height="4" />
            </svg>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A few numbers that say most. */
export function Figures(props: { figures: { label: string; value: string; detail?: string }[] }) {
  return (
    <dl class="figures">
      {props.figures.map((one) => (
        <div key={one.label}>
          <dt>{one.label}</dt>
          <dd>
            {one.value}
            {one.detail && <span class="note">{one.detail}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
