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

export function Moderation() {
  const words = useWords();
  const strings = useShell();
  const found = useLoaded(api.listModerated);
  const [shown, setShown] = useState<Shown>("open");
  const isOpen = (one: Moderated) => one.appeal === "open";
  const open = found.value?.filter(isOpen) ?? [];
  const rows = shown === "open" ? open : (found.value ?? []);

  return (
    <Tabs
      label={words.sections.moderation}
      chosen={shown}
      onChoose={setShown}
      tabs={[
        { id: "open", label: `${words.appeals} (${open.length})` },
        { id: "all", label: words.allFlags },
      ]}
    >
      {found.problem && <p class="problem">{found.problem}</p>}
      {!found.value && !found.problem && <Waiting lines={5} label={strings.loading} />}
      {found.value && !rows.length && (
        <EmptyState icon={<FlagIcon />} title={words.noModerated} text={words.noModeratedHint} />
      )}
      <ul class="cards">
        {rows.map((one) => (
          <Card
            key={one.id}
            one={one}
            onDecided={(changed) =>
              found.change((now) => now.map((other) => (other.id === one.id ? { ...other, ...changed } : other)))
            }
          />
        ))}
      </ul>
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
      const changed = await api.decide(one.id, decision, note.trim());
      props.onDecided({ ...(changed ?? {}), appeal: decision, note: note.trim() });
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
        {one.appeal && one.appeal !== "none" && (
          <span class="badge">
            {one.appeal === "open" ? words.appealed : one.appeal === "upheld" ? words.upheld : words.lifted}
          </span>
        )}
      </header>
      <p class="quoted" dir="auto">
        {one.text ?? <span class="faint">{words.noText}</span>}
      </p>
      <ul class="scores-list">
        {one.categories.map((category) => (
          <li key={category}>
            {words.categoryNames[category.split("/")[0]!.replaceAll("-", "_")] ?? category}
            {one.scores?.[category] !== undefined && (
              <span class="note"> {format.number(one.scores[category]!, { style: "percent" })}</span>
            )}
          </li>
        ))}
      </ul>
      {one.appeal_text && (
        <p class="appeal" dir="auto">
          <strong>{words.appealSays}: </strong>
          {one.appeal_text}
        </p>
      )}
      {one.appeal === "open" && (
        <form class="inline-form" onSubmit={(event) => event.preventDefault()}>
          <Field label={words.note} value={note} onInput={setNote} maxLength={2000} />
          <Button busy={busy} onClick={() => void decide("upheld")}>
            {words.uphold}
          </Button>
          <Button busy={busy} kind="primary" onClick={() => void decide("lifted")}>
            {words.lift}
          </Button>
        </form>
      )}
      {one.note && one.appeal !== "open" && <p class="note">{one.note}</p>}
    </li>
  );
}
