import type { Turn } from "./conversation";
import { useStrings } from "./strings";

/**
 * What a screen reader hears: that an answer is being written, then the answer once, whole.
 * (A live region around the streaming text itself would read every piece, or start over each time.)
 */
export function Status(props: { turns: Turn[] }) {
  const strings = useStrings();
  const last = props.turns.at(-1);
  let text = "";
  if (last?.role === "assistant") {
    if (last.state === "writing") text = strings.writingStatus;
    else if (last.state === "stopped") text = strings.stoppedStatus;
    else if (last.state === "done") text = last.text;
  }
  return (
    <div class="visually-hidden" role="status" aria-live="polite">
      {text}
    </div>
  );
}
