/**
 * Listening to a run: the server writes on whether or not anybody listens, so a lost connection is
 * taken up again after the last event that arrived.
 */
import type { RunEvent } from "./types";
import { EventReader } from "../sse";

export type Connection = "open" | "reconnecting" | "offline";

export type Heard = { kind: "event"; event: RunEvent } | { kind: "connection"; state: Connection };

/** What listening needs from the world; tests bring their own. */
export interface Wire {
  /** The run's events after number `after`, as text in any pieces. Throws `Gone` where there is no such run. */
  open(run: string, after: number, signal: AbortSignal): Promise<AsyncIterable<string>>;
  /** Resolves after so many milliseconds, or as soon as the network is back. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  online(): boolean;
}

/** The server does not know the run (any more), or refuses it: trying again would not help. */
export class Gone extends Error {}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
// So many failures in a row, with the network up, and the page gives up and says so.
const TRIES = 12;

export const LAST_KINDS = new Set(["done", "failed"]);

/**
 * Every event of a run from `after` on, once and in order, until its stream ends; connection changes
 * between them. After the answer's last event a title may follow, and a connection lost then is not taken
 * up again. Ends early when `signal` aborts. Throws `Gone`, and the last error after too many tries.
 */
export async function* follow(
  run: string,
  wire: Wire,
  signal: AbortSignal,
  after = 0,
): AsyncGenerator<Heard> {
  let failures = 0;
  let told: Connection = "open";
  let over = false;
  for (;;) {
    let problem: unknown = new Error("the stream ended early");
    try {
      const reader = new EventReader();
      const pieces = await wire.open(run, after, signal);
      if (told !== "open") yield { kind: "connection", state: (told = "open") };
      for await (const text of pieces) {
        if (signal.aborted) return;
        for (const one of reader.read(text)) {
          const event = readEvent(one.id, one.kind, one.data);
          if (!event || event.id <= after) continue; // said before the connection was lost
          after = event.id;
          failures = 0;
          yield { kind: "event", event };
          over ||= LAST_KINDS.has(event.kind);
        }
      }
    } catch (error) {
      if (over) return;
      if (error instanceof Gone) throw error;
      problem = error;
    }
    if (signal.aborted || over) return;
    const online = wire.online();
    if (online) failures += 1;
    if (failures > TRIES) throw problem;
    const state = online ? "reconnecting" : "offline";
    if (told !== state) yield { kind: "connection", state: (told = state) };
    await wire.wait(waitBefore(failures), signal);
    if (signal.aborted) return;
  }
}

/** Twice as long each time, up to a bound. */
export function waitBefore(attempt: number): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, attempt - 1));
}

function readEvent(id: string, kind: string, data: string): RunEvent | null {
  try {
    const number = Number(id);
    return Number.isSafeInteger(number) ? { id: number, kind, data: JSON.parse(data) } : null;
  } catch {
    return null; // one broken event does not lose the rest
  }
}
