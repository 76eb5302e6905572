import { useEffect, useRef, useState } from "preact/hooks";
import { chatApi } from "./api";
import { ChatStore, type Snapshot, type Told } from "./store";

/** The store of the conversation shown, and its state as of now. */
export function useConversation(
  props: { conversationId: string | null; temporary: boolean } & Told,
): { store: ChatStore; state: Snapshot } {
  // The callbacks may be new ones at every drawing; the store stays.
  const told = useRef<Told>(props);
  told.current = props;
  const held = useRef<ChatStore | null>(null);
  if (held.current?.temporary !== props.temporary) {
    held.current?.close();
    const tell: Told = {
      onConversation: (conversation) => told.current.onConversation(conversation),
      onTitle: (id, title) => told.current.onTitle(id, title),
    };
    held.current = new ChatStore(chatApi, tell, props.temporary);
  }
  const store = held.current!;
  const [, redraw] = useState({});

  useEffect(() => {
    const unsubscribe = store.subscribe(() => redraw({}));
    return () => {
      unsubscribe();
      store.close();
      if (held.current === store) held.current = null;
    };
  }, [store]);
  useEffect(() => {
    // The address of a conversation that was just made here: it is shown already.
    void store.open(props.conversationId);
  }, [store, props.conversationId]);

  return { store, state: store.snapshot };
}
