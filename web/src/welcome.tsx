import type { Model } from "./api";
import { Logo } from "./icons";
import { useStrings } from "./strings";

/** The empty conversation: who answers, and what one could ask. */
export function Welcome(props: {
  models: Model[] | null;
  chosen: Model | null;
  problem: boolean;
  onAsk: (question: string) => void;
  onReload: () => void;
}) {
  const strings = useStrings();
  const { chosen } = props;
  if (props.problem)
    return (
      <div class="welcome">
        <Logo />
        <p class="problem" role="alert">
          {strings.offline}
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
      <Logo />
      <h1>{chosen.title}</h1>
      <p>{chosen.description || (chosen.grounded ? strings.groundedHint : strings.emptyHint)}</p>
      {chosen.examples.length > 0 && (
        <section aria-label={strings.examples}>
          <h2>{strings.examples}</h2>
          <ul class="examples">
            {chosen.examples.map((example) => (
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
