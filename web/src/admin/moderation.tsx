/** Administration › Moderation: what was found, and appeals to decide. */
import { useState } from "preact/hooks";
import * as api from "../clients/admin";
import type { Moderated } from "../clients/admin";
import { useFormat } from "../format";
import { FlagIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Button, EmptyState, Field, Tabs, toast, Waiting } from "../shell/parts";
import { attempt } from "../shell/problem";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

type Shown = "open" | "all";
const PAGE = 50;

export function Moderation() {
  const words = useWords();
  const strings = useShell();
  const [shown, setShown] = useState<Shown>("open");
  const [more, setMore] = useState(false);
  const [busy, setBusy] = useState(false);
  const found = useLoaded(async () => {
    const rows = await api.listModerated({ limit: PAGE, ...(shown === "open" ? { appeal: "open" as const } : {}) });
    setMore(rows.length === PAGE);
    return rows;
  }, [shown]);

  async function older() {
    const last = found.value?.at(-1);
    if (!last) return;
    setBusy(true);
    await attempt(async () => {
      const query = { limit: PAGE, before: last.id, ...(shown === "open" ? { appeal: "open" as const } : {}) };
      const rows = await api.listModerated(query);
      found.change((now) => [...now, ...rows]);
      setMore(rows.length === PAGE);
    });
    setBusy(false);
  }

  return (
    <Tabs
      label={words.sections.moderation}
      chosen={shown}
      onChoose={setShown}
      tabs={[
        { id: "open", label: words.appeals },
        { id: "all", label: words.allFlags },
      ]}
    >
      {found.problem && <p class="problem">{found.problem}</p>}
      {!found.value && !found.problem && <Waiting lines={5} label={strings.loading} />}
      {found.value?.length === 0 && (
        <EmptyState
          icon={<FlagIcon />}
          title={shown === "open" ? words.noAppeals : words.noModerated}
          text={words.noModeratedHint}
        />
      )}
      <ul class="cards">
        {found.value?.map((one) => (
          <Card
            key={one.id}
            one={one}
            onDecided={(changed) =>
              found.change((now) => now.map((other) => (other.id === one.id ? { ...other, ...changed } : other)))
            }
          />
        ))}
      </ul>
      {more && (
        <Button busy={busy} onClick={older}>
          {words.older}
        </Button>
      )}
    </Tabs>
  );
}

function Card(props: { one: Moderated; onDecided: (changed: Partial<Moderated>) => void }) {
  const words = useWords();
  const format = useFormat();
  const [note, setNote] = useState("");
  const [busy, setBusy] = useState(false);
  const { one } = props;

  async function decide(decision: "upheld" | "lifted") {
    setBusy(true);
    await attempt(async () => {
      const { appeal, decided_at } = await api.decide(one.id, decision, note.trim());
      props.onDecided({ appeal, decided_at });
      toast(words.decided);
    });
    setBusy(false);
  }

  return (
    <li class="card-row">
      <header class="card-head">
        <span class={one.blocked ? "badge of-danger" : "badge of-warn"}>
          {one.blocked ? words.blocked : words.flagged}
        </span>
        <strong>{one.direction === "input" ? words.input : words.output}</strong>
        <span class="note">{format.moment(one.created_at)}</span>
        {one.person && <span class="note">{one.person.name}</span>}
        {one.appeal.state !== "none" && (
          <span class="badge">
            {{ open: words.appealed, upheld: words.upheld, lifted: words.lifted }[one.appeal.state]}
          </span>
        )}
      </header>
      <p class="quoted" dir="auto">
        {one.text ?? <span class="faint">{words.noText}</span>}
      </p>
      <p>
        {one.reason[format.language]}
        {one.categories.map((category) => (
          <span key={category} class="note">
            {" "}
            {category} {format.number(one.scores[category] ?? 0, { style: "percent" })}
          </span>
        ))}
      </p>
      {one.appeal.text && (
        <p class="appeal" dir="auto">
          <strong>{words.appealSays} </strong>
          {one.appeal.text}
        </p>
      )}
      {one.appeal.state === "open" && (
        <form class="inline-form" onSubmit={(event) => event.preventDefault()}>
          <Field label={words.note} value={note} onInput={setNote} maxLength={4000} />
          <Button busy={busy} onClick={() => void decide("upheld")}>
            {words.uphold}
          </Button>
          <Button busy={busy} kind="primary" onClick={() => void decide("lifted")}>
            {words.lift}
          </Button>
        </form>
      )}
      {one.appeal.note && <p class="note">{one.appeal.note}</p>}
    </li>
  );
}
