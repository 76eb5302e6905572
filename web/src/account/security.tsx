/** Settings › Security: password, second factor, devices. */
import { useState } from "preact/hooks";
import * as api from "../clients/account";
import { save as saveFile } from "../clients/history";
import { useFormat } from "../format";
import { loadSession, type Person, type Session } from "../session";
import { useLoaded } from "../shell/loaded";
import { Button, Dialog, Field, toast, Waiting } from "../shell/parts";
import { attempt, copyText } from "../shell/problem";
import { Part } from "../shell/sections";
import { useSending } from "../shell/sending";
import { useShell } from "../strings-shell";
import { PasswordDialog } from "./data";
import { QrCode } from "./qr";
import { useWords } from "./strings";

export function Security(props: { person: Person; mode: Session["mode"] }) {
  const words = useWords();
  if (props.mode === "local") return <Part><p class="note">{words.localNote}</p></Part>;
  return (
    <>
      <Password known={props.person.has_password !== false} />
      <SecondFactor person={props.person} />
      <Devices />
    </>
  );
}

function Password(props: { known: boolean }) {
  const words = useWords();
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [wrong, setWrong] = useState("");
  const { busy, problem, onSubmit } = useSending(
    async () => {
      setWrong("");
      await api.changePassword(current, next);
      setCurrent("");
      setNext("");
      toast(words.passwordChanged);
    },
    (refused) => {
      if (refused.code !== "wrong_password") return undefined;
      setWrong(words.wrongPassword);
      return "";
    },
  );

  return (
    <Part title={words.changePassword}>
      <form class="stack" onSubmit={onSubmit}>
        <div class="grid-2">
          {props.known && (
            <Field
              label={words.currentPassword}
              type="password"
              value={current}
              onInput={setCurrent}
              autoComplete="current-password"
              error={wrong || undefined}
              maxLength={200}
            />
          )}
          <Field
            label={words.nextPassword}
            type="password"
            value={next}
            onInput={setNext}
            autoComplete="new-password"
            hint={words.passwordHint}
            error={problem || undefined}
            maxLength={200}
          />
        </div>
        <Button type="submit" class="to-start" busy={busy} disabled={(props.known && !current) || !next}>
          {words.changePassword}
        </Button>
      </form>
    </Part>
  );
}

function SecondFactor(props: { person: Person }) {
  const words = useWords();
  const [start, setStart] = useState<api.TotpStart | null>(null);
  const [removing, setRemoving] = useState(false);

  return (
    <Part
      title={words.totpTitle}
      text={props.person.totp_enabled ? words.totpOn : words.totpOff}
      action={
        props.person.totp_enabled ? (
          <Button kind="danger" onClick={() => setRemoving(true)}>
            {words.totpRemove}
          </Button>
        ) : (
          <Button onClick={() => void attempt(async () => setStart(await api.startTotp()))}>{words.totpStart}</Button>
        )
      }
    >
      {start && <TotpDialog start={start} onClose={() => setStart(null)} />}
      {removing && (
        <PasswordDialog
          needed={props.person.has_password !== false}
          title={words.totpTitle}
          text={words.totpRemoveText}
          action={words.totpRemove}
          onSend={api.removeTotp}
          onDone={() => {
            setRemoving(false);
            toast(words.totpRemoved);
            void loadSession();
          }}
          onClose={() => setRemoving(false)}
        />
      )}
    </Part>
  );
}

function TotpDialog(props: { start: api.TotpStart; onClose: () => void }) {
  const words = useWords();
  const [code, setCode] = useState("");
  const [codes, setCodes] = useState<string[] | null>(null);
  const { busy, problem, onSubmit } = useSending(
    async () => setCodes((await api.confirmTotp(code.replace(/\s/g, ""))).recovery_codes),
    (refused) => ([400, 401, 403].includes(refused.status) ? words.wrongCode : undefined),
  );

  function finish() {
    props.onClose();
    toast(words.totpDone);
    void loadSession();
  }

  if (codes)
    return (
      <Dialog
        title={words.recoveryTitle}
        size="small"
        locked
        onClose={finish}
        actions={
          <Button kind="primary" onClick={finish}>
            {words.recoveryKept}
          </Button>
        }
      >
        <div class="stack">
          <p>{words.recoveryText}</p>
          <ul class="recovery mono">
            {codes.map((one) => (
              <li key={one}>{one}</li>
            ))}
          </ul>
          <div class="button-row">
            <Button onClick={() => void copyText(codes.join("\n"))}>{words.copyAll}</Button>
            <Button
              onClick={() => saveFile(new Blob([`${codes.join("\n")}\n`], { type: "text/plain" }), "recovery-codes.txt")}
            >
              {words.saveAsFile}
            </Button>
          </div>
        </div>
      </Dialog>
    );
  return (
    <Dialog
      title={words.totpTitle}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" form="totp" kind="primary" busy={busy} disabled={code.replace(/\s/g, "").length < 6}>
            {words.totpConfirm}
          </Button>
        </>
      }
    >
      <form id="totp" class="stack" onSubmit={onSubmit}>
        <p>{words.totpScan}</p>
        <QrCode svg={props.start.svg} modules={props.start.modules} label={words.totpPicture} />
        <div class="field">
          <span>{words.totpSecret}</span>
          <code class="secret mono">{props.start.secret.replace(/(.{4})(?=.)/g, "$1 ")}</code>
        </div>
        <Field
          label={words.code}
          value={code}
          onInput={setCode}
          inputMode="numeric"
          autoComplete="one-time-code"
          maxLength={9}
          autoFocus
          error={problem || undefined}
        />
      </form>
    </Dialog>
  );
}

function Devices() {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const sessions = useLoaded(api.listSessions);
  return (
    <Part title={words.sessions}>
      {sessions.problem && <p class="problem">{sessions.problem}</p>}
      {!sessions.value && !sessions.problem && <Waiting lines={2} label={strings.loading} />}
      <ul class="rows">
        {sessions.value?.map((one) => (
          <li key={one.id} class="row">
            <div class="row-main">
              <span class="row-title">
                {browserName(one.agent)}
                {one.current && <span class="badge">{words.thisOne}</span>}
              </span>
              <span class="note">
                {one.address ? `${one.address} · ` : ""}
                {words.lastSeen(format.moment(one.last_seen_at))}
              </span>
            </div>
            {!one.current && (
              <Button
                onClick={() =>
                  void attempt(() => api.revokeSession(one.id)).then((worked) => {
                    if (!worked) return;
                    toast(words.sessionEnded);
                    sessions.reload();
                  })
                }
              >
                {words.endSession}
              </Button>
            )}
          </li>
        ))}
      </ul>
    </Part>
  );
}

/** A browser's header in a few words; the header itself where it is none that is known. */
export function browserName(agent: string): string {
  const browsers: [RegExp, string][] = [
    [/Edg\//, "Edge"],
    [/OPR\//, "Opera"],
    [/Firefox\//, "Firefox"],
    [/Chrom(e|ium)\//, "Chrome"],
    [/Safari\//, "Safari"],
  ];
  const systems: [RegExp, string][] = [
    [/iPhone/, "iPhone"],
    [/iPad/, "iPad"],
    [/Android/, "Android"],
    [/Windows/, "Windows"],
    [/Mac OS X/, "macOS"],
    [/Linux/, "Linux"],
  ];
  const browser = browsers.find(([mark]) => mark.test(agent))?.[1];
  const system = systems.find(([mark]) => mark.test(agent))?.[1];
  if (!browser) return agent.slice(0, 60) || "–";
  return system ? `${browser} · ${system}` : browser;
}
