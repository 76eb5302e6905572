/** The page at /arena: pick a study, judge it, and (when asked for) see what came of it. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ConnectionLost, ServerError } from "./api";
import { aboutStudy, type About, type Form, type Progress } from "./arena-api";
import type { Desk } from "./arena-desk";
import { Failed, Gone, Judging } from "./arena-judge";
import { ResultsView, Warning } from "./arena-results";
import { Start } from "./arena-start";
import { Appearance } from "./header";
import { CloseIcon, HelpIcon, Logo } from "./icons";
import { remember, stored, useLanguage, useTheme } from "./settings";
import { useSession } from "./session";
import { STRINGS, StringsContext } from "./strings";

interface Place {
  study: string | null;
  form: Form;
  results: boolean;
}

function placeNow(): Place {
  const query = new URLSearchParams(location.search);
  const form = query.get("form") === "rate" ? "rate" : "compare";
  return { study: query.get("study"), form, results: query.has("results") };
}

function addressOf(place: Place): string {
  if (!place.study) return "/arena";
  const query = new URLSearchParams({ study: place.study });
  if (place.results) query.set("results", "");
  else query.set("form", place.form);
  return `/arena?${query}`;
}

export function Arena() {
  const [language, setLanguage] = useLanguage();
  const [theme, setTheme] = useTheme();
  const strings = STRINGS[language];
  const [place, setPlace] = useState<Place>(placeNow);
  // Where people have accounts the server takes whoever is signed in, and asks for no name.
  const here = useSession();
  const account = here?.mode === "accounts" ? (here.person?.id ?? null) : null;
  const [named, setJudge] = useState(() => stored("judge") ?? "");
  const judge = account ?? named;
  const [about, setAbout] = useState<About | null>(null);
  const [problem, setProblem] = useState("");
  const [gone, setGone] = useState(false);
  const [helping, setHelping] = useState(false);
  const [warned, setWarned] = useState(false); // has agreed to see the results of this study
  const [progress, setProgress] = useState<Progress | null>(null);

  const moved = useRef(false); // there is a place of ours to go back to
  const go = useCallback((next: Place) => {
    moved.current = true;
    history.pushState(null, "", addressOf(next));
    setPlace(next);
  }, []);
  const home = useCallback(() => go({ study: null, form: "compare", results: false }), [go]);

  useEffect(() => {
    const back = () => setPlace(placeNow());
    addEventListener("popstate", back);
    return () => removeEventListener("popstate", back);
  }, []);

  const load = useCallback(() => {
    let wanted = true;
    setAbout(null);
    setProblem("");
    setGone(false);
    setWarned(false);
    setProgress(null);
    if (place.study)
      aboutStudy(place.study).then(
        (found) => wanted && setAbout(found),
        (error) => {
          if (!wanted) return;
          if (error instanceof ServerError && error.status === 404) setGone(true);
          else setProblem(error instanceof ConnectionLost ? strings.offline : `${strings.failed} ${error.message}`);
        },
      );
    return () => {
      wanted = false;
    };
  }, [place.study]);
  useEffect(load, [load]);

  useEffect(() => {
    document.title = `${place.study ?? strings.arena.title} · Chatwright`;
  }, [place.study, strings]);

  const onProgress = useCallback((desk: Desk) => setProgress(desk.next?.progress ?? null), []);

  // A link to a study, opened by somebody without a name yet, asks for the name first.
  const starting = !place.study || (!judge && !place.results);
  const judging = !starting && !place.results && about !== null;

  let view;
  if (starting)
    view = (
      <Start
        only={place.study}
        judge={judge}
        signedIn={account !== null}
        onJudge={(name) => {
          if (account !== null) return;
          remember("judge", name);
          setJudge(name);
        }}
        onStart={(study, form) => go({ study, form, results: false })}
        onResults={(study) => go({ study, form: "compare", results: true })}
      />
    );
  else if (gone) view = <Main><Gone onLeave={home} /></Main>;
  else if (problem) view = <Main><Failed problem={problem} onRetry={load} /></Main>;
  else if (!about) view = <main class="scroll" aria-busy="true" />;
  else if (place.results)
    view = warned ? (
      <ResultsView about={about} />
    ) : (
      <Main>
        <Warning onShow={() => setWarned(true)} onLeave={() => (moved.current ? history.back() : home())} />
      </Main>
    );
  else
    view = (
      <Judging
        key={`${about.name}\n${judge}\n${place.form}`}
        about={about}
        judge={judge}
        form={place.form}
        helping={helping}
        onHelping={setHelping}
        onProgress={onProgress}
        onLeave={home}
        onResults={() => go({ study: about.name, form: place.form, results: true })}
      />
    );

  return (
    <StringsContext.Provider value={strings}>
      <header class="top">
        <a class="home" href="/" aria-label={strings.arena.toChat} title={strings.arena.toChat}>
          <Logo />
        </a>
        <strong class="top-name">{place.study ?? strings.arena.link}</strong>
        {judging && progress && progress.total > 0 && (
          <span class="note tally-top">{strings.arena.of(progress.done, progress.total)}</span>
        )}
        <span class="space" />
        {judging && (
          <>
            <button type="button" class="quiet wide-only" onClick={home}>
              {strings.arena.judge(judge)}
            </button>
            <button
              type="button"
              class="round"
              aria-label={strings.arena.guidelines}
              title={`${strings.arena.guidelines} (?)`}
              aria-keyshortcuts="?"
              onClick={() => setHelping(true)}
            >
              <HelpIcon />
            </button>
          </>
        )}
        <Appearance theme={theme} onTheme={setTheme} onLanguage={() => setLanguage(language === "en" ? "zh" : "en")} />
        {place.study && (
          <button
            type="button"
            class="round"
            aria-label={strings.arena.back}
            title={strings.arena.back}
            onClick={home}
          >
            <CloseIcon />
          </button>
        )}
        {judging && (
          <progress
            class="along"
            max={Math.max(progress?.total ?? 1, 1)}
            value={progress?.done ?? 0}
            aria-label={strings.arena.of(progress?.done ?? 0, progress?.total ?? 0)}
          />
        )}
      </header>
      {view}
    </StringsContext.Provider>
  );
}

const Main = (props: { children: preact.ComponentChildren }) => <main class="scroll">{props.children}</main>;
