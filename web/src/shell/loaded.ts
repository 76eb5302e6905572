/** Something that the server has, as a view shows it: under way, there, or failed. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { cameBack } from "./connection";
import { problemText } from "./problem";

export interface Loaded<T> {
  value: T | null;
  problem: string;
  reload: () => void;
  change: (change: (now: T) => T) => void; // what is known to have changed, without asking again
}

/** Ask when drawn, when `inputs` change, and again when the server was away and is back. */
export function useLoaded<T>(ask: () => Promise<T>, inputs: unknown[] = []): Loaded<T> {
  const [value, setValue] = useState<T | null>(null);
  const [problem, setProblem] = useState("");
  const turn = useRef(0);
  const asking = useRef(ask);
  asking.current = ask;

  const reload = useCallback(() => {
    const mine = ++turn.current;
    asking.current().then(
      (found) => {
        if (mine !== turn.current) return; // a later question has been asked since
        setValue(() => found);
        setProblem("");
      },
      (error) => mine === turn.current && setProblem(problemText(error)),
    );
  }, []);

  useEffect(reload, inputs);
  useEffect(() => cameBack(reload), []);
  useEffect(() => () => void turn.current++, []);

  return {
    value,
    problem,
    reload,
    change: (change) => setValue((now) => (now === null ? now : change(now))),
  };
}
