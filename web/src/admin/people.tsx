/** Administration › People: accounts and invitations. */
import { useEffect, useState } from "preact/hooks";
import * as api from "../clients/admin";
import type { Account } from "../clients/admin";
import { useFormat } from "../format";
import { useSession, type Role } from "../session";
import { MoreIcon, PeopleIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Avatar, Button, confirm, Dialog, EmptyState, Field, Menu, Select, toast, Waiting } from "../shell/parts";
import { attempt, copyText } from "../shell/problem";
import { Part } from "../shell/sections";
import { useSending } from "../shell/sending";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

const ROLES: Role[] = ["user", "annotator", "admin"];

export function People() {
  const words = useWords();
  const strings = useShell();
  const [query, setQuery] = useState("");
  const [asked, setAsked] = useState("");
  const people = useLoaded(() => api.listPeople(asked), [asked]);
  const [inviting, setInviting] = useState(false);
  const [limited, setLimited] = useState<Account | null>(null);
  const [turn, setTurn] = useState(0);

  useEffect(() => {
    const timer = setTimeout(() => setAsked(query.trim()), 200);
    return () => clearTimeout(timer);
  }, [query]);

  const put = (one: Account) =>
    people.change((now) => now.map((other) => (other.id === one.id ? { ...other, ...one } : other)));

  return (
    <>
      <Part>
        <div class="bar-row">
          <Field label={words.find} hideLabel type="search" placeholder={words.find} value={query} onInput={setQuery} maxLength={200} />
          <Button kind="primary" onClick={() => setInviting(true)}>
            {words.invite}
          </Button>
        </div>
        {people.problem && <p class="problem">{people.problem}</p>}
        {!people.value && !people.problem && <Waiting lines={5} label={strings.loading} />}
        {people.value?.length === 0 && <EmptyState icon={<PeopleIcon />} title={words.nobody} />}
        {people.value && people.value.length > 0 && (
          <div class="table-frame" tabIndex={0} role="region" aria-label={words.sections.people}>
            <table class="data people">
              <thead>
                <tr>
                  <th scope="col">{words.person}</th>
                  <th scope="col">{words.role}</th>
                  <th scope="col" class="number">
                    {words.quota}
                  </th>
                  <th scope="col">{words.seen}</th>
                  <th scope="col">
                    <span class="visually-hidden">{words.action}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {people.value.map((one) => (
                  <PersonRow key={one.id} one={one} onChanged={put} onGone={people.reload} onLimit={() => setLimited(one)} />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Part>
      <Invitations turn={turn} />
      {inviting && (
        <InviteDialog
          onClose={() => {
            setInviting(false);
            setTurn((now) => now + 1);
          }}
        />
      )}
      {limited && (
        <LimitDialog
          one={limited}
          onClose={() => setLimited(null)}
          onChanged={(changed) => {
            put(changed);
            setLimited(null);
            toast(words.saved);
          }}
        />
      )}
    </>
  );
}

function PersonRow(props: {
  one: Account;
  onChanged: (one: Account) => void;
  onGone: () => void;
  onLimit: () => void;
}) {
  const words = useWords();
  const format = useFormat();
  const me = useSession()?.person?.id;
  const { one } = props;
  const off = one.status === "disabled";

  async function setRole(role: Role) {
    if (role === one.role) return;
    await attempt(async () => {
      props.onChanged(await api.changePerson(one.id, { role }));
      toast(words.roleChanged(one.name, words.roles[role] ?? role));
    });
  }

  async function setStatus(status: Account["status"]) {
    await attempt(async () => {
      props.onChanged(await api.changePerson(one.id, { status }));
      toast(status === "disabled" ? words.disabledNotice(one.name) : words.enabledNotice(one.name));
    });
  }

  async function remove() {
    const yes = await confirm({
      title: words.deletePersonTitle(one.name),
      text: words.deletePersonText,
      action: words.delete,
      typed: one.email,
      danger: true,
    });
    if (!yes || !(await attempt(() => api.deletePerson(one.id)))) return;
    toast(words.deletedPerson(one.name));
    props.onGone();
  }

  return (
    <tr class={off ? "off" : ""}>
      <th scope="row">
        <span class="who">
          <Avatar name={one.name} />
          <span>
            <span class="who-name">
              {one.name}
              {one.id === me && <span class="badge">{words.you}</span>}
              {off && <span class="badge of-danger">{words.disabled}</span>}
            </span>
            <span class="note">{one.email}</span>
          </span>
        </span>
      </th>
      <td>{words.roles[one.role] ?? one.role}</td>
      <td class="number">
        {one.daily_tokens === null ? <span class="faint">{words.quotaNone}</span> : format.number(one.daily_tokens)}
      </td>
      <td class="no-wrap">{one.last_seen_at ? format.moment(one.last_seen_at) : words.never}</td>
      <td>
        <Menu
          label={words.actionsFor(one.name)}
          align="end"
          items={[
            { heading: words.role },
            ...ROLES.map((role) => ({
              label: words.roles[role] ?? role,
              checked: role === one.role,
              onSelect: () => void setRole(role),
            })),
            "line",
            { label: words.setQuota, onSelect: props.onLimit },
            ...(one.id === me
              ? []
              : [
                  {
                    label: off ? words.enable : words.disable,
                    onSelect: () => void setStatus(off ? "active" : "disabled"),
                  },
                  { label: words.deletePerson, danger: true, onSelect: remove },
                ]),
          ]}
        >
          {(trigger) => (
            <button {...trigger} type="button" class="round" aria-label={words.actionsFor(one.name)}>
              <MoreIcon />
            </button>
          )}
        </Menu>
      </td>
    </tr>
  );
}

function LimitDialog(props: { one: Account; onClose: () => void; onChanged: (one: Account) => void }) {
  const words = useWords();
  const [text, setText] = useState(props.one.daily_tokens === null ? "" : String(props.one.daily_tokens));
  const [busy, setBusy] = useState(false);

  async function save(event: Event) {
    event.preventDefault();
    setBusy(true);
    await attempt(async () =>
      props.onChanged(
        await api.changePerson(props.one.id, { daily_tokens: text.trim() === "" ? null : Number(text) }),
      ),
    );
    setBusy(false);
  }

  return (
    <Dialog
      title={words.quotaOf(props.one.name)}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" form="limit" kind="primary" busy={busy}>
            {words.save}
          </Button>
        </>
      }
    >
      <form id="limit" onSubmit={save}>
        <Field
          label={words.quota}
          type="number"
          min={0}
          max={1e12}
          step={1}
          value={text}
          onInput={setText}
          hint={words.quotaHint}
        />
      </form>
    </Dialog>
  );
}

function Invitations(props: { turn: number }) {
  const words = useWords();
  const format = useFormat();
  const invitations = useLoaded(api.listInvitations, [props.turn]);
  const open = invitations.value?.filter((one) => !one.used_at);
  return (
    <Part title={words.invitations}>
      {invitations.problem && <p class="problem">{invitations.problem}</p>}
      {open?.length === 0 && <p class="note">{words.noInvitations}</p>}
      <ul class="rows">
        {open?.map((one) => (
          <li key={one.id} class="row">
            <div class="row-main">
              <span class="row-title">{one.email ?? words.anyone}</span>
              <span class="note">
                {words.roles[one.role]} · {words.until(format.date(one.expires_at))}
              </span>
            </div>
            <Button
              kind="danger"
              onClick={() =>
                void attempt(() => api.deleteInvitation(one.id)).then((worked) => {
                  if (!worked) return;
                  toast(words.takenBack);
                  invitations.reload();
                })
              }
            >
              {words.takeBack}
            </Button>
          </li>
        ))}
      </ul>
    </Part>
  );
}

const LASTS = ["1", "7", "30"] as const;

function InviteDialog(props: { onClose: () => void }) {
  const words = useWords();
  const [role, setRole] = useState<Role>("user");
  const [email, setEmail] = useState("");
  const [lasts, setLasts] = useState<(typeof LASTS)[number]>("7");
  const [url, setUrl] = useState("");
  const { busy, problem, onSubmit } = useSending(
    async () => {
      const made = await api.createInvitation({
        role,
        expires_in_days: Number(lasts),
        ...(email.trim() ? { email: email.trim() } : {}),
      });
      setUrl(new URL(made.url, location.origin).href);
    },
    (refused) => (refused.code === "sign_up_closed" ? words.closedFirst : undefined),
  );

  if (url)
    return (
      <Dialog title={words.inviteMade} onClose={props.onClose}>
        <div class="stack">
          <div class="copy-row">
            <input
              class="input mono"
              readOnly
              value={url}
              aria-label={words.link}
              onFocus={(event) => event.currentTarget.select()}
            />
            <Button kind="primary" onClick={async () => (await copyText(url)) && toast(words.linkCopied)}>
              {words.copyLink}
            </Button>
          </div>
          <p class="note">{words.inviteOnce}</p>
        </div>
      </Dialog>
    );
  return (
    <Dialog
      title={words.inviteTitle}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" form="invite" kind="primary" busy={busy}>
            {words.makeLink}
          </Button>
        </>
      }
    >
      <form id="invite" class="stack" onSubmit={onSubmit}>
        <p>{words.inviteText}</p>
        <Select
          label={words.role}
          value={role}
          options={ROLES.map((value) => ({ value, label: words.roles[value] ?? value }))}
          onChange={setRole}
        />
        <Field label={words.inviteEmail} type="email" value={email} onInput={setEmail} maxLength={320} />
        <Select
          label={words.inviteLasts}
          value={lasts}
          options={LASTS.map((value) => ({ value, label: words.days(Number(value)) }))}
          onChange={setLasts}
        />
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
      </form>
    </Dialog>
  );
}
