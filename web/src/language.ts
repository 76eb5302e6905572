/** The languages that the page speaks. */
export const LANGUAGES = ["en", "zh"] as const;
export type Language = (typeof LANGUAGES)[number];

/** The first language that the browser asks for and the page speaks. */
export function preferredLanguage(asked: readonly string[]): Language {
  for (const tag of asked) {
    const language = tag.toLowerCase().split("-")[0];
    if (language === "zh" || language === "en") return language;
  }
  return "en";
}
