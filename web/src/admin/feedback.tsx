/** Administration › Feedback: what people said of answers. */
import { readFeedback } from "../clients/admin";
import { useFormat } from "../format";
import { ThumbIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { EmptyState, Waiting } from "../shell/parts";
import { useShell } from "../strings-shell";
import { Bars, daysUntil, Figures, Ranking } from "./charts";
import { useWords } from "./strings";

interface Votes {
  up: number;
  down: number;
}

export interface Report {
  days: (Votes & { day: string })[];
  models: (Votes & { model: string })[];
  reasons: { reason: string; count: number }[];
  comparisons: { left: number; right: number; tie: number; both_bad: number } | null;
}

/** The server's report in the form that is drawn, whatever it leaves out. */
export function reportOf(body: any): Report {
  const found = body?.data && !Array.isArray(body.data) ? body.data : (body ?? {});
  const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
  const list = (value: unknown): any[] =>
    Array.isArray(value)
      ? value
      : value && typeof value === "object"
        ? Object.entries(value).map(([key, one]) => (typeof one === "number" ? { key, count: one } : { key, ...(one as object) }))
        : [];
  const votes = (one: any): Votes => ({ up: number(one.up), down: number(one.down) });
  const sides = found.comparisons;
  return {
    days: list(found.days ?? found.by_day).map((one) => ({ day: String(one.day ?? one.key), ...votes(one) })),
    models: list(found.models ?? found.by_model).map((one) => ({
      model: String(one.model ?? one.key ?? "–"),
      ...votes(one),
    })),
    reasons: list(found.reasons)
      .map((one) => ({
        reason: String(one.reason ?? one.key),
        count: number(one.count) || number(one.up) + number(one.down),
      }))
      .sort((a, b) => b.count - a.count),
    comparisons:
      sides && typeof sides === "object" && !Array.isArray(sides)
        ? {
            left: number(sides.left),
            right: number(sides.right),
            tie: number(sides.tie),
            both_bad: number(sides.both_bad),
          }
        : null,
  };
}

const DAYS = 30;

export function Feedback() {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const loaded = useLoaded(readFeedback);
  if (loaded.problem) return <p class="problem">{loaded.problem}</p>;
  if (!loaded.value) return <Waiting lines={6} label={strings.loading} />;
  const report = reportOf(loaded.value);
  const up = report.models.reduce((sum, one) => sum + one.up, 0);
  const down = report.models.reduce((sum, one) => sum + one.down, 0);
  const sides = report.comparisons;
  const compared = sides ? sides.left + sides.right + sides.tie + sides.both_bad : 0;
  if (up + down + compared === 0)
    return <EmptyState icon={<ThumbIcon />} title={words.noFeedback} text={words.noFeedbackHint} />;
  const days = daysUntil(new Date(), DAYS);
  const of = (day: string, key: keyof Votes) => report.days.find((one) => one.day === day)?.[key] ?? 0;
  return (
    <>
      <Figures
        figures={[
          { label: words.helpful, value: format.number(up) },
          { label: words.unhelpful, value: format.number(down) },
          { label: words.share, value: up + down ? format.number(up / (up + down), { style: "percent" }) : "–" },
        ]}
      />
      <Bars
        title={words.votesByDay}
        days={days}
        series={[
          { name: words.helpful, values: days.map((day) => of(day, "up")) },
          { name: words.unhelpful, values: days.map((day) => of(day, "down")) },
        ]}
      />
      <div class="grid-2">
        <Ranking
          title={`${words.share} · ${words.byModel}`}
          rows={report.models
            .filter((one) => one.up + one.down > 0)
            .map((one) => ({
              name: one.model,
              value: one.up + one.down,
              share: one.up / (one.up + one.down),
              detail: ` (${format.number(one.up)}/${format.number(one.up + one.down)})`,
            }))}
        />
        {report.reasons.length > 0 && (
          <Ranking
            title={words.reasons}
            rows={report.reasons.slice(0, 12).map((one) => ({
              name: words.reasonNames[one.reason] ?? one.reason.replaceAll("_", " "),
              value: one.count,
            }))}
          />
        )}
        {sides && compared > 0 && (
          <Ranking
            title={words.comparisons}
            rows={[
              { name: words.leftWins, value: sides.left },
              { name: words.rightWins, value: sides.right },
              { name: words.ties, value: sides.tie },
              { name: words.bothBad, value: sides.both_bad },
            ]}
          />
        )}
      </div>
    </>
  );
}
