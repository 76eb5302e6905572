/** Code that is fetched when it is first needed. */
import { useEffect, useState } from "preact/hooks";

/** A hook for what `load` brings: undefined until it is there (or for good, where it cannot be had). */
export function lazily<T>(load: () => Promise<T>): (wanted: boolean) => T | undefined {
  let value: T | undefined;
  let coming: Promise<void> | undefined;
  return function useLazy(wanted) {
    const [, redraw] = useState(value !== undefined);
    useEffect(() => {
      if (!wanted || value !== undefined) return;
      let mounted = true;
      coming ??= load().then(
        (loaded) => void (value = loaded),
        () => void (coming = undefined), // the next one to need it tries again
      );
      void coming.then(() => mounted && redraw(true));
      return () => {
        mounted = false;
      };
    }, [wanted]);
    return wanted ? value : undefined;
  };
}
