import { Logo } from "../icons";
import { GhostIcon } from "../shell/icons";
import { useChatStrings } from "../strings-chat";
import type { Model } from "./types";

/** The empty conversation: who answers, and what one could ask. */
export function Welcome(props: {
  models: Model[] | null;
  chosen: Model | null;
  problem: boolean;
  temporary: boolean;
  onAsk: (question: string) => void;
  onReload: () => void;
}) {
  const strings = useChatStrings();
  const { chosen } = props;
  if (props.problem)
    return (
      <div class="welcome">
        <Logo />
        <p class="problem" role="alert">
          {strings.unreachable}
        </p>
        <button type="button" class="outlined" onClick={props.onReload}>
          {strings.retry}
        </button>
      </div>
    );
  if (!props.models) return <div class="welcome" aria-busy="true" />;
  if (!chosen)
    return (
      <div class="welcome">
        <Logo />
        <h1>{strings.nothingServed}</h1>
        <p>
          {strings.nothingServedHint} <code>chatwright build recipes/quickstart.yaml</code>
        </p>
      </div>
    );
  return (
    <div class="welcome">
      {props.temporary ? <GhostIcon /> : <Logo />}
      <h1>{props.temporary ? strings.temporary : chosen.title}</h1>
      <p>
        {props.temporary
          ? strings.temporaryHint
          : chosen.description || (chosen.grounded ? strings.groundedHint : strings.emptyHint)}
      </p>
      {chosen.examples.length > 0 && !props.temporary && (
        <section aria-label={strings.examples}>
          <h2>{strings.examples}</h2>
          <ul class="examples">
            {chosen.examples.slice(0, 4).map((example) => (
              <li key={example}>
                <button type="button" onClick={() => props.onAsk(example)}>
                  {example}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}
