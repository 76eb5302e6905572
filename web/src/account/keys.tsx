/** Settings › API keys: made with scopes, shown once, revoked. */
import { useState } from "preact/hooks";
import * as api from "../clients/account";
import { useFormat } from "../format";
import type { Person, Session } from "../session";
import { KeyIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Button, confirm, Dialog, EmptyState, Field, Select, toast, Waiting } from "../shell/parts";
import { attempt, copyText } from "../shell/problem";
import { Part } from "../shell/sections";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

export function Keys(props: { person: Person; mode: Session["mode"] }) {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const keys = useLoaded(api.listKeys);
  const [making, setMaking] = useState(false);

  async function revoke(one: api.ApiKey) {
    const yes = await confirm({
      title: words.revokeKeyTitle(one.name),
      text: words.revokeKeyText,
      action: words.revoke,
      danger: true,
    });
    if (!yes || !(await attempt(() => api.revokeKey(one.id)))) return;
    toast(words.keyRevoked);
    keys.reload();
  }

  return (
    <Part
      text={words.keysText}
      action={<Button onClick={() => setMaking(true)}>{words.newKey}</Button>}
    >
      {keys.problem && <p class="problem">{keys.problem}</p>}
      {!keys.value && !keys.problem && <Waiting lines={2} label={strings.loading} />}
      {keys.value?.length === 0 && <EmptyState icon={<KeyIcon />} title={words.noKeys} text={words.noKeysHint} />}
      <ul class="rows">
        {keys.value?.map((one) => (
          <li key={one.id} class="row">
            <div class="row-main">
              <span class="row-title">
                {one.name} <code class="mono faint">{one.start}…</code>
              </span>
              <span class="note">
                {one.scopes.map((scope) => words.scopes[scope] ?? scope).join(" · ")}
              </span>
              <span class="note">
                {one.last_used_at ? words.used(format.date(one.last_used_at)) : words.unused}
                {one.expires_at ? ` · ${words.expires(format.date(one.expires_at))}` : ""}
              </span>
            </div>
            <Button kind="danger" onClick={() => revoke(one)}>
              {words.revoke}
            </Button>
          </li>
        ))}
      </ul>
      {making && (
        <NewKey
          admin={props.person.role === "admin"}
          onClose={() => {
            setMaking(false);
            keys.reload();
          }}
        />
      )}
    </Part>
  );
}

const LASTS = ["30", "90", "365", ""] as const;

function NewKey(props: { admin: boolean; onClose: () => void }) {
  const words = useWords();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<api.Scope[]>(["chat"]);
  const [lasts, setLasts] = useState<(typeof LASTS)[number]>("90");
  const [busy, setBusy] = useState(false);
  const [made, setMade] = useState("");

  async function make(event: Event) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    await attempt(async () => {
      const key = await api.createKey({
        name: name.trim(),
        scopes,
        ...(lasts ? { expires_in_days: Number(lasts) } : {}),
      });
      setMade(key.key);
    });
    setBusy(false);
  }

  if (made)
    return (
      <Dialog
        title={words.keyMade}
        locked
        onClose={props.onClose}
        actions={
          <Button kind="primary" onClick={props.onClose}>
            {words.keyKept}
          </Button>
        }
      >
        <div class="stack">
          <p>{words.keyMadeText}</p>
          <div class="copy-row">
            <input
              class="input mono"
              readOnly
              value={made}
              aria-label={words.keyItself}
              onFocus={(event) => event.currentTarget.select()}
            />
            <Button onClick={async () => (await copyText(made)) && toast(words.keyCopied)}>{words.copyKey}</Button>
          </div>
        </div>
      </Dialog>
    );
  return (
    <Dialog
      title={words.newKey}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" form="new-key" kind="primary" busy={busy} disabled={!name.trim() || !scopes.length}>
            {words.create}
          </Button>
        </>
      }
    >
      <form id="new-key" class="stack" onSubmit={make}>
        <Field
          label={words.keyName}
          value={name}
          onInput={setName}
          placeholder={words.keyNameHint}
          maxLength={200}
          required
        />
        <fieldset>
          <legend class="field-title">{words.keyScopes}</legend>
          {api.SCOPES.filter((scope) => props.admin || scope !== "admin").map((scope) => (
            <label key={scope} class="check">
              <input
                type="checkbox"
                checked={scopes.includes(scope)}
                onChange={(event) => {
                  const on = event.currentTarget.checked;
                  setScopes((now) => (on ? [...now, scope] : now.filter((one) => one !== scope)));
                }}
              />
              <span>{words.scopes[scope]}</span>
            </label>
          ))}
        </fieldset>
        <Select
          label={words.keyLasts}
          value={lasts}
          options={LASTS.map((value) => ({ value, label: value ? words.days(Number(value)) : words.never }))}
          onChange={setLasts}
        />
      </form>
    </Dialog>
  );
}
