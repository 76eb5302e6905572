/** What the page remembers about its reader: language, colours, the chosen assistant. */
import { useEffect, useState } from "preact/hooks";
import { createStore, useStore } from "./store";
import { LANGUAGES, preferredLanguage, type Language } from "./language";

export type Theme = "light" | "dark";
export type ThemeChoice = Theme | "system";

/** What `remember` kept, or null. */
export function stored(key: string): string | null {
  try {
    return localStorage.getItem(`chatwright.${key}`);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(`chatwright.${key}`, value);
  } catch {
    // Forbidden in some private windows: the setting lasts until the page is closed.
  }
}

export const rememberedModel = () => stored("model");

function firstLanguage(): Language {
  const chosen = LANGUAGES.find((one) => one === stored("language"));
  return chosen ?? preferredLanguage(globalThis.navigator?.languages ?? []);
}

function firstTheme(): ThemeChoice {
  const value = stored("theme");
  return value === "light" || value === "dark" ? value : "system";
}

const language = createStore<Language>(firstLanguage());
const theme = createStore<ThemeChoice>(firstTheme());

/** The page's language, from anywhere in it: `useLang()` in a component, and a change for all. */
export const useLang = () => useStore(language);
export const currentLanguage = () => language.get();

export function setLanguage(next: Language) {
  remember("language", next);
  language.set(next);
}

export function setThemeChoice(next: ThemeChoice) {
  remember("theme", next);
  theme.set(next);
}

export const useThemeChoice = () => useStore(theme);

export function useLanguage(): [Language, (language: Language) => void] {
  const now = useLang();
  useEffect(() => {
    document.documentElement.lang = now === "zh" ? "zh-CN" : "en";
  }, [now]);
  return [now, setLanguage];
}

/** The colours shown, which follow the system until the reader chooses. */
export function useTheme(): [Theme, (theme: ThemeChoice) => void] {
  const chosen = useStore(theme);
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const listen = (event: MediaQueryListEvent) => setDark(event.matches);
    system.addEventListener("change", listen);
    return () => system.removeEventListener("change", listen);
  }, []);
  const shown: Theme = chosen === "system" ? (dark ? "dark" : "light") : chosen;
  useEffect(() => {
    document.documentElement.dataset["theme"] = shown;
  }, [shown]);
  return [shown, setThemeChoice];
}
