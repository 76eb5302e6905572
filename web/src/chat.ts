/** The conversation and the one answer that may be under way. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, ConnectionLost } from "./api";
import { grow, newAnswer, restore, save, toMessages, type Answer, type Turn } from "./conversation";
import type { Strings } from "./strings";

// Pieces are drawn together at this pace: smooth to the eye, and cheap for a long answer.
const DRAW_MS = 40;

export interface Chat {
  turns: Turn[];
  writing: boolean;
  send: (question: string) => void;
  retry: () => void;
  stop: () => void;
  clear: () => void;
}

export function useChat(model: string | undefined, strings: Strings): Chat {
  const [turns, setTurns] = useState<Turn[]>(() => restore(sessionStorage));
  const abort = useRef<AbortController | null>(null);
  const writing = turns.some((turn) => turn.role === "assistant" && turn.state === "writing");

  useEffect(() => {
    if (!writing) save(turns, sessionStorage);
  }, [turns, writing]);

  useEffect(() => {
    // A reload in the middle keeps what was written so far.
    const keep = () => save(turns, sessionStorage);
    addEventListener("pagehide", keep);
    return () => removeEventListener("pagehide", keep);
  }, [turns]);

  async function write(before: Turn[], to: string) {
    const controller = new AbortController();
    abort.current = controller;
    let answer = newAnswer(to);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const current = () => abort.current === controller;
    const show = (next: Answer) => current() && setTurns([...before, next]);
    show(answer);
    try {
      for await (const delta of ask(to, toMessages(before), controller.signal)) {
        answer = grow(answer, delta);
        timer ??= setTimeout(() => {
          timer = undefined;
          show(answer);
        }, DRAW_MS);
      }
      answer = { ...answer, state: "done" };
    } catch (error) {
      answer = controller.signal.aborted
        ? { ...answer, state: "stopped" }
        : { ...answer, state: "failed", error: reason(error, strings) };
    }
    clearTimeout(timer);
    show(answer);
    if (current()) abort.current = null;
  }

  return {
    turns,
    writing,
    send(question) {
      if (model && !writing) void write([...turns, { role: "user", text: question }], model);
    },
    retry() {
      if (model && !writing) void write(turns.slice(0, -1), model);
    },
    stop() {
      abort.current?.abort();
    },
    clear() {
      const controller = abort.current;
      abort.current = null; // from here on that answer draws nothing
      controller?.abort();
      setTurns([]);
    },
  };
}

function reason(error: unknown, strings: Strings): string {
  if (error instanceof ConnectionLost) return strings.lost;
  return `${strings.failed} ${error instanceof Error ? error.message : String(error)}`;
}
