/** What judges found: models by name. People's and model judges' votes stand apart. */
import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { ConnectionLost } from "./api";
import { studyResults, type About, type JudgePair, type Results, type Section } from "./arena-api";
import { Forest } from "./arena-charts";
import { Failed } from "./arena-judge";
import { halves } from "./arena-scales";
import { useStrings } from "./strings";

const percent = (share: number | null) => (share === null ? "–" : `${Math.round(share * 100)} %`);
const decimals = (value: number | null, digits = 2) =>
  value === null ? "–" : value.toFixed(digits).replace("-", "−");

export function Warning(props: { onShow: () => void; onLeave: () => void }) {
  const { arena } = useStrings();
  return (
    <div class="welcome finish">
      <h1>{arena.revealTitle}</h1>
      <p>{arena.revealWarning}</p>
      <div class="finish-actions">
        <button type="button" class="confirm" onClick={props.onLeave}>
          {arena.cancel}
        </button>
        <button type="button" class="outlined" onClick={props.onShow}>
          {arena.revealAnyway}
        </button>
      </div>
    </div>
  );
}

export function ResultsView(props: { about: About }) {
  const strings = useStrings();
  const { arena } = strings;
  const { about } = props;
  const [found, setFound] = useState<Results | null>(null);
  const [problem, setProblem] = useState("");
  const load = useCallback(() => {
    setProblem("");
    studyResults(about.name).then(setFound, (error) =>
      setProblem(error instanceof ConnectionLost ? strings.offline : `${strings.failed} ${error.message}`),
    );
  }, [about.name]);
  useEffect(load, [load]);

  if (problem) return <main class="scroll"><Failed problem={problem} onRetry={load} /></main>;
  if (!found)
    return (
      <main class="scroll" aria-busy="true">
        <p class="column note">{strings.loading}</p>
      </main>
    );
  const machines = found.model_judges;
  return (
    <main class="scroll" tabIndex={-1}>
      <div class="column results">
        <h1>{found.name}</h1>
        <Notes notes={found.notes} />
        <SectionView title={arena.people} section={found.people} results={found} about={about} />
        {machines.judges.length > 0 && (
          <SectionView
            title={arena.machines}
            hint={arena.machinesHint}
            section={machines}
            results={found}
            about={about}
          >
            {found.with_people.length > 0 && (
              <Part title={arena.withPeople} hint={arena.agreementHint}>
                <Pairs pairs={found.with_people} />
              </Part>
            )}
            {found.verdicts.length > 0 && (
              <Part title={arena.verdicts}>
                <Table
                  head={[arena.judges, arena.consistent, arena.inconsistent, arena.unread]}
                  rows={found.verdicts.map((v) => [v.judge, v.consistent, v.inconsistent, v.none])}
                />
              </Part>
            )}
          </SectionView>
        )}
      </div>
    </main>
  );
}

