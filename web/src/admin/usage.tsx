/** Administration › Usage: tokens by day, model and person. */
import { useState } from "preact/hooks";
import { readUsage, type UsageRow } from "../clients/admin";
import { useFormat } from "../format";
import { ChartIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { EmptyState, Select, Waiting } from "../shell/parts";
import { useShell } from "../strings-shell";
import { Bars, daysUntil, Figures, Ranking } from "./charts";
import { useWords } from "./strings";

const PERIODS = ["7", "30", "90"] as const;
const SHOWN = 5; // models with a colour of their own

export const tokensOf = (row: UsageRow) => row.prompt_tokens + row.completion_tokens;

/** Sums by a name, the largest first. */
export function sums(rows: UsageRow[], name: (row: UsageRow) => string): { name: string; value: number }[] {
  const totals = new Map<string, number>();
  for (const row of rows) totals.set(name(row), (totals.get(name(row)) ?? 0) + tokensOf(row));
  return [...totals].map(([one, value]) => ({ name: one, value })).sort((a, b) => b.value - a.value);
}

export function Usage() {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const [period, setPeriod] = useState<(typeof PERIODS)[number]>("30");
  const usage = useLoaded(() => readUsage(Number(period)), [period]);
  const rows = usage.value ?? [];
  const days = daysUntil(new Date(), Number(period));
  const models = sums(rows, (row) => row.model);
  const named = models.slice(0, SHOWN).map((one) => one.name);
  const series = [...named, ...(models.length > SHOWN ? [words.other] : [])].map((name) => ({
    name,
    values: days.map((day) =>
      rows
        .filter((row) => row.day === day && (named.includes(row.model) ? row.model : words.other) === name)
        .reduce((sum, row) => sum + tokensOf(row), 0),
    ),
  }));
  const total = (key: "requests" | "prompt_tokens" | "completion_tokens") =>
    rows.reduce((sum, row) => sum + row[key], 0);
  const short = (value: number) => format.number(value, { notation: "compact", maximumFractionDigits: 1 });

  return (
    <>
      <div class="bar-row">
        <Select
          label={words.period}
          hideLabel
          value={period}
          options={PERIODS.map((value) => ({ value, label: words.last(Number(value)) }))}
          onChange={setPeriod}
        />
      </div>
      {usage.problem && <p class="problem">{usage.problem}</p>}
      {!usage.value && !usage.problem && <Waiting lines={6} label={strings.loading} />}
      {usage.value && !rows.length && <EmptyState icon={<ChartIcon />} title={words.noUsage} />}
      {rows.length > 0 && (
        <>
          <Figures
            figures={[
              {
                label: words.tokens,
                value: short(total("prompt_tokens") + total("completion_tokens")),
                detail: `${short(total("prompt_tokens"))} ${words.promptTokens} · ${short(total("completion_tokens"))} ${words.answerTokens}`,
              },
              { label: words.requests, value: format.number(total("requests")) },
              { label: words.people, value: format.number(new Set(rows.map((row) => row.person_id ?? row.name)).size) },
            ]}
          />
          <Bars title={words.tokensByDay} days={days} series={series} />
          <div class="grid-2">
            <Ranking title={words.byModel} rows={models.slice(0, 10)} />
            <Ranking title={words.byPerson} rows={sums(rows, (row) => row.name ?? row.person_id ?? "–").slice(0, 10)} />
          </div>
        </>
      )}
    </>
  );
}
