/** Settings › Personas: instructions under a name. */
import { useState } from "preact/hooks";
import * as api from "../clients/account";
import { MaskIcon, PencilIcon, TrashIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Button, confirm, Dialog, EmptyState, Field, IconButton, Select, Toggle, Waiting } from "../shell/parts";
import { attempt } from "../shell/problem";
import { Part } from "../shell/sections";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

export function Personas(props: { admin: boolean }) {
  const words = useWords();
  const strings = useShell();
  const personas = useLoaded(api.listPersonas);
  const [edited, setEdited] = useState<api.Persona | "new" | null>(null);

  async function remove(one: api.Persona) {
    const yes = await confirm({
      title: words.deletePersonaTitle(one.name),
      text: words.deletePersonaText,
      action: words.delete,
      danger: true,
    });
    if (yes && (await attempt(() => api.deletePersona(one.id)))) personas.reload();
  }

  return (
    <Part
      text={words.personasText}
      action={<Button onClick={() => setEdited("new")}>{words.newPersona}</Button>}
    >
      {personas.problem && <p class="problem">{personas.problem}</p>}
      {!personas.value && !personas.problem && <Waiting lines={3} label={strings.loading} />}
      {personas.value?.length === 0 && (
        <EmptyState icon={<MaskIcon />} title={words.noPersonas} text={words.noPersonasHint} />
      )}
      <ul class="rows">
        {personas.value?.map((one) => (
          <li key={one.id} class="row">
            <div class="row-main">
              <span class="row-title">
                {one.name}
                {one.shared && <span class="badge">{words.sharedBadge}</span>}
              </span>
              <span class="note clamp">{one.instructions}</span>
            </div>
            {one.own && (
              <>
                <IconButton label={`${words.edit}: ${one.name}`} tip={words.edit} onClick={() => setEdited(one)}>
                  <PencilIcon />
                </IconButton>
                <IconButton label={`${words.delete}: ${one.name}`} tip={words.delete} onClick={() => remove(one)}>
                  <TrashIcon />
                </IconButton>
              </>
            )}
          </li>
        ))}
      </ul>
      {edited && (
        <PersonaDialog
          one={edited === "new" ? null : edited}
          admin={props.admin}
          onClose={() => setEdited(null)}
          onSaved={() => {
            setEdited(null);
            personas.reload();
          }}
        />
      )}
    </Part>
  );
}

function PersonaDialog(props: { one: api.Persona | null; admin: boolean; onClose: () => void; onSaved: () => void }) {
  const words = useWords();
  const models = useLoaded(api.listPageModels);
  const [name, setName] = useState(props.one?.name ?? "");
  const [instructions, setInstructions] = useState(props.one?.instructions ?? "");
  const [model, setModel] = useState(props.one?.model ?? "");
  const [temperature, setTemperature] = useState(String(props.one?.params?.temperature ?? ""));
  const [shared, setShared] = useState(props.one?.shared ?? false);
  const [busy, setBusy] = useState(false);

  async function save(event: Event) {
    event.preventDefault();
    const warm = temperature.trim() === "" ? {} : { temperature: Number(temperature) };
    const draft: api.PersonaDraft = {
      name: name.trim(),
      instructions: instructions.trim(),
      model: model || null,
      params: { ...props.one?.params, ...warm },
      ...(props.admin ? { shared } : {}),
    };
    if (temperature.trim() === "") delete draft.params?.temperature;
    setBusy(true);
    const worked = await attempt(() =>
      props.one ? api.changePersona(props.one.id, draft) : api.createPersona(draft),
    );
    setBusy(false);
    if (worked) props.onSaved();
  }

  return (
    <Dialog
      title={props.one ? words.editPersona : words.newPersona}
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" kind="primary" form="persona" busy={busy} disabled={!name.trim()}>
            {words.save}
          </Button>
        </>
      }
    >
      <form id="persona" class="stack" onSubmit={save}>
        <Field label={words.name} value={name} onInput={setName} maxLength={100} required />
        <Field
          label={words.personaInstructions}
          value={instructions}
          onInput={setInstructions}
          rows={7}
          maxLength={8000}
        />
        <div class="grid-2">
          <Select
            label={words.personaModel}
            value={model}
            options={[
              { value: "", label: words.anyModel },
              ...(models.value ?? []).map((one) => ({ value: one.id, label: one.title })),
            ]}
            onChange={setModel}
          />
          <Field
            label={words.temperature}
            type="number"
            min={0}
            max={2}
            step={0.1}
            value={temperature}
            onInput={setTemperature}
            hint={words.temperatureHint}
          />
        </div>
        {props.admin && <Toggle label={words.sharePersona} checked={shared} onChange={setShared} />}
      </form>
    </Dialog>
  );
}
