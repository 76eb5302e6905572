/** What the arena says besides its own words (arena-strings.ts), in English and Chinese. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { arenaEn, arenaZh } from "./arena-strings";
import type { Language } from "./language";

const en = {
  otherLanguage: "中文",
  switchLanguage: "切换到中文",
  dark: "Dark colours",
  light: "Light colours",
  models: "Models",
  you: "You",
  retry: "Try again",
  close: "Close",
  loading: "Loading…",
  failed: "This did not work:",
  offline: "The server cannot be reached.",
  arena: arenaEn,
};

export type { Language } from "./language";
export type Strings = typeof en;

const zh: Strings = {
  otherLanguage: "EN",
  switchLanguage: "Switch to English",
  dark: "深色",
  light: "浅色",
  models: "模型",
  you: "你",
  retry: "重试",
  close: "关闭",
  loading: "加载中…",
  failed: "出错了：",
  offline: "无法连接服务器。",
  arena: arenaZh,
};

export const STRINGS: Record<Language, Strings> = { en, zh };

export const StringsContext = createContext<Strings>(en);
export const useStrings = () => useContext(StringsContext);
