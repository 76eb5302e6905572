/** Code that is fetched when it is first needed. */
import { useEffect, useState } from "preact/hooks";

export interface Lazy<T> {
  /** What it brings: undefined until it is there, null where it cannot be had (the next use tries again). */
  use: (wanted?: boolean) => T | undefined | null;
  /** Fetch it now, for a use that will come. */
  fetch: () => void;
}

export function lazily<T>(load: () => Promise<T>): Lazy<T> {
  let value: T | undefined;
  let coming: Promise<boolean> | undefined;
  const fetch = () =>
    (coming ??= load().then(
      (loaded) => {
        value = loaded;
        return true;
      },
      () => {
        coming = undefined;
        return false;
      },
    ));
  return {
    fetch: () => void fetch(),
    use(wanted = true) {
      const [state, setState] = useState<"coming" | "there" | "failed">("coming");
      useEffect(() => {
        if (!wanted || value !== undefined) return;
        let mounted = true;
        void fetch().then((there) => mounted && setState(there ? "there" : "failed"));
        return () => {
          mounted = false;
        };
      }, [wanted]);
      if (!wanted) return undefined;
      return value ?? (state === "failed" ? null : undefined);
    },
  };
}
