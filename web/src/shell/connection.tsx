/** Looks after the connection: says when the server is away, and tries until it is back. */
import { useEffect, useRef, useState } from "preact/hooks";
import { reachable } from "../http";
import { useStore } from "../store";
import { useShell } from "../strings-shell";
import { CloudOffIcon } from "./icons";
import { toast } from "./toast";

const listeners = new Set<() => void>();

/** Told when the server was away and answers again. */
export function cameBack(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

async function isThere(): Promise<boolean> {
  try {
    const response = await fetch("/healthz", { cache: "no-store" });
    return response.status < 500;
  } catch {
    return false;
  }
}

const FIRST = 1500;
const LONGEST = 15_000;

/** The line that says so; nothing while all is well. Once in the page. */
export function Connection() {
  const strings = useShell();
  const there = useStore(reachable);
  const [offline, setOffline] = useState(() => !navigator.onLine);
  const [round, setRound] = useState(0); // asked by hand, or the network is back: at once

  useEffect(() => {
    const change = () => {
      setOffline(!navigator.onLine);
      if (navigator.onLine) setRound((now) => now + 1);
      // A server on this machine is there without a network too.
      else void isThere().then((found) => found || reachable.set(false));
    };
    addEventListener("online", change);
    addEventListener("offline", change);
    return () => {
      removeEventListener("online", change);
      removeEventListener("offline", change);
    };
  }, []);

  // Whoever noticed first: this view, or any other request that got through.
  const away = useRef(false);
  useEffect(() => {
    if (there && away.current) {
      toast(strings.back);
      for (const tell of [...listeners]) tell();
    }
    away.current = !there;
  }, [there]);

  useEffect(() => {
    if (there) return;
    let wait = round ? 0 : FIRST;
    let timer = 0;
    let over = false;
    const look = async () => {
      const found = document.visibilityState === "visible" && (await isThere());
      if (over) return;
      if (found) {
        reachable.set(true);
        return;
      }
      wait = Math.min(LONGEST, Math.max(FIRST, wait * 1.6));
      timer = setTimeout(look, wait);
    };
    timer = setTimeout(look, wait);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [there, round]);

  return (
    <div class="connection" role="status" aria-live="polite">
      {!there && (
        <p>
          <CloudOffIcon />
          <span>{offline ? strings.offline : strings.away}</span>
          <button type="button" class="connection-try" onClick={() => setRound((now) => now + 1)}>
            {strings.tryNow}
          </button>
        </p>
      )}
    </div>
  );
}
