/** Dates, numbers and sizes as the page's language writes them. */
import { useLang } from "./settings";
import type { Language } from "./language";

const locale = (language: Language) => (language === "zh" ? "zh-CN" : "en-GB");

const made = new Map<string, Intl.DateTimeFormat | Intl.NumberFormat>();

function dates(language: Language, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `d${language}${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new Intl.DateTimeFormat(locale(language), options));
  return made.get(key) as Intl.DateTimeFormat;
}

export function numberText(value: number, language: Language, options: Intl.NumberFormatOptions = {}): string {
  const key = `n${language}${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en", options));
  return (made.get(key) as Intl.NumberFormat).format(value);
}

function parsed(at: string | number | null | undefined): Date | null {
  if (at === null || at === undefined || at === "") return null;
  const date = new Date(typeof at === "number" ? at * 1000 : at);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function dateText(at: string | number | null | undefined, language: Language): string {
  const date = parsed(at);
  return date ? dates(language, { dateStyle: "medium" }).format(date) : "–";
}

export function momentText(at: string | number | null | undefined, language: Language): string {
  const date = parsed(at);
  return date ? dates(language, { dateStyle: "medium", timeStyle: "short" }).format(date) : "–";
}

export const monthText = (date: Date, language: Language) =>
  dates(language, { month: "long", year: "numeric" }).format(date);

/** 5 March, or 3月5日: for an axis. */
export const dayText = (day: string, language: Language) =>
  dates(language, { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`));

export function sizeText(bytes: number, language: Language): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;
  const step = Math.min(3, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return numberText(bytes / 1000 ** step, language, {
    style: "unit",
    unit: units[step]!,
    unitDisplay: step === 0 ? "long" : "short",
    maximumFractionDigits: step === 0 ? 0 : 1,
  });
}

/** The same, bound to the page's language. */
export function useFormat() {
  const language = useLang();
  return {
    language,
    date: (at: string | number | null | undefined) => dateText(at, language),
    moment: (at: string | number | null | undefined) => momentText(at, language),
    number: (value: number, options?: Intl.NumberFormatOptions) => numberText(value, language, options),
    size: (bytes: number) => sizeText(bytes, language),
    day: (day: string) => dayText(day, language),
  };
}
