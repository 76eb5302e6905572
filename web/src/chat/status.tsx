import { useChatStrings } from "../strings-chat";
import type { Message } from "./types";

// A longer answer is not read out unasked: that it is there is said.
const READ_OUT = 600;

/**
 * What a screen reader hears: that an answer is being written, then that it is there, and a short one
 * whole. (A live region around the growing text would read every piece, or start over each time.)
 */
export function Status(props: { last: Message | undefined }) {
  const strings = useChatStrings();
  const { last } = props;
  let text = "";
  if (last?.role === "assistant") {
    if (last.status === "writing") text = strings.writingStatus;
    else if (last.status === "stopped") text = strings.stoppedStatus;
    else if (last.status === "done") text = last.text.length <= READ_OUT ? spoken(last.text) : strings.doneStatus;
  }
  return (
    <div class="visually-hidden" role="status" aria-live="polite">
      {text}
    </div>
  );
}

/** Without the signs of Markdown, which would be read out one by one. */
export function spoken(text: string): string {
  return text
    .replace(/!?\[([^\]\n]*)\]\([^)\n]*\)/g, "$1")
    .replace(/^(?:#{1,6}|>|[-*+]|```.*)(?: |$)/gm, "")
    .replace(/\*\*|__|`+|\$\$?/g, "");
}
