/** Every word of the page, in English and Chinese. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { arenaEn, arenaZh } from "./arena-strings";

export const LANGUAGES = ["en", "zh"] as const;
export type Language = (typeof LANGUAGES)[number];

const en = {
  otherLanguage: "中文",
  switchLanguage: "切换到中文",
  newChat: "New chat",
  dark: "Dark colours",
  light: "Light colours",
  choose: "Assistant or model",
  assistants: "Assistants",
  models: "Models",
  emptyHint: "Ask a question to begin.",
  groundedHint: "Answers come from its documents and show their sources.",
  examples: "Try one of these",
  placeholder: "Ask a question",
  send: "Send",
  stop: "Stop",
  keys: "Enter sends, Shift+Enter starts a new line, Escape stops.",
  caution: "Answers can be wrong. Open the sources to check.",
  cautionPlain: "Answers can be wrong. Check what matters.",
  conversation: "Conversation",
  you: "You",
  writing: "Writing…",
  writingStatus: "The answer is being written.",
  stoppedStatus: "Stopped.",
  stopped: "You stopped this answer.",
  cutOff: "The answer reached its length limit and ends early.",
  noSource: "This answer cites no source.",
  sources: "Sources",
  shown: "Passages it was shown",
  source: (n: number, title: string) => `Source ${n}: ${title}`,
  openSource: (n: number, title: string) => `Open source ${n}: ${title}`,
  leftOut: "Left out",
  copy: "Copy",
  copied: "Copied",
  code: "code",
  copyAnswer: "Copy answer",
  retry: "Try again",
  latest: "Go to the latest",
  close: "Close",
  passage: "The passage",
  openPage: "Open the page",
  lineage: "Where it comes from",
  page: "Page",
  collection: "Collected from",
  licence: "Licence",
  language: "Language",
  collectedAt: "Dated",
  pageId: "Page id",
  unknown: "not stated",
  path: "The way it took",
  rows: (n: number) => `${n.toLocaleString("en")} ${n === 1 ? "row" : "rows"}`,
  stepMissing: "no longer on this machine",
  actions: { keep: "kept", drop: "dropped", edit: "edited", merge: "merged" } as Record<string, string>,
  loading: "Loading…",
  nothingServed: "There is nothing to talk to yet.",
  nothingServedHint: "Build an assistant first:",
  lost: "The connection to the server was lost.",
  failed: "This did not work:",
  offline: "The server cannot be reached.",
  arena: arenaEn,
};

export type Strings = typeof en;

const zh: Strings = {
  otherLanguage: "EN",
  switchLanguage: "Switch to English",
  newChat: "新对话",
  dark: "深色",
  light: "浅色",
  choose: "助手或模型",
  assistants: "助手",
  models: "模型",
  emptyHint: "提个问题，开始对话。",
  groundedHint: "回答取自它的资料，并注明出处。",
  examples: "可以这样问",
  placeholder: "输入问题",
  send: "发送",
  stop: "停止",
  keys: "按 Enter 发送，Shift+Enter 换行，Esc 停止。",
  caution: "回答可能有误，请打开来源核对。",
  cautionPlain: "回答可能有误，重要内容请核实。",
  conversation: "对话",
  you: "你",
  writing: "正在回答…",
  writingStatus: "正在生成回答。",
  stoppedStatus: "已停止。",
  stopped: "你停止了这个回答。",
  cutOff: "回答达到长度上限，到此为止。",
  noSource: "这个回答没有引用来源。",
  sources: "来源",
  shown: "它读到的段落",
  source: (n, title) => `来源 ${n}：${title}`,
  openSource: (n, title) => `打开来源 ${n}：${title}`,
  leftOut: "未包含的内容",
  copy: "复制",
  copied: "已复制",
  code: "代码",
  copyAnswer: "复制回答",
  retry: "重试",
  latest: "回到最新",
  close: "关闭",
  passage: "原文段落",
  openPage: "打开原网页",
  lineage: "出处",
  page: "页面",
  collection: "采集自",
  licence: "许可",
  language: "语言",
  collectedAt: "日期",
  pageId: "页面编号",
  unknown: "未注明",
  path: "经过的步骤",
  rows: (n) => `${n.toLocaleString("zh")} 行`,
  stepMissing: "本机已没有这份数据",
  actions: { keep: "保留", drop: "删除", edit: "修改", merge: "合并" },
  loading: "加载中…",
  nothingServed: "还没有可以对话的助手。",
  nothingServedHint: "请先构建一个助手：",
  lost: "与服务器的连接断开了。",
  failed: "出错了：",
  offline: "无法连接服务器。",
  arena: arenaZh,
};

export const STRINGS: Record<Language, Strings> = { en, zh };

export const StringsContext = createContext<Strings>(en);
export const useStrings = () => useContext(StringsContext);

/** The first language that the browser asks for and the page speaks. */
export function preferredLanguage(asked: readonly string[]): Language {
  for (const tag of asked) {
    const language = tag.toLowerCase().split("-")[0];
    if (language === "zh" || language === "en") return language;
  }
  return "en";
}
