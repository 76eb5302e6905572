/** Who judges, and which study. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ConnectionLost } from "./api";
import { listStudies, type Form, type StudyEntry } from "./arena-api";
import { Failed } from "./arena-judge";
import { useStrings } from "./strings";

export function Start(props: {
  only: string | null; // a link to one study: the others are not shown
  judge: string;
  signedIn: boolean; // the server knows who judges
  onJudge: (name: string) => void;
  onStart: (study: string, form: Form) => void;
  onResults: (study: string) => void;
}) {
  const strings = useStrings();
  const { arena } = strings;
  const [name, setName] = useState(props.judge);
  const [studies, setStudies] = useState<StudyEntry[] | null>(null);
  const [missing, setMissing] = useState(false);
  const [problem, setProblem] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const told = name.trim();

  const load = (judge: string) =>
    listStudies(judge).then(
      (found) => {
        setStudies(found.filter((study) => props.only === null || study.name === props.only));
        setProblem("");
      },
      (error) => setProblem(error instanceof ConnectionLost ? strings.offline : error.message),
    );

  // How far one has come depends on the name: asked for again a moment after the last letter.
  useEffect(() => {
    const timer = setTimeout(() => void load(told), studies === null ? 0 : 250);
    return () => clearTimeout(timer);
  }, [told, props.only]);

  function start(study: string, form: Form) {
    if (!told) {
      setMissing(true);
      field.current?.focus();
      return;
    }
    props.onJudge(told);
    props.onStart(study, form);
  }

  if (problem && !studies)
    return (
      <main class="scroll">
        <Failed problem={problem} onRetry={() => void load(told)} />
      </main>
    );
  return (
    <main class="scroll">
      <div class="column start">
        <header>
          <h1>{arena.title}</h1>
          <p>{arena.lede}</p>
        </header>
        {studies?.length === 0 ? (
          <p class="note">
            {arena.none} {arena.noneHint} <code>chatwright arena create</code>
          </p>
        ) : (
          <>
            {!props.signedIn && (
              <div class="named">
                <label for="judge">{arena.name}</label>
                <input
                  ref={field}
                  id="judge"
                  value={name}
                  maxLength={60}
                  autoFocus={!props.judge && matchMedia("(pointer: fine)").matches}
                  autocomplete="nickname"
                  spellcheck={false}
                  aria-describedby="judge-hint"
                  aria-invalid={missing && !told}
                  onInput={(event) => setName(event.currentTarget.value)}
                />
                <p
                  id="judge-hint"
                  class={(missing && !told) || problem ? "note wrong" : "note"}
                  role={missing && !told ? "alert" : undefined}
                >
                  {missing && !told ? arena.nameMissing : problem || arena.nameHint}
                </p>
              </div>
            )}
            {props.signedIn && problem && (
              <p class="note wrong" role="alert">
                {problem}
              </p>
            )}
            <ul class="studies" aria-label={arena.studies} aria-busy={studies === null}>
              {studies?.map((study) => (
                <StudyCard key={study.name} study={study} onStart={start} onResults={props.onResults} />
              ))}
            </ul>
          </>
        )}
      </div>
    </main>
  );
}

function StudyCard(props: {
  study: StudyEntry;
  onStart: (study: string, form: Form) => void;
  onResults: (study: string) => void;
}) {
  const { arena } = useStrings();
  const { study } = props;
  return (
    <li class="study">
      <header>
        <h2>{study.name}</h2>
        {!study.problem && (
          <button type="button" class="quiet" onClick={() => props.onResults(study.name)}>
            {arena.results}
          </button>
        )}
      </header>
      {study.problem && (
        <p class="problem">
          {arena.unreadable} {study.problem}
        </p>
      )}
      {study.forms.map((form) => {
        const { done, total } = study.progress[form] ?? { done: 0, total: 0 };
        const word = done === 0 ? arena.start : done < total ? arena.goOn : arena.finished;
        return (
          <div key={form} class="study-form">
            <span class="study-what">
              <strong>{arena.forms[form]}</strong>
              <span class="note">{total > 0 ? arena.of(done, total) : arena.notReady}</span>
            </span>
            <progress max={Math.max(total, 1)} value={done} aria-label={arena.of(done, total)} />
            <button
              type="button"
              class={done < total ? "confirm" : "outlined"}
              disabled={total === 0}
              aria-label={`${word}: ${study.name}, ${arena.forms[form]}`}
              onClick={() => props.onStart(study.name, form)}
            >
              {word}
            </button>
          </div>
        );
      })}
    </li>
  );
}
