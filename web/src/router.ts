/** Where the page is: its address, without a library. */
import { createStore, useStore } from "./store";

export const SETTINGS = ["general", "personal", "memory", "personas", "data", "security", "keys"] as const;
export type SettingsSection = (typeof SETTINGS)[number];

export const ADMIN = ["people", "usage", "feedback", "moderation", "audit", "server"] as const;
export type AdminSection = (typeof ADMIN)[number];

export type Place =
  | { view: "chat"; id: string | null; temporary: boolean; message?: string }
  | { view: "shared"; token: string }
  | { view: "sign-in" }
  | { view: "setup" }
  | { view: "invite" }
  | { view: "settings"; section: SettingsSection }
  | { view: "admin"; section: AdminSection }
  | { view: "knowledge" }
  | { view: "arena" }
  | { view: "nowhere" };

/** What an address (path and query) asks for. */
export function placeOf(address: string): Place {
  const [rest = "", fragment = ""] = address.split("#", 2);
  const [path = "/", query = ""] = rest.split("?", 2);
  const parts = path.split("/").filter(Boolean).map(decoded);
  const [first, second, third] = parts;
  const among = <T extends string>(all: readonly T[]): T | undefined => all.find((one) => one === (second ?? all[0]));
  if (first === undefined)
    return { view: "chat", id: null, temporary: new URLSearchParams(query).has("temporary") };
  if (third !== undefined) return { view: "nowhere" };
  if (first === "c" && second)
    return { view: "chat", id: second, temporary: false, ...(fragment ? { message: fragment } : {}) };
  if (first === "shared" && second) return { view: "shared", token: second };
  if (first === "settings") {
    const section = among(SETTINGS);
    return section ? { view: "settings", section } : { view: "nowhere" };
  }
  if (first === "admin") {
    const section = among(ADMIN);
    return section ? { view: "admin", section } : { view: "nowhere" };
  }
  if (second === undefined && ["sign-in", "setup", "invite", "knowledge", "arena"].includes(first))
    return { view: first as "sign-in" | "setup" | "invite" | "knowledge" | "arena" };
  return { view: "nowhere" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const now = () =>
  typeof location === "undefined" ? "/" : location.pathname + location.search + location.hash;
const address = createStore(now());

export const useAddress = () => useStore(address);

/** Go there without loading the page again. `replace`: the way back does not lead here. */
export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (to === now()) return;
  history[options.replace ? "replaceState" : "pushState"](null, "", to);
  address.set(now());
}

/** Follow the browser's own way back and forth, and take over links inside the page. */
export function startRouter(): void {
  addEventListener("popstate", () => address.set(now()));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element).closest?.("a[href]");
    if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || !url.href.startsWith(location.origin + "/")) return;
    // Places within what is shown (skip links, sections by fragment) are the browser's own.
    if (url.hash && url.pathname === location.pathname && url.search === location.search) return;
    if (/^\/(v1|assets|openapi\.json|metrics|healthz|readyz)\b/.test(url.pathname)) return;
    event.preventDefault();
    navigate(url.pathname + url.search + url.hash);
  });
}
