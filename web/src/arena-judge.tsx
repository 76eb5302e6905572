/** Judging: one prompt at a time, from the first to the thanks at the end. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { About, Choice, Form } from "./arena-api";
import { useDesk, type Desk } from "./arena-desk";
import { actionOf, isTyping } from "./arena-keys";
import { AnswerCard, Guidelines, Prompt, Toggle, Tools } from "./arena-parts";
import { ScaleForm, useScales } from "./arena-scales";
import { remember, stored } from "./settings";
import { useStrings } from "./strings";

const CHOICES: [Exclude<Choice, "skip">, string, string][] = [
  ["left", "←", "ArrowLeft"],
  ["tie", "T", "t"],
  ["both_bad", "B", "b"],
  ["right", "→", "ArrowRight"],
];

export function Judging(props: {
  about: About;
  judge: string;
  form: Form;
  helping: boolean;
  onHelping: (open: boolean) => void;
  onProgress: (desk: Desk) => void;
  onLeave: () => void;
  onResults: () => void;
}) {
  const strings = useStrings();
  const { about, judge } = props;
  const desk = useDesk(about.name, judge, props.form, strings);
  const task = desk.next?.task ?? null;
  const form = desk.next?.form ?? props.form;
  const read = `guidelines.${about.name}.${judge}`;
  const [first, setFirst] = useState(() => stored(read) === null);
  const [commenting, setCommenting] = useState(false);
  const main = useRef<HTMLElement>(null);
  const comment = useRef<HTMLTextAreaElement>(null);
  const scales = useScales(desk, about);

  useEffect(() => props.onProgress(desk), [desk.next]);
  useEffect(() => setCommenting(desk.draft.comment !== ""), [task?.id]);

  // A new one is read from its beginning, and the keys that scroll are the page's.
  useLayoutEffect(() => {
    main.current?.scrollTo({ top: 0, behavior: "instant" });
    main.current?.focus({ preventScroll: true });
  }, [task?.id]);

  function toggleReason(index: number) {
    const code = about.reasons[index]?.code;
    if (!code) return;
    desk.change(({ choice, reasons }) => {
      if (choice !== "left" && choice !== "right") return {}; // they say why one is better
      return { reasons: reasons.includes(code) ? reasons.filter((r) => r !== code) : [...reasons, code] };
    });
  }

  const onKey = (event: KeyboardEvent) => {
    const target = event.target as Element | null;
    if (event.defaultPrevented || isTyping(target) || document.querySelector("dialog[open]")) return;
    const action = actionOf(event);
    if (!action) return;
    // Inside what scrolls sideways the arrows scroll, on radio buttons they move.
    if (event.key.startsWith("Arrow") && target?.closest("pre, .table, [type=radio]")) return;
    // On a button or link that has the focus, Enter is that one's own.
    if (action.kind === "confirm" && target?.closest("button, a, summary")) return;
    if (action.kind === "guidelines") props.onHelping(true);
    else if (action.kind === "undo") desk.undo();
    else if (!task) return;
    else if (action.kind === "confirm") desk.confirm();
    else if (action.kind === "skip") desk.skip();
    else if (action.kind === "comment") comment.current?.focus();
    else if (form === "rate") {
      if (action.kind === "digit") scales.score(action.digit);
      else if (action.kind === "clear") scales.clear();
      else return;
    } else if (action.kind === "choose") desk.change(() => ({ choice: action.choice }));
    else if (action.kind === "digit") toggleReason(action.digit - 1);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  const { draft } = desk;
  const { progress } = desk.next ?? { progress: { done: 0, total: 0 } };
  const sided = draft.choice === "left" || draft.choice === "right";
  let body;
  if (desk.gone) body = <Gone onLeave={props.onLeave} />;
  else if (!desk.next)
    body = desk.problem ? <Failed problem={desk.problem} onRetry={desk.reload} /> : <div aria-busy="true" />;
  else if (!task) body = <Finished {...props} desk={desk} form={form} />;
  else if (form === "rate")
    body = (
      <div class="bench scoring" key={task.id}>
        <div class="bench-text">
          <Prompt task={task} />
          <AnswerCard side="" text={task.answer ?? ""} language={task.language} chosen={false} />
        </div>
        <ScaleForm scales={scales} />
      </div>
    );
  else
    body = (
      <div class="bench" key={task.id}>
        <Prompt task={task} />
        <div class="pair">
          <AnswerCard side="A" text={task.left ?? ""} language={task.language} chosen={draft.choice === "left"} />
          <AnswerCard side="B" text={task.right ?? ""} language={task.language} chosen={draft.choice === "right"} />
        </div>
      </div>
    );

  return (
    <>
      <main ref={main} class="scroll" tabIndex={-1}>
        {task && !desk.gone && (
          <h1 class="visually-hidden">{form === "compare" ? strings.arena.title : strings.arena.forms.rate}</h1>
        )}
        {body}
      </main>
      {task && !desk.gone && (
        <footer class="bar" aria-busy={desk.busy}>
          {form === "compare" && (
            <>
              <div class="choices" role="group" aria-label={strings.arena.choice}>
                {CHOICES.map(([choice, hint, shortcut]) => (
                  <Toggle
                    key={choice}
                    class={`choice ${choice}`}
                    pressed={draft.choice === choice}
                    hint={hint}
                    shortcut={shortcut}
                    onPress={() => desk.change(() => ({ choice }))}
                  >
                    {strings.arena.choices[choice]}
                  </Toggle>
                ))}
              </div>
              <div class="reasons" role="group" aria-label={strings.arena.reasons}>
                {about.reasons.map((reason, index) => (
                  <Toggle
                    key={reason.code}
                    class="reason"
                    pressed={sided && draft.reasons.includes(reason.code)}
                    hint={String(index + 1)}
                    shortcut={String(index + 1)}
                    disabled={!sided}
                    onPress={() => toggleReason(index)}
                  >
                    {reason[strings.arena.code]}
                  </Toggle>
                ))}
              </div>
            </>
          )}
          <Tools
            desk={desk}
            field={comment}
            commenting={commenting}
            onCommenting={setCommenting}
          />
        </footer>
      )}
      <div class="visually-hidden" role="status" aria-live="polite">
        {desk.notice} {task && strings.arena.nowAt(progress.done + 1, progress.total)}
      </div>
      {(props.helping || first) && !desk.gone && (
        <Guidelines
          key={String(first)} // asked for while the first one closes: another one opens
          about={about}
          form={form}
          first={first}
          onClose={() => {
            remember(read, "read");
            setFirst(false);
            props.onHelping(false);
            main.current?.focus({ preventScroll: true });
          }}
        />
      )}
    </>
  );
}

function Finished(props: {
  about: About;
  judge: string;
  desk: Desk;
  form: Form;
  onLeave: () => void;
  onResults: () => void;
}) {
  const strings = useStrings().arena;
  const { desk, form, about } = props;
  const { done, total, skipped } = desk.next!.progress;
  const other: Form = form === "compare" ? "rate" : "compare";
  return (
    <div class="welcome finish">
      {total === 0 ? (
        <h1>{strings.nothingToJudge}</h1>
      ) : (
        <>
          <h1>{strings.thanks(props.judge)}</h1>
          <p>{strings.allDone}</p>
          <dl class="tally">
            <div>
              <dd>{done - skipped}</dd>
              <dt>{strings.judged}</dt>
            </div>
            <div>
              <dd>{skipped}</dd>
              <dt>{strings.skipped}</dt>
            </div>
          </dl>
        </>
      )}
      {desk.problem && (
        <p class="problem" role="alert">
          {desk.problem}
        </p>
      )}
      <div class="finish-actions">
        {about.forms.includes(other) && (
          <button type="button" class="confirm" onClick={() => desk.turnTo(other)}>
            {strings.toForm[other]}
          </button>
        )}
        <button type="button" class="outlined" onClick={props.onLeave}>
          {strings.back}
        </button>
        {done > 0 && (
          <button type="button" class="outlined" onClick={desk.undo}>
            {strings.undoLast}
          </button>
        )}
        <button type="button" class="outlined" onClick={props.onResults}>
          {strings.reveal}
        </button>
      </div>
    </div>
  );
}

export function Gone(props: { onLeave: () => void }) {
  const strings = useStrings().arena;
  return (
    <div class="welcome finish" role="alert">
      <h1>{strings.gone}</h1>
      <p>{strings.goneHint}</p>
      <button type="button" class="outlined" onClick={props.onLeave}>
        {strings.back}
      </button>
    </div>
  );
}

export function Failed(props: { problem: string; onRetry: () => void }) {
  const strings = useStrings();
  return (
    <div class="welcome finish">
      <p class="problem" role="alert">
        {props.problem}
      </p>
      <button type="button" class="outlined" onClick={props.onRetry}>
        {strings.retry}
      </button>
    </div>
  );
}
