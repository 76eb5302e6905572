/** Settings › General and Personalisation. */
import { useState } from "preact/hooks";
import { listPageModels } from "../clients/account";
import { useFormat } from "../format";
import { changeMe, type Person, type Session } from "../session";
import { remember, stored, useLang, useThemeChoice, type ThemeChoice } from "../settings";
import { useLoaded } from "../shell/loaded";
import { Avatar, Button, Field, Select, toast } from "../shell/parts";
import { chooseLanguage, chooseTheme } from "../shell/preferences";
import { attempt } from "../shell/problem";
import { Part } from "../shell/sections";
import type { Language } from "../language";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

export function General(props: { person: Person; mode: Session["mode"] }) {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const language = useLang();
  const theme = useThemeChoice();
  const models = useLoaded(listPageModels);
  const [model, setModel] = useState(() => stored("model") ?? "");
  const [name, setName] = useState(props.person.name);
  const [busy, setBusy] = useState(false);
  const themes: ThemeChoice[] = ["system", "light", "dark"];

  async function saveName(event: Event) {
    event.preventDefault();
    setBusy(true);
    if (await attempt(() => changeMe({ name: name.trim() }))) toast(words.saved);
    setBusy(false);
  }

  return (
    <>
      {props.mode === "accounts" && (
        <Part title={words.profile}>
          <div class="profile">
            <Avatar name={props.person.name} size="large" />
            <div>
              <strong>{props.person.email}</strong>
              <p class="note">
                {words.roles[props.person.role]} · {words.memberSince(format.date(props.person.created_at))}
              </p>
            </div>
          </div>
          <form class="inline-form" onSubmit={saveName}>
            <Field label={words.name} value={name} onInput={setName} autoComplete="name" maxLength={200} required />
            <Button type="submit" busy={busy} disabled={!name.trim() || name.trim() === props.person.name}>
              {words.saveName}
            </Button>
          </form>
        </Part>
      )}
      <Part>
        <div class="grid-2">
          <Select
            label={words.language}
            value={language}
            options={[
              { value: "en", label: "English" },
              { value: "zh", label: "中文" },
            ]}
            onChange={(next: Language) => chooseLanguage(next)}
          />
          <Select
            label={words.theme}
            value={theme}
            options={themes.map((value) => ({ value, label: strings[value] }))}
            onChange={chooseTheme}
          />
        </div>
        <Select
          label={words.model}
          value={models.value?.some((one) => one.id === model) ? model : ""}
          options={[
            { value: "", label: words.serverDefault },
            ...(models.value ?? []).map((one) => ({ value: one.id, label: one.title })),
          ]}
          onChange={(next) => {
            remember("model", next);
            setModel(next);
          }}
        />
        {models.problem && <p class="problem">{models.problem}</p>}
      </Part>
    </>
  );
}

export function Personal(props: { person: Person }) {
  const words = useWords();
  const [text, setText] = useState(props.person.instructions);
  const [busy, setBusy] = useState(false);

  async function save(event: Event) {
    event.preventDefault();
    setBusy(true);
    if (await attempt(() => changeMe({ instructions: text.trim() }))) toast(words.saved);
    setBusy(false);
  }

  return (
    <Part>
      <form class="stack" onSubmit={save}>
        <Field
          label={words.instructions}
          value={text}
          onInput={setText}
          rows={8}
          maxLength={8000}
          placeholder={words.instructionsPlaceholder}
          hint={words.instructionsHint}
        />
        <Button
          type="submit"
          kind="primary"
          class="to-start"
          busy={busy}
          disabled={text.trim() === props.person.instructions.trim()}
        >
          {words.save}
        </Button>
      </form>
    </Part>
  );
}
