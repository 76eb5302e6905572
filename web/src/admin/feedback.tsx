/** Administration › Feedback: what people said of answers. */
import { readFeedback, type Votes } from "../clients/admin";
import { useFormat } from "../format";
import { ThumbIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { EmptyState, Waiting } from "../shell/parts";
import { useShell } from "../strings-shell";
import { Bars, daysUntil, Figures, Ranking } from "./charts";
import { useWords } from "./strings";

const DAYS = 30;

export function Feedback() {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const loaded = useLoaded(readFeedback);
  if (loaded.problem) return <p class="problem">{loaded.problem}</p>;
  if (!loaded.value) return <Waiting lines={6} label={strings.loading} />;
  const report = loaded.value;
  const up = report.models.reduce((sum, one) => sum + one.up, 0);
  const down = report.models.reduce((sum, one) => sum + one.down, 0);
  const sides = report.comparisons;
  const compared = sides.left + sides.right + sides.tie + sides.both_bad;
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
          { label: words.betterAnswers, value: format.number(report.better_answers) },
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
      <div class="grid-cards">
        <Ranking
          title={`${words.share} · ${words.byModel}`}
          rows={report.models
            .filter((one) => one.up + one.down > 0)
            .map((one) => ({
              name: one.model ?? "–",
              value: one.up + one.down,
              share: one.up / (one.up + one.down),
              detail: ` (${format.number(one.up)}/${format.number(one.up + one.down)})`,
            }))}
        />
        {(["up", "down"] as const).map((rating) => {
          const why = report.reasons.filter((one) => one.rating === rating);
          return why.length > 0 ? (
            <Ranking
              key={rating}
              title={`${words.reasons}: ${rating === "up" ? words.praise : words.blame}`}
              rows={why.map((one) => ({ name: words.reasonNames[one.reason] ?? one.reason, value: one.count }))}
            />
          ) : null;
        })}
        {compared > 0 && (
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
