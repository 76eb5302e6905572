/** Administration › Audit log: who did what, newest first. */
import { useEffect, useRef, useState } from "preact/hooks";
import { readAudit, type AuditEntry } from "../clients/admin";
import { useFormat } from "../format";
import { LogIcon } from "../shell/icons";
import { Button, EmptyState, Field, Select, Waiting } from "../shell/parts";
import { problemText } from "../shell/problem";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

const PAGE = 50;

export function Audit() {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const [action, setAction] = useState("");
  const [actor, setActor] = useState("");
  const [asked, setAsked] = useState("");
  const [entries, setEntries] = useState<AuditEntry[] | null>(null);
  const [more, setMore] = useState(false);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const turn = useRef(0);

  useEffect(() => {
    const timer = setTimeout(() => setAsked(actor.trim()), 250);
    return () => clearTimeout(timer);
  }, [actor]);

  async function load(before?: number) {
    const mine = ++turn.current;
    setBusy(true);
    setProblem("");
    try {
      const page = await readAudit({
        limit: PAGE,
        ...(before !== undefined ? { before } : {}),
        ...(action ? { action } : {}),
        ...(asked ? { actor: asked } : {}),
      });
      if (mine !== turn.current) return;
      setEntries((now) => (before === undefined || !now ? page.data : [...now, ...page.data]));
      setMore(page.next !== undefined ? page.next !== null : page.data.length >= PAGE);
    } catch (error) {
      if (mine === turn.current) setProblem(problemText(error));
    }
    if (mine === turn.current) setBusy(false);
  }

  useEffect(() => void load(), [action, asked]);

  return (
    <>
      <div class="bar-row">
        <Select
          label={words.action}
          hideLabel
          value={action}
          options={[
            { value: "", label: words.everyAction },
            ...Object.entries(words.actions).map(([value, label]) => ({ value, label })),
          ]}
          onChange={setAction}
        />
        <Field
          label={words.actor}
          hideLabel
          placeholder={`${words.actor} (${words.actorHint})`}
          value={actor}
          onInput={setActor}
          maxLength={64}
        />
      </div>
      <p class="note">
        {words.auditHint} <code class="mono">chatwright audit verify</code>
      </p>
      {problem && <p class="problem">{problem}</p>}
      {!entries && !problem && <Waiting lines={8} label={strings.loading} />}
      {entries?.length === 0 && <EmptyState icon={<LogIcon />} title={words.noEntries} />}
      {entries && entries.length > 0 && (
        <div class="table-frame" tabIndex={0} role="region" aria-label={words.sections.audit}>
          <table class="data audit">
            <thead>
              <tr>
                <th scope="col" class="number">
                  #
                </th>
                <th scope="col">{words.when}</th>
                <th scope="col">{words.action}</th>
                <th scope="col">{words.actor}</th>
                <th scope="col">{words.target}</th>
                <th scope="col">{words.address}</th>
              </tr>
            </thead>
            <tbody>
              {entries.map((one) => (
                <tr key={one.sequence}>
                  <td class="number faint">{one.sequence}</td>
                  <td class="no-wrap">{format.moment(one.at)}</td>
                  <td>
                    {words.actions[one.action] ?? one.action}
                    {detailsOf(one.details) && <span class="note block">{detailsOf(one.details)}</span>}
                  </td>
                  <td>
                    {one.actor_name ?? (one.actor ? <code class="mono id">{one.actor}</code> : words.system)}
                  </td>
                  <td>{one.target && <code class="mono id">{one.target}</code>}</td>
                  <td class="mono no-wrap">{one.address}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more && entries && (
        <Button class="to-start" busy={busy} onClick={() => void load(entries.at(-1)?.sequence)}>
          {words.older}
        </Button>
      )}
    </>
  );
}

/** Details in a line: `role: admin · method: password`. */
export function detailsOf(details: AuditEntry["details"]): string {
  let found: unknown = details;
  if (typeof details === "string") {
    try {
      found = JSON.parse(details);
    } catch {
      return details;
    }
  }
  if (!found || typeof found !== "object") return "";
  return Object.entries(found)
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${plain(value)}`)
    .join(" · ");
}

function plain(value: unknown): string {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value && typeof value === "object")
    return Object.entries(value)
      .map(([name, inner]) => `${name} ${plain(inner)}`)
      .join(", ");
  return value === null ? "–" : String(value);
}
