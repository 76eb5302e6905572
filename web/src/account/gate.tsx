/** What stands before the chat: setting up, signing in, making an account. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import * as api from "../clients/account";
import { Logo } from "../icons";
import type { Place } from "../router";
import type { Session } from "../session";
import { setLanguage, setThemeChoice, useTheme } from "../settings";
import { otherLanguage } from "../shell/preferences";
import { Button, Field, IconButton } from "../shell/parts";
import { useSending } from "../shell/sending";
import { MoonIcon, SunIcon } from "../icons";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

/** The secret of a one-time link. It stands in the fragment, so that it is in no log. */
function tokenOf(): string {
  return decodeURIComponent(location.hash.replace(/^#(token=)?/, ""));
}

export function Gate(props: { session: Session; place: Place; onDone: () => void }) {
  const words = useWords();
  const { session, place } = props;
  const [making, setMaking] = useState(false);
  const [token, setToken] = useState(tokenOf);

  useEffect(() => {
    const change = () => setToken(tokenOf());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);

  let title = words.signInTo;
  let inside: ComponentChildren;
  if (session.state === "setup") {
    title = words.setupTitle;
    inside = token ? (
      <>
        <p class="gate-text">{words.setupText}</p>
        <AccountForm onSend={(account) => api.setUp(token, account)} onDone={props.onDone} />
      </>
    ) : (
      <>
        <p class="gate-text">{words.setupNeeds}</p>
        <p class="note">
          {words.setupFoot} <code class="mono">{location.origin}/setup#…</code>
        </p>
      </>
    );
  } else if (place.view === "invite") {
    title = words.inviteTitle;
    inside = token ? (
      <>
        <p class="gate-text">{words.inviteText}</p>
        <AccountForm onSend={(account) => api.signUp(account, token)} onDone={props.onDone} />
        <p class="gate-foot">
          <a href="/sign-in">{words.haveAccount}</a>
        </p>
      </>
    ) : (
      <p class="gate-text">{words.inviteMissing}</p>
    );
  } else if (making) {
    title = words.createAccount;
    inside = (
      <>
        <AccountForm onSend={(account) => api.signUp(account)} onDone={props.onDone} />
        <p class="gate-foot">
          <Button kind="quiet" onClick={() => setMaking(false)}>
            {words.haveAccount}
          </Button>
        </p>
      </>
    );
  } else
    inside = (
      <>
        <SignInForm session={session} onDone={props.onDone} />
        <p class="gate-foot">
          {session.sign_up === "open" ? (
            <>
              <span>{words.noAccount}</span>
              <Button kind="quiet" onClick={() => setMaking(true)}>
                {words.createAccount}
              </Button>
            </>
          ) : (
            <span class="note">{session.sign_up === "invitation" ? words.invitationOnly : words.closed}</span>
          )}
        </p>
      </>
    );

  useEffect(() => {
    document.title = `${title} · Chatwright`;
  }, [title]);

  return (
    <div class="gate">
      <GateBar />
      <main class="gate-card">
        <Logo />
        <h1>{title}</h1>
        {inside}
      </main>
    </div>
  );
}

/** Language and colours, before anybody is known. */
export function GateBar() {
  const strings = useShell();
  const [theme] = useTheme();
  const other = theme === "dark" ? "light" : "dark";
  return (
    <div class="gate-bar">
      <Button kind="quiet" onClick={() => setLanguage(otherLanguage())}>
        {strings.otherLanguage}
      </Button>
      <IconButton label={strings.themeIs(strings[other])} onClick={() => setThemeChoice(other)}>
        {other === "dark" ? <MoonIcon /> : <SunIcon />}
      </IconButton>
    </div>
  );
}

export function SignInForm(props: { session: Session; email?: string; onDone: () => void }) {
  const words = useWords();
  const [email, setEmail] = useState(props.email ?? "");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [second, setSecond] = useState(false);
  const { busy, problem, onSubmit, forget } = useSending(
    async () => {
      await api.signIn({ email: email.trim(), password, ...(second ? { code: code.replace(/\s/g, "") } : {}) });
      props.onDone();
    },
    (refused) => {
      if (refused.code === "second_factor_required" && !second) {
        setSecond(true);
        return "";
      }
      if (second && ["second_factor_required", "invalid_code", "invalid_credentials"].includes(refused.code))
        return words.wrongCode;
      return refused.code === "invalid_credentials" ? words.wrong : undefined;
    },
  );

  if (second)
    return (
      <form class="gate-form" onSubmit={onSubmit}>
        <p class="gate-text">{words.codeText}</p>
        <Field
          key="code"
          label={words.code}
          value={code}
          onInput={setCode}
          autoFocus
          autoComplete="one-time-code"
          maxLength={40}
          spellcheck={false}
          error={problem || undefined}
          required
        />
        <Button type="submit" kind="primary" busy={busy}>
          {words.signIn}
        </Button>
        <Button
          kind="quiet"
          onClick={() => {
            setSecond(false);
            setCode("");
            forget();
          }}
        >
          {words.back}
        </Button>
      </form>
    );
  return (
    <>
      <form class="gate-form" onSubmit={onSubmit}>
        <Field
          label={words.email}
          type="email"
          value={email}
          onInput={setEmail}
          autoComplete="username"
          autoFocus={!props.email}
          maxLength={320}
          required
        />
        <Field
          label={words.password}
          type="password"
          value={password}
          onInput={setPassword}
          autoComplete="current-password"
          autoFocus={!!props.email}
          maxLength={200}
          required
        />
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <Button type="submit" kind="primary" busy={busy}>
          {words.signIn}
        </Button>
      </form>
      {props.session.oidc && (
        <>
          <p class="gate-or">
            <span>{words.or}</span>
          </p>
          <a class="outlined gate-oidc" href="/v1/chatwright/oidc/start">
            {words.signInWith(props.session.oidc.name)}
          </a>
        </>
      )}
    </>
  );
}

/** Name, email and password of a new account. */
function AccountForm(props: { onSend: (account: api.NewAccount) => Promise<unknown>; onDone: () => void }) {
  const words = useWords();
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const { busy, problem, onSubmit } = useSending(
    async () => {
      await props.onSend({ name: name.trim(), email: email.trim(), password });
      props.onDone();
    },
    (refused) => ([401, 403, 404, 410].includes(refused.status) ? words.tokenWrong : undefined),
  );

  return (
    <form class="gate-form" onSubmit={onSubmit}>
      <Field label={words.name} value={name} onInput={setName} autoComplete="name" autoFocus maxLength={200} required />
      <Field
        label={words.email}
        type="email"
        value={email}
        onInput={setEmail}
        autoComplete="username"
        maxLength={320}
        required
      />
      <Field
        label={words.newPassword}
        type="password"
        value={password}
        onInput={setPassword}
        autoComplete="new-password"
        hint={words.passwordHint}
        maxLength={200}
        required
      />
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <Button type="submit" kind="primary" busy={busy}>
        {words.begin}
      </Button>
    </form>
  );
}
