/** Language and colours: kept by this browser, and by the account where somebody is signed in. */
import { changeMe, session, type Person } from "../session";
import { currentLanguage, setLanguage, setThemeChoice, stored, type ThemeChoice } from "../settings";
import type { Language } from "../language";
import { attempt } from "./problem";

const signedIn = () => session.get()?.state === "signed_in";

export function chooseLanguage(language: Language) {
  setLanguage(language);
  if (signedIn()) void attempt(() => changeMe({ language }));
}

export function chooseTheme(theme: ThemeChoice) {
  setThemeChoice(theme);
  if (signedIn()) void attempt(() => changeMe({ theme }));
}

export const otherLanguage = (): Language => (currentLanguage() === "en" ? "zh" : "en");

/** What the account says goes, on a machine where nothing was chosen yet. */
export function follow(person: Person) {
  if ((person.language === "en" || person.language === "zh") && !stored("language")) setLanguage(person.language);
  if (person.theme && !stored("theme")) setThemeChoice(person.theme);
}
