import { BackwardIcon, ForwardIcon } from "../icons";
import { useChatStrings } from "../strings-chat";

/** ‹ 2/3 ›: which of several versions of a message is shown. Nothing where there is one. */
export function VersionSwitch(props: { index: number; count: number; onStep: (by: -1 | 1) => void }) {
  const strings = useChatStrings();
  const { index, count } = props;
  if (count < 2) return null;
  return (
    <div class="versions" role="group" aria-label={strings.versions}>
      <button
        type="button"
        class="round small"
        aria-label={strings.earlierVersion}
        aria-disabled={index === 0}
        data-tip={strings.earlierVersion}
        onClick={() => index > 0 && props.onStep(-1)}
      >
        <BackwardIcon />
      </button>
      <span aria-label={strings.version(index + 1, count)} role="img">
        {index + 1}/{count}
      </span>
      <button
        type="button"
        class="round small"
        aria-label={strings.laterVersion}
        aria-disabled={index === count - 1}
        data-tip={strings.laterVersion}
        onClick={() => index < count - 1 && props.onStep(1)}
      >
        <ForwardIcon />
      </button>
    </div>
  );
}
