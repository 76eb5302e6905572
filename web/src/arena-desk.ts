/** One judge at one study: what is shown, what is about to be said, and what went wrong. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ConnectionLost, ServerError } from "./api";
import { emptyDraft, nextTask, say, takeBack, type Draft, type Form, type Next } from "./arena-api";
import type { Strings } from "./strings";

const DRAFT = "chatwright.arena.draft";

export interface Desk {
  next: Next | null;
  draft: Draft;
  busy: boolean;
  gone: boolean; // the study is no longer there
  problem: string;
  notice: string; // for a moment, and for screen readers
  change: (changes: (draft: Draft) => Partial<Draft>) => void;
  latest: () => { next: Next | null; draft: Draft };
  confirm: () => void;
  skip: () => void;
  undo: () => void;
  reload: () => void;
  turnTo: (form: Form) => void;
}

/** Seconds that the page was looked at: a tab in the background says nothing about speed. */
export class Stopwatch {
  private total = 0;
  private since: number | null = null;

  constructor(private readonly now: () => number) {}

  run(running: boolean) {
    if (running) this.since ??= this.now();
    else if (this.since !== null) {
      this.total += this.now() - this.since;
      this.since = null;
    }
  }

  restart() {
    this.total = 0;
    if (this.since !== null) this.since = this.now();
  }

  get seconds() {
    const running = this.since === null ? 0 : this.now() - this.since;
    return Math.max(0, this.total + running) / 1000;
  }
}

export function useDesk(study: string, judge: string, first: Form, strings: Strings): Desk {
  // Two quick keys come before the page is drawn again: what counts is `now`, what is drawn follows.
  const now = useRef<{ next: Next | null; draft: Draft }>({ next: null, draft: emptyDraft() });
  const [{ next, draft }, setDrawn] = useState(now.current);
  const set = (changed: Partial<typeof now.current>) => setDrawn((now.current = { ...now.current, ...changed }));
  const [busy, setBusy] = useState(false);
  const [gone, setGone] = useState(false);
  const [problem, setProblem] = useState("");
  const [notice, setNotice] = useState("");
  const watch = useRef<Stopwatch | null>(null);
  watch.current ??= new Stopwatch(() => performance.now());
  const working = useRef(false);

  useEffect(() => {
    const look = () => watch.current!.run(document.visibilityState === "visible");
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);

  useEffect(() => {
    const timer = setTimeout(() => setNotice(""), 5000);
    return () => clearTimeout(timer);
  }, [notice]);

  useEffect(() => {
    if (next?.task) saveDraft(next.task.id, draft);
  }, [next?.task?.id, draft]);

  const show = useCallback((found: Next, said?: Partial<Draft> | null) => {
    const kept = found.task ? (said ?? restoreDraft(found.task.id)) : {};
    set({ next: found, draft: { ...emptyDraft(), ...kept } });
    setProblem("");
    watch.current!.restart();
  }, []);

  const work = useCallback(
    async (doing: () => Promise<string>) => {
      if (working.current) return;
      working.current = true;
      setBusy(true);
      try {
        setNotice(await doing());
      } catch (error) {
        if (error instanceof ServerError && error.code === "study_not_found") setGone(true);
        else if (error instanceof ConnectionLost) setProblem(strings.arena.lost);
        else setProblem(`${strings.failed} ${error instanceof Error ? error.message : error}`);
      } finally {
        working.current = false;
        setBusy(false);
      }
    },
    [strings],
  );

  const form = next?.form ?? first; // taking back a rating leads back to the ratings
  const turnTo = (to: Form) =>
    void work(async () => {
      show(await nextTask(study, judge, to));
      return "";
    });
  useEffect(() => turnTo(first), [study, judge]);

  const send = (saying: Draft, words: string) =>
    void work(async () => {
      try {
        show(await say(study, judge, now.current.next!, saying, watch.current!.seconds));
        return words;
      } catch (error) {
        // Another tab of the same judge was quicker, or took it back: go on with what is now open.
        const stale = error instanceof ServerError && ["already_judged", "task_not_found"].includes(error.code);
        if (!stale) throw error;
        show(await nextTask(study, judge, now.current.next!.form));
        return strings.arena.judgedElsewhere;
      }
    });

  return {
    next,
    draft,
    busy,
    gone,
    problem,
    notice,
    turnTo,
    reload: () => turnTo(form),
    latest: () => now.current,
    change(changes) {
      if (working.current) return; // the next one is on its way: this was meant for the one before
      const { draft } = now.current;
      setNotice("");
      set({ draft: { ...draft, ...changes(draft) } });
    },
    confirm() {
      const { next, draft } = now.current;
      if (!next?.task) return;
      if (isReady(next.form, draft)) send(draft, strings.arena.recorded);
      else setNotice(next.form === "compare" ? strings.arena.chooseFirst : strings.arena.scoreFirst);
    },
    skip() {
      const { next, draft } = now.current;
      if (next?.task) send({ ...draft, choice: "skip", scores: {} }, strings.arena.skippedNotice);
    },
    undo() {
      void work(async () => {
        const found = await takeBack(study, judge, now.current.next?.form ?? first);
        if (!found.undone) return strings.arena.nothingToUndo;
        show(found, found.undone.choice === "skip" ? { ...found.undone, choice: null } : found.undone);
        return strings.arena.undone;
      });
    },
  };
}

/** Whether there is something to confirm. */
export const isReady = (form: Form, draft: Draft) =>
  form === "compare" ? draft.choice !== null : Object.keys(draft.scores).length > 0;

function saveDraft(task: string, draft: Draft): void {
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify({ task, draft }));
  } catch {
    // Forbidden in some private windows: a reload then forgets what was not confirmed.
  }
}

/** What was about to be said to this task before the page was loaded again. */
function restoreDraft(task: string): Partial<Draft> {
  try {
    const kept = JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
    return kept?.task === task ? kept.draft : {};
  } catch {
    return {};
  }
}
