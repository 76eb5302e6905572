/** A view in a file of its own, fetched when it is first shown. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { cameBack } from "./connection";
import { useShell } from "../strings-shell";
import { Button, EmptyState, Waiting } from "./parts";
import { WarnIcon } from "./icons";

export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let Found: ComponentType<P> | null = null;
  let under: Promise<unknown> | null = null;
  return function Lazy(props: P) {
    const strings = useShell();
    const [state, setState] = useState<"waiting" | "there" | "failed">(Found ? "there" : "waiting");
    const fetchIt = () => {
      setState("waiting");
      under ??= load().then((found) => void (Found = found));
      under.then(
        () => setState("there"),
        () => {
          under = null;
          setState("failed");
        },
      );
    };
    useEffect(() => {
      if (!Found) fetchIt();
      return cameBack(() => !Found && fetchIt());
    }, []);
    if (Found) return <Found {...props} />;
    if (state === "failed")
      return (
        <EmptyState icon={<WarnIcon />} title={strings.viewFailed}>
          {/* The server may have a newer page with other files: load it whole. */}
          <Button onClick={() => location.reload()}>{strings.retry}</Button>
        </EmptyState>
      );
    return (
      <div class="view-waiting">
        <Waiting lines={4} label={strings.loading} />
      </div>
    );
  };
}
