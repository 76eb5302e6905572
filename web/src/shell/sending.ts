/** What all forms that are sent have in common. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ServerError } from "../http";
import { problemText } from "./problem";

/** Send a form, once at a time. `told`: the form's own words for what the server refuses; "" where
 *  it tells in another place, undefined for the usual words. */
export function useSending(send: () => Promise<unknown>, told?: (refused: ServerError) => string | undefined) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const alive = useRef(true);
  useEffect(() => () => void (alive.current = false), []);

  async function onSubmit(event: Event) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem("");
    try {
      await send();
    } catch (error) {
      const own = error instanceof ServerError ? told?.(error) : undefined;
      if (alive.current) setProblem(own ?? problemText(error));
    }
    if (alive.current) setBusy(false);
  }

  return { busy, problem, onSubmit, forget: () => setProblem("") };
}