function SectionView(props: {
  title: string;
  hint?: string;
  section: Section;
  results: Results;
  about: About;
  children?: ComponentChildren;
}) {
  const { arena } = useStrings();
  const { section, results, about } = props;
  const { agreement, position } = section;
  const timed = section.judges.map((one) => [
    one.judge.name,
    one.votes,
    one.skips,
    one.ratings,
    one.seconds ? arena.secondsOf(one.seconds[1]) : "–",
  ]);
  const whys = Object.entries(section.reasons).filter(([, counts]) => Object.keys(counts).length > 0);
  const empty = section.votes + section.ratings === 0;
  return (
    <section class="result-section" aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        <p class="note">
          {empty ? arena.noVotes : arena.counts(section.votes, section.skips, section.ratings)}
          {props.hint && ` · ${props.hint}`}
        </p>
      </header>
      {!empty && <Notes notes={section.notes} />}
      {section.votes > 0 && (
        <>
          <Part title={arena.strength} hint={arena.strengthHint}>
            {groups(section).map((strengths) => (
              <Forest
                caption={arena.strength}
                head={[arena.model, arena.rating, arena.interval]}
                rows={strengths.map((one) => ({
                  name: one.model,
                  value: one.rating,
                  low: one.low,
                  high: one.high,
                  text: [
                    Math.round(one.rating),
                    one.low === null || one.high === null ? "–" : `${Math.round(one.low)} – ${Math.round(one.high)}`,
                  ],
                }))}
              />
            ))}
          </Part>
          <Part title={arena.matrix} hint={arena.matrixHint}>
            <Matrix section={section} models={ranked(section, results.models)} />
            {results.identical > 0 && <p class="note">{arena.identical(results.identical)}</p>}
          </Part>
          <Part title={arena.position}>
            <p>
              {arena.positionText(position.left, position.count)}{" "}
              {position.share !== null && (
                <span class="faint">
                  {percent(position.share)} ({percent(position.low)} – {percent(position.high)}), p ={" "}
                  {decimals(position.p_value)}
                </span>
              )}
            </p>
            {position.p_value !== null && (
              <p class="note">{position.p_value < 0.05 ? arena.positionBiased : arena.positionFair}</p>
            )}
          </Part>
        </>
      )}
      {(agreement.pairs.length > 0 || agreement.alpha !== null) && (
        <Part title={arena.agreement} hint={arena.agreementHint}>
          <Pairs pairs={agreement.pairs} />
          <p class="note">
            {arena.fleiss} {decimals(agreement.fleiss)} · {arena.alpha} {decimals(agreement.alpha)}
          </p>
          {agreement.note && <p class="note" lang="en">{agreement.note}</p>}
        </Part>
      )}
      {whys.length > 0 && (
        <Part title={arena.why}>
          <Table
            head={[arena.reasons.replace(/[（(].*$/, "").trim(), ...whys.map(([model]) => model)]}
            rows={about.reasons
              .filter((reason) => whys.some(([, counts]) => counts[reason.code]))
              .map((reason) => [reason[arena.code], ...whys.map(([, counts]) => counts[reason.code] ?? 0)])}
          />
        </Part>
      )}
      {section.ratings > 0 && (
        <Part title={arena.scoreResults}>
          {section.scales
            .filter((scale) => Object.keys(scale.means).length > 0)
            .map((scale) => {
              const label = about.scales.find((one) => one.code === scale.scale);
              const name = label ? halves(label[arena.code])[0] : scale.scale;
              return (
                <div class="scale-result">
                  <h4>
                    {name}
                    {scale.alpha !== null && (
                      <span class="note">
                        {arena.alpha} {decimals(scale.alpha)}
                      </span>
                    )}
                  </h4>
                  <Forest
                    caption={name}
                    head={[arena.model, arena.mean, arena.interval]}
                    range={[1, 5]}
                    rows={Object.entries(scale.means).map(([model, mean]) => ({
                      name: model,
                      value: mean.value,
                      low: mean.low,
                      high: mean.high,
                      text: [decimals(mean.value), `${decimals(mean.low)} – ${decimals(mean.high)}`],
                    }))}
                  />
                </div>
              );
            })}
        </Part>
      )}
      {props.children}
      {section.judges.length > 0 && (
        <Part title={arena.judges}>
          <Table
            head={[arena.judges, arena.judged, arena.skipped, arena.scored, arena.seconds]}
            rows={timed}
          />
        </Part>
      )}
    </section>
  );
}

/** Ratings hold within a group only, so each group has an axis of its own. */
function groups(section: Section) {
  const found = new Map<number, Section["strengths"]>();
  for (const one of section.strengths) found.set(one.group, [...(found.get(one.group) ?? []), one]);
  return [...found.values()];
}

/** The strongest first; those without a vote last. */
function ranked(section: Section, models: string[]): string[] {
  const voted = section.strengths.map((one) => one.model);
  return [...voted, ...models.filter((model) => !voted.includes(model))];
}

function Matrix(props: { section: Section; models: string[] }) {
  const { arena } = useStrings();
  const { models, section } = props;
  const pairs = new Map(section.matrix.map((pair) => [`${pair.model}\n${pair.other}`, pair]));
  return (
    <div class="table" tabIndex={0}>
      <table class="matrix">
        <caption class="visually-hidden">{arena.matrixHint}</caption>
        <thead>
          <tr>
            <td />
            {models.map((other) => (
              <th key={other} scope="col">
                {other}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {models.map((model) => (
            <tr key={model}>
              <th scope="row">{model}</th>
              {models.map((other) => {
                const pair = pairs.get(`${model}\n${other}`);
                if (!pair || pair.rate === null) return <td class="none">{model === other ? "" : "–"}</td>;
                return (
                  <td
                    class={pair.rate > 0.5 ? "ahead" : pair.rate < 0.5 ? "behind" : ""}
                    style={{ "--share": String(Math.abs(pair.rate - 0.5) * 2) }}
                    title={arena.pair(pair.wins, pair.losses, pair.ties, pair.both_bad)}
                  >
                    <strong>{percent(pair.rate)}</strong>
                    <span class="faint">
                      {percent(pair.low).replace(" %", "")} – {percent(pair.high)}
                    </span>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Pairs(props: { pairs: JudgePair[] }) {
  const { arena } = useStrings();
  if (props.pairs.length === 0) return null;
  return (
    <Table
      head={[arena.pairOfJudges, arena.both, arena.same, arena.kappa]}
      rows={props.pairs.map((pair) => [
        `${pair.first} · ${pair.second}`,
        pair.count,
        percent(pair.same),
        decimals(pair.kappa),
      ])}
    />
  );
}

function Part(props: { title: string; hint?: string; children: ComponentChildren }) {
  return (
    <section class="result-part">
      <h3>{props.title}</h3>
      {props.hint && <p class="note">{props.hint}</p>}
      {props.children}
    </section>
  );
}

function Table(props: { head: string[]; rows: (string | number)[][] }) {
  return (
    <div class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {props.head.map((name, index) => (
              <th scope="col" class={index > 0 ? "align-right" : ""}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr>
              {row.map((cell, index) =>
                index > 0 ? <td class="align-right">{cell}</td> : <th scope="row">{cell}</th>,
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The program's own remarks come in English. */
function Notes(props: { notes: string[] }) {
  if (props.notes.length === 0) return null;
  return (
    <ul class="remarks note" lang="en">
      {props.notes.map((note) => (
        <li key={note}>{note}</li>
      ))}
    </ul>
  );
}
