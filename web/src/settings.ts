/** What the page remembers about its reader: language, colours, the chosen assistant. */
import { useEffect, useState } from "preact/hooks";
import { LANGUAGES, preferredLanguage, type Language } from "./strings";

export type Theme = "light" | "dark";

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

export function useLanguage(): [Language, (language: Language) => void] {
  const [language, setLanguage] = useState<Language>(() => {
    const chosen = LANGUAGES.find((one) => one === stored("language"));
    return chosen ?? preferredLanguage(navigator.languages);
  });
  useEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  return [
    language,
    (next) => {
      remember("language", next);
      setLanguage(next);
    },
  ];
}

/** Follows the system until the reader chooses. */
export function useTheme(): [Theme, (theme: Theme) => void] {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const [chosen, setChosen] = useState<Theme | null>(() => {
    const value = stored("theme");
    return value === "light" || value === "dark" ? value : null;
  });
  const [dark, setDark] = useState(system.matches);
  useEffect(() => {
    const listen = (event: MediaQueryListEvent) => setDark(event.matches);
    system.addEventListener("change", listen);
    return () => system.removeEventListener("change", listen);
  }, []);
  const theme = chosen ?? (dark ? "dark" : "light");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  return [
    theme,
    (next) => {
      remember("theme", next);
      setChosen(next);
    },
  ];
}
