/** What the server says in English, in the page's language: notes beside an answer, errors, tools. */
import type { Language } from "../strings";

// The notes of assist/answer.py and serve/runs/prompt.py. One that is not here is shown as it came.
const NOTES: readonly [RegExp, (...found: string[]) => string][] = [
  [/^No passage holds any word of the question/, () => "没有段落包含问题中的词，因此未提供资料。"],
  [
    /^The (?:(\d+) )?earliest messages? of this conversation did not fit/,
    (count) => `这个对话最早的 ${count || 1} 条消息超出了模型的上下文，未包含在内。`,
  ],
  [/^(\d+|One) passages? that the search found did not fit/, (count) => `检索到的 ${number(count)} 个段落放不下，未包含在内。`],
  [/^Passages? (.+) (?:was|were) shown in part/, (which) => `段落 ${list(which)} 只包含了与问题最相关的句子。`],
  [
    /^Of the file (.+) only the first (\d+) % fit/,
    (name, percent) => `文件“${name}”只有前 ${percent}% 放进了模型的上下文。`,
  ],
];

const number = (count: string) => (count === "One" ? "1" : count);
const list = (which: string) => which.replace(/,? and /g, "、").replace(/, /g, "、");

export function noteIn(language: Language, note: string): string {
  if (language !== "zh") return note;
  for (const [pattern, say] of NOTES) {
    const found = pattern.exec(note);
    if (found) return say(...found.slice(1).map((one) => one ?? ""));
  }
  return note;
}

const ERRORS: Record<string, string> = {
  server_error: "服务器生成回答时出错了。",
  context_length_exceeded: "问题太长，超出了模型的上下文。",
  model_not_ready: "模型无法加载。",
  model_not_found: "这个模型已不在这台服务器上。",
  disk_full: "服务器磁盘已满，内容没有保存。",
  database_busy: "数据库正忙，请稍后再试。",
  database_unavailable: "数据库暂时不可用，请稍后再试。",
  rate_limit_exceeded: "请求太频繁，请稍后再试。",
  server_busy: "服务器正忙，请稍后再试。",
  too_many_runs: "同时生成的回答太多，请等一个完成后再试。",
  unsupported_file: "不能读取这种文件，请上传 Markdown、文本、HTML、PDF 或 Word 文件。",
  file_too_large: "文件太大。",
  file_unreadable: "文件已损坏或加了密码，无法读取。",
  file_empty: "文件里没有文字。",
  still_writing: "这个回答还在生成，请稍候。",
};

/** An error in the page's own words, or null where only the server's are there. */
export function errorIn(language: Language, code: string | undefined): string | null {
  return language === "zh" && Object.hasOwn(ERRORS, code ?? "") ? ERRORS[code!]! : null;
}

const TOOLS: Record<string, string> = {
  calculator: "计算算式，例如 (3 + 4) * 2.5。",
  current_date: "说出某个时区现在的日期、星期和时间。",
  date_difference: "计算两个日期之间的天数。",
  add_days: "推算若干天之后或之前的日期。",
  convert_units: "换算长度、质量、温度、速度、数据量等单位。",
  search_knowledge: "在你的文档和共享知识库中查找相关段落。",
  list_orders: "列出你在演示商店里的订单。",
  look_up_order: "按订单号查询演示商店里的订单状态。",
  weather: "查询某地今天或未来几天的天气，数据是编造的。",
  home_state: "查看模拟智能家居的设备状态。",
  home_switch: "控制模拟智能家居的设备：开关、上锁、调节亮度或温度。",
};

/** What a tool does; its own words where the page has none for it. */
export function toolIn(language: Language, name: string, description: string): string {
  return (language === "zh" && Object.hasOwn(TOOLS, name) && TOOLS[name]) || description;
}
