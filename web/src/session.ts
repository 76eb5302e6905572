/** Who is at the page, as the server sees it: `GET /session`. */
import { getJson, sendJson } from "./http";
import { createStore, useStore } from "./store";

export type Role = "user" | "annotator" | "admin";

export interface Person {
  id: string;
  name: string;
  email: string;
  role: Role;
  language: "en" | "zh" | null;
  theme: "light" | "dark" | "system" | null;
  memory_enabled: boolean;
  training_consent: boolean;
  instructions: string;
  totp_enabled: boolean;
  has_password?: boolean; // false for somebody who signs in elsewhere
  created_at: string;
}

export interface Session {
  state: "setup" | "signed_out" | "signed_in";
  mode: "accounts" | "local";
  sign_up: "closed" | "open" | "invitation";
  oidc: { name: string } | null;
  person: Person | null;
}

export const session = createStore<Session | null>(null);
export const useSession = () => useStore(session);

export async function loadSession(): Promise<Session> {
  const found = await getJson<Session>("/session");
  session.set(found);
  return found;
}

/** Change one's own settings; the page follows at once, and goes back where the server says no. */
export async function changeMe(changes: Partial<Person>): Promise<void> {
  const before = session.get();
  if (before?.person) session.set({ ...before, person: { ...before.person, ...changes } });
  try {
    const person = await sendJson<Person>("PATCH", "/me", changes);
    const now = session.get();
    if (now?.person) session.set({ ...now, person: { ...now.person, ...person } });
  } catch (error) {
    if (before) session.set(before);
    throw error;
  }
}

/** Signed out by their own wish: nothing of theirs stays on the page. */
export function leave(): void {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith("chatwright.")) sessionStorage.removeItem(key);
  } catch {
    // No storage, nothing kept.
  }
  location.assign("/sign-in");
}
