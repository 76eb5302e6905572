/** What the page is, by who is there: setting up, signing in, or the chat with all around it. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { onSignedOut, ServerError } from "./http";
import { navigate, placeOf, useAddress } from "./router";
import { loadSession, session as known, useSession, type Session } from "./session";
import { useLanguage, useTheme } from "./settings";
import { cameBack, Connection } from "./shell/connection";
import { lazy } from "./shell/lazy";
import { WarnIcon } from "./shell/icons";
import { Button, Confirms, Dialog, EmptyState, Tips, Toasts } from "./shell/parts";
import { follow } from "./shell/preferences";
import { Shell } from "./shell/shell";
import { useShell } from "./strings-shell";

const Arena = lazy(() => import("./arena").then((m) => m.Arena));
const Gate = lazy(() => import("./account/gate").then((m) => m.Gate));
const SignIn = lazy(() => import("./account/gate").then((m) => m.SignInForm));
const SharedPage = lazy(() => import("./shared-page/shared-page").then((m) => m.SharedPage));

export function App() {
  useLanguage();
  useTheme();
  const arena = placeOf(useAddress()).view === "arena"; // it has its own place for such words
  return (
    <>
      <Page />
      <Confirms />
      {!arena && <Toasts />}
      <Tips />
    </>
  );
}

function Page() {
  const strings = useShell();
  const place = placeOf(useAddress());
  const session = useSession();
  const [problem, setProblem] = useState("");
  const [ended, setEnded] = useState(false); // the session ended under somebody's hands
  const last = useRef<Session | null>(null); // who was there then
  if (session?.state === "signed_in") last.current = session;

  const load = useCallback(() => {
    loadSession().then(
      (found) => {
        setProblem("");
        if (found.person) follow(found.person);
      },
      (error) => setProblem(error instanceof ServerError ? error.message : " "),
    );
  }, []);
  useEffect(load, []);
  useEffect(() => cameBack(() => !known.get() && load()), [load]);
  useEffect(() => onSignedOut(() => known.get()?.state === "signed_in" && setEnded(true)), []);

  const outside = ["sign-in", "setup", "invite"].includes(place.view);
  const signedIn = session?.state === "signed_in";
  useEffect(() => {
    if (signedIn && outside) navigate("/", { replace: true });
  }, [signedIn, outside]);

  if (place.view === "shared") return <SharedPage token={place.token} />;
  if (!session)
    return (
      <div class="first-wait" aria-busy={!problem}>
        <Connection />
        {problem.trim() && (
          <main class="view-alone">
            <EmptyState icon={<WarnIcon />} whole title={strings.lost} text={problem}>
              <Button onClick={load}>{strings.retry}</Button>
            </EmptyState>
          </main>
        )}
      </div>
    );
  if (!signedIn || outside)
    return (
      <>
        <Connection />
        <Gate session={session} place={place} onDone={load} />
      </>
    );
  if (place.view === "arena")
    return (
      <div class="arena-page">
        <Arena />
      </div>
    );
  return (
    <>
      <Shell session={session} place={place} />
      {ended && (
        <Dialog title={strings.sessionEnded} size="small" locked onClose={() => undefined}>
          <div class="stack">
            <p>{strings.sessionEndedText}</p>
            <SignIn
              session={session}
              email={last.current?.person?.email ?? ""}
              onDone={() => {
                const before = last.current?.person?.id;
                void loadSession().then((now) => {
                  // Somebody else sits here now: nothing of the first may stay.
                  if (now.person?.id !== before) location.assign("/");
                  else setEnded(false);
                });
              }}
            />
          </div>
        </Dialog>
      )}
    </>
  );
}
