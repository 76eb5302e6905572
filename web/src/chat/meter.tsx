import { useLang } from "../settings";
import { useChatStrings } from "../strings-chat";
import type { Usage } from "./types";

const AROUND = 2 * Math.PI * 7;
export const NEARLY_FULL = 0.8;

/** How much of the model's window the conversation fills. */
export function ContextMeter(props: { share: number; usage: Usage; context: number }) {
  const strings = useChatStrings();
  const language = useLang();
  const { share, usage, context } = props;
  const number = (value: number) => value.toLocaleString(language);
  const percent = Math.round(share * 100);
  const used = usage.prompt_tokens + usage.completion_tokens;
  const label = strings.contextUsed(percent, number(used), number(context));
  return (
    <span
      class={share >= NEARLY_FULL ? "meter nearly-full" : "meter"}
      role="meter"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      aria-label={label}
      data-tip={label}
      tabIndex={0}
    >
      <svg viewBox="0 0 18 18" aria-hidden="true" focusable="false">
        <circle class="meter-track" cx="9" cy="9" r="7" />
        <circle class="meter-part" cx="9" cy="9" r="7" stroke-dasharray={`${share * AROUND} ${AROUND}`} />
      </svg>
      <span aria-hidden="true">{language === "zh" ? `${percent}%` : `${percent} %`}</span>
    </span>
  );
}
