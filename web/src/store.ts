/** A value that several parts of the page look at, and are drawn again when it changes. */
import { useEffect, useState } from "preact/hooks";

export interface Store<T> {
  get: () => T;
  set: (next: T) => void;
  update: (change: (now: T) => T) => void;
  subscribe: (listener: () => void) => () => void;
}

export function createStore<T>(first: T): Store<T> {
  let value = first;
  const listeners = new Set<() => void>();
  const set = (next: T) => {
    if (Object.is(next, value)) return;
    value = next;
    for (const listener of [...listeners]) listener();
  };
  return {
    get: () => value,
    set,
    update: (change) => set(change(value)),
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

export function useStore<T>(store: Store<T>): T {
  const [value, setValue] = useState(store.get());
  useEffect(() => {
    const look = () => setValue(() => store.get());
    look(); // it may have changed between drawing and now
    return store.subscribe(look);
  }, [store]);
  return value;
}
