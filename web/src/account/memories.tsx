/** Settings › Memory: what the assistant remembers, note by note. */
import { useState } from "preact/hooks";
import * as api from "../clients/account";
import { useFormat } from "../format";
import { changeMe, type Person } from "../session";
import { BrainIcon, PencilIcon, TrashIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Button, confirm, EmptyState, Field, IconButton, toast, Toggle, Waiting } from "../shell/parts";
import { attempt } from "../shell/problem";
import { Part } from "../shell/sections";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

export function Memories(props: { person: Person }) {
  const words = useWords();
  const strings = useShell();
  const memories = useLoaded(api.listMemories);
  const [text, setText] = useState("");

  async function add(event: Event) {
    event.preventDefault();
    const wanted = text.trim();
    if (!wanted) return;
    await attempt(async () => {
      const made = await api.addMemory(wanted);
      memories.change((now) => [made, ...now]);
      setText("");
    });
  }

  async function forget(one: api.Memory) {
    if (!(await attempt(() => api.deleteMemory(one.id)))) return;
    memories.change((now) => now.filter((other) => other.id !== one.id));
    toast(words.forgotten, {
      action: {
        label: strings.undo,
        onSelect: () =>
          void attempt(async () => {
            const made = await api.addMemory(one.text);
            memories.change((now) => [made, ...now]);
          }),
      },
    });
  }

  async function forgetAll() {
    const yes = await confirm({
      title: words.forgetAllTitle,
      text: words.forgetAllText,
      action: words.forgetAll,
      danger: true,
    });
    if (!yes) return;
    await attempt(async () => {
      for (const one of memories.value ?? []) await api.deleteMemory(one.id);
    });
    memories.reload();
  }

  return (
    <>
      <Part>
        <Toggle
          label={words.memoryOn}
          hint={words.memoryOnHint}
          checked={props.person.memory_enabled}
          onChange={(on) => void attempt(() => changeMe({ memory_enabled: on }))}
        />
      </Part>
      <Part
        title={words.memories}
        action={
          memories.value && memories.value.length > 1 ? (
            <Button kind="danger" onClick={forgetAll}>
              {words.forgetAll}
            </Button>
          ) : null
        }
      >
        <form class="inline-form" onSubmit={add}>
          <Field label={words.addMemory} value={text} onInput={setText} maxLength={1000} />
          <Button type="submit" disabled={!text.trim()}>
            {strings.add}
          </Button>
        </form>
        {memories.problem && <p class="problem">{memories.problem}</p>}
        {!memories.value && !memories.problem && <Waiting lines={3} label={strings.loading} />}
        {memories.value?.length === 0 && (
          <EmptyState icon={<BrainIcon />} title={words.noMemories} text={words.noMemoriesHint} />
        )}
        <ul class="rows">
          {memories.value?.map((one) => (
            <Note
              key={one.id}
              one={one}
              onForget={() => forget(one)}
              onChanged={(changed) =>
                memories.change((now) => now.map((other) => (other.id === changed.id ? changed : other)))
              }
            />
          ))}
        </ul>
      </Part>
    </>
  );
}

function Note(props: { one: api.Memory; onForget: () => void; onChanged: (one: api.Memory) => void }) {
  const words = useWords();
  const format = useFormat();
  const [editing, setEditing] = useState(false);
  const [text, setText] = useState(props.one.text);
  const { one } = props;

  if (editing)
    return (
      <li class="row">
        <form
          class="stack tight grow"
          onSubmit={(event) => {
            event.preventDefault();
            void attempt(async () => {
              props.onChanged({ ...one, ...(await api.changeMemory(one.id, text.trim())) });
              setEditing(false);
            });
          }}
        >
          <Field label={words.memoryText} value={text} onInput={setText} rows={2} maxLength={1000} autoFocus />
          <div class="button-row">
            <Button type="submit" kind="primary" disabled={!text.trim()}>
              {words.save}
            </Button>
            <Button
              onClick={() => {
                setText(one.text);
                setEditing(false);
              }}
            >
              {words.cancel}
            </Button>
          </div>
        </form>
      </li>
    );
  return (
    <li class="row">
      <div class="row-main">
        <span dir="auto">{one.text}</span>
        <span class="note">
          {one.by ? `${one.by === "model" ? words.byModel : words.byYou} · ` : ""}
          {format.date(one.created_at)}
        </span>
      </div>
      <IconButton label={words.edit} onClick={() => setEditing(true)}>
        <PencilIcon />
      </IconButton>
      <IconButton label={words.forget} onClick={props.onForget}>
        <TrashIcon />
      </IconButton>
    </li>
  );
}
