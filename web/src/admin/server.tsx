/** Administration › Server: sign-up, moderation, retention, the default model. */
import { useEffect, useState } from "preact/hooks";
import { listPageModels } from "../clients/account";
import * as api from "../clients/admin";
import type { Moderating, ServerSettings } from "../clients/admin";
import { useLoaded } from "../shell/loaded";
import { Button, Field, Select, toast, Waiting } from "../shell/parts";
import { attempt } from "../shell/problem";
import { Part } from "../shell/sections";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

const KINDS = ["conversations", "files", "feedback", "moderation", "usage", "jobs", "audit"] as const;
const MODERATING: Moderating[] = ["off", "flag", "block"];

export function Server() {
  const words = useWords();
  const strings = useShell();
  const settings = useLoaded(api.getSettings);
  const models = useLoaded(listPageModels);

  async function change(changes: Partial<ServerSettings>) {
    await attempt(async () => {
      const now = await api.changeSettings(changes);
      settings.change(() => now);
      toast(words.saved);
    });
  }

  if (settings.problem) return <p class="problem">{settings.problem}</p>;
  if (!settings.value) return <Waiting lines={8} label={strings.loading} />;
  const now = settings.value;
  const moderating = MODERATING.map((value) => ({ value, label: words.moderating[value] }));
  return (
    <div class="narrow-page">
      <Part title={words.signUpTitle}>
        <Select
          label={words.signUp}
          value={now.sign_up}
          options={(["closed", "invitation", "open"] as const).map((value) => ({ value, label: words.signUps[value] }))}
          onChange={(sign_up) => void change({ sign_up })}
        />
      </Part>
      <Part title={words.modelTitle}>
        <Select
          label={words.defaultModel}
          value={now.default_model ?? ""}
          options={[
            { value: "", label: words.firstModel },
            ...(models.value ?? []).map((one) => ({ value: one.id, label: one.title })),
          ]}
          onChange={(model) => void change({ default_model: model || null })}
        />
        <NumberForm
          label={words.dailyTokens}
          hint={words.dailyTokensHint}
          placeholder={words.unlimited}
          value={(now["daily_tokens"] as number | null | undefined) ?? null}
          min={0}
          onSave={(daily_tokens) => change({ daily_tokens })}
        />
      </Part>
      <Part title={words.moderationTitle} text={words.moderationText}>
        <div class="grid-2">
          <Select
            label={words.moderationInput}
            value={now.moderation.input}
            options={moderating}
            onChange={(input) => void change({ moderation: { ...now.moderation, input } })}
          />
          <Select
            label={words.moderationOutput}
            value={now.moderation.output}
            options={moderating}
            onChange={(output) => void change({ moderation: { ...now.moderation, output } })}
          />
        </div>
      </Part>
      <Part title={words.retentionTitle} text={words.retentionText}>
        <Retention now={now.retention} onSave={(retention) => change({ retention })} />
      </Part>
    </div>
  );
}

/** A number that may be missing, saved by its own button. */
function NumberForm(props: {
  label: string;
  hint: string;
  placeholder: string;
  value: number | null;
  min: number;
  onSave: (value: number | null) => Promise<void>;
}) {
  const words = useWords();
  const kept = props.value === null ? "" : String(props.value);
  const [text, setText] = useState(kept);
  useEffect(() => setText(kept), [kept]);
  return (
    <form
      class="inline-form above"
      onSubmit={(event) => {
        event.preventDefault();
        void props.onSave(text.trim() === "" ? null : Number(text));
      }}
    >
      <Field
        label={props.label}
        hint={props.hint}
        placeholder={props.placeholder}
        type="number"
        min={props.min}
        max={1e12}
        step={1}
        value={text}
        onInput={setText}
      />
      <Button type="submit" disabled={text === kept}>
        {words.save}
      </Button>
    </form>
  );
}

function Retention(props: {
  now: ServerSettings["retention"];
  onSave: (retention: ServerSettings["retention"]) => Promise<void>;
}) {
  const words = useWords();
  const kept = Object.fromEntries(KINDS.map((kind) => [kind, String(props.now[kind] ?? "")]));
  const [texts, setTexts] = useState<Record<string, string>>(kept);
  const changed = KINDS.filter((kind) => (texts[kind] ?? "") !== kept[kind]);
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void props.onSave(
          Object.fromEntries(changed.map((kind) => [kind, texts[kind] ? Number(texts[kind]) : null])),
        );
      }}
    >
      <div class="grid-3">
        {KINDS.map((kind) => (
          <Field
            key={kind}
            label={words.retention[kind] ?? kind}
            placeholder={words.forGood}
            type="number"
            min={1}
            max={36500}
            step={1}
            value={texts[kind] ?? ""}
            onInput={(text) => setTexts((all) => ({ ...all, [kind]: text }))}
          />
        ))}
      </div>
      <Button type="submit" class="to-start" disabled={!changed.length}>
        {words.save}
      </Button>
    </form>
  );
}
