/** Settings › Data: consent, export, import, deletion. */
import { useState } from "preact/hooks";
import * as account from "../clients/account";
import { exportAll } from "../clients/history";
import { changeMe, type Person, type Session } from "../session";
import { openDialog } from "../shell/conversation-menu";
import { deleteAll } from "../shell/history-store";
import { Button, confirm, Dialog, Field, toast, Toggle } from "../shell/parts";
import { attempt } from "../shell/problem";
import { Part } from "../shell/sections";
import { useSending } from "../shell/sending";
import { AllShares } from "../shell/share";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

export function Data(props: { person: Person; mode: Session["mode"] }) {
  const words = useWords();
  const strings = useShell();
  const [busy, setBusy] = useState(false);
  const [leaving, setLeaving] = useState(false);

  async function takeAll() {
    setBusy(true);
    await attempt(exportAll);
    setBusy(false);
  }

  async function removeAll() {
    const yes = await confirm({
      title: strings.deleteAllTitle,
      text: strings.deleteAllText,
      action: strings.deleteAll,
      typed: strings.deleteAllWord,
      danger: true,
    });
    if (yes && (await deleteAll())) toast(strings.deletedAll);
  }

  return (
    <>
      <Part>
        <Toggle
          label={words.training}
          hint={words.trainingHint}
          checked={props.person.training_consent}
          onChange={(on) => void attempt(() => changeMe({ training_consent: on }))}
        />
      </Part>
      <Part title={words.exportTitle} text={words.exportHint} action={
        <Button busy={busy} onClick={takeAll}>{words.exportDo}</Button>
      } />
      <Part title={words.importTitle} text={words.importHint} action={
        <Button onClick={() => openDialog({ kind: "import" })}>{words.importDo}</Button>
      } />
      <Part title={words.sharedTitle}>
        <AllShares />
      </Part>
      <Part title={words.deleteChats} text={words.deleteChatsHint} action={
        <Button kind="danger" onClick={removeAll}>{words.deleteChats}</Button>
      } />
      {props.mode === "accounts" && (
        <Part title={words.deleteAccount} text={words.deleteAccountHint} action={
          <Button kind="danger" onClick={() => setLeaving(true)}>{words.deleteAccount}</Button>
        } />
      )}
      {leaving && <DeleteAccount person={props.person} onClose={() => setLeaving(false)} />}
    </>
  );
}

function DeleteAccount(props: { person: Person; onClose: () => void }) {
  const words = useWords();
  return (
    <PasswordDialog
      needed={props.person.has_password !== false}
      title={words.deleteAccountTitle}
      text={words.deleteAccountText}
      action={words.deleteForGood}
      onSend={account.deleteMe}
      onDone={() => location.assign("/sign-in")}
      onClose={props.onClose}
    />
  );
}

/** Something that is done only by somebody who knows the password. */
export function PasswordDialog(props: {
  needed: boolean; // false: whoever has none proves it by a sign-in just now, which the server knows
  title: string;
  text: string;
  action: string;
  onSend: (password: string) => Promise<unknown>;
  onDone: () => void;
  onClose: () => void;
}) {
  const words = useWords();
  const [password, setPassword] = useState("");
  const { busy, problem, onSubmit } = useSending(
    async () => {
      await props.onSend(password);
      props.onDone();
    },
    (refused) => (refused.code === "wrong_password" ? words.wrongPassword : undefined),
  );

  return (
    <Dialog
      title={props.title}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" form="password-form" kind="danger filled" busy={busy} disabled={props.needed && !password}>
            {props.action}
          </Button>
        </>
      }
    >
      <form id="password-form" class="stack" onSubmit={onSubmit}>
        <p>{props.text}</p>
        {props.needed ? (
          <Field
            label={words.password}
            type="password"
            value={password}
            onInput={setPassword}
            autoComplete="current-password"
            error={problem || undefined}
            maxLength={200}
          />
        ) : (
          problem && (
            <p class="problem" role="alert">
              {problem}
            </p>
          )
        )}
      </form>
    </Dialog>
  );
}
