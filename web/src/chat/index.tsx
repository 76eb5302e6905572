/** The chat: one conversation, its composer, and everything under an answer. */
import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { SlidersIcon } from "../icons";
import { remember, rememberedModel } from "../settings";
import { cameBack } from "../shell/connection";
import { GhostIcon } from "../shell/icons";
import { IconButton, toast } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import { chooseModel, useChoices } from "./choices";
import { Composer } from "./composer";
import { Drawer, type Opened } from "./drawer";
import { BetterDialog, emptyFeedback, FeedbackDialog } from "./feedback";
import { ContextMeter, NEARLY_FULL } from "./meter";
import { AppealDialog } from "./notices";
import { ParametersPanel } from "./parameters";
import { ModelPicker, ToolPicker } from "./pickers";
import { fullness } from "./progress";
import { Scroller } from "./scroller";
import { Status } from "./status";
import { fetchMarkdown } from "./text";
import { pathVersions } from "./tree";
import { MessageList, type Actions } from "./turns";
import type { Attached, Feedback, Message, Model, Session } from "./types";
import { useConversation } from "./use-conversation";
import { Welcome } from "./welcome";

export { ReadOnlyConversation } from "./read-only";
export type { Message, Session } from "./types";

export interface ChatViewProps {
  /** The conversation to show; null is a new one. It may change while the component stays mounted. */
  conversationId: string | null;
  temporary: boolean;
  /** A message to go to and to mark; `onMessage` is told when that is done. */
  message?: string | null;
  onMessage?: () => void;
  session: Session;
  /** A new conversation was made by the first question: put its address in the bar, list it. */
  onConversation: (conversation: { id: string; title?: string }) => void;
  onTitle: (id: string, title: string) => void;
  /** Drawn at the left end of the chat's own bar (the button that opens the sidebar). */
  before?: ComponentChildren;
  /** Drawn at the right end of the chat's own bar (share, more). */
  after?: ComponentChildren;
}

type Dialogs = { kind: "feedback" | "better"; message: Message } | { kind: "appeal"; event: string } | null;

/** Fills its parent (a grid or flex cell with a height); scrolls inside. Its bar is 3rem high. */
export function ChatView(props: ChatViewProps) {
  const strings = useChatStrings();
  const choices = useChoices();
  const { store, state } = useConversation(props);
  const [opened, setOpened] = useState<Opened | null>(null);
  const [panel, setPanel] = useState(false);
  const [dialog, setDialog] = useState<Dialogs>(null);
  const [twice, setTwice] = useState(false);
  const [asked, setAsked] = useState(0);
  const [found, setFound] = useState<string | null>(null);
  const root = useRef<HTMLElement>(null);
  const names = useMemo(() => ({ models: choices.models ?? [], tools: choices.tools }), [choices.models, choices.tools]);
  const chosen = chooseModel(names.models, state.settings.model, rememberedModel());
  const writing = state.live.size > 0;
  const { shown, pair } = state;

  // What is chosen goes with every question, also where nobody chose.
  const model = useRef<Model | null>(chosen);
  model.current = chosen;
  const withModel = useCallback(
    (act: () => Promise<void>) => {
      if (!model.current) return;
      if (store.snapshot.settings.model !== model.current.id) store.configure({ model: model.current.id });
      setAsked((now) => now + 1);
      setFound(null);
      void act();
      keepFocus();
    },
    [store],
  );
  const ask = (text: string, attachments: Attached[] = []) => withModel(() => store.ask(text, attachments, twice));

  const rate = useCallback(
    async (id: string, feedback: Feedback | null) => {
      try {
        await store.rate(id, feedback);
      } catch (error) {
        toast((error as Error).message || strings.lost, { tone: "problem" });
        throw error;
      }
    },
    [store, strings],
  );

  const actions: Actions = useMemo(
    () => ({
      step(id, by) {
        const { ids, index } = pathVersions(store.snapshot.tree, [store.snapshot.tree.messages.get(id)!])[0]!;
        const to = ids[index + by];
        if (!to) return;
        store.show(to);
        // The buttons that were pressed are gone with the version: on to the same ones of the new.
        requestAnimationFrame(() => versionButton(to, by)?.focus());
      },
      edit: (id, text) => withModel(() => store.edit(id, text)),
      regenerate: (id) => withModel(() => store.regenerate(id)),
      continue: (id) => withModel(() => store.continue(id)),
      async compare(id) {
        const versions = pathVersions(store.snapshot.tree, [store.snapshot.tree.messages.get(id)!])[0]!;
        const other = versions.ids[versions.index - 1] ?? versions.ids[versions.index + 1];
        if (other) store.compare(versions.index > 0 ? [other, id] : [id, other]);
        else
          withModel(() => {
            const written = store.regenerate(id);
            const made = store.snapshot.tree.leaf;
            if (made && made !== id) store.compare([id, made]);
            return written;
          });
      },
      closeComparison: () => store.compare(null),
      async vote(choice) {
        await store.vote(choice);
        keepFocus();
      },
      rate,
      thumb(message, rating) {
        const before = message.feedback;
        if (before?.rating === rating) {
          void rate(message.id, before.better ? { ...emptyFeedback(null), better: before.better } : null).catch(() => undefined);
          return;
        }
        const feedback = { ...emptyFeedback(rating), better: before?.better ?? null };
        void rate(message.id, feedback).then(
          () => {
            const now = { ...message, feedback };
            const tell = () => setDialog({ kind: "feedback", message: now });
            if (rating === "down") tell();
            else toast(strings.thanks, { action: { label: strings.sayMore, onSelect: tell } });
          },
          () => undefined,
        );
      },
      explain: (message) => setDialog({ kind: "feedback", message }),
      improve: (message) => setDialog({ kind: "better", message }),
      appeal: (event) => setDialog({ kind: "appeal", event }),
      open: (source, from) => setOpened({ source, model: from }),
    }),
    [store, strings],
  );

  useEffect(fetchMarkdown, []);

  // What could not be had while the server was away is asked for again when it is back.
  useEffect(
    () =>
      cameBack(() => {
        if (store.snapshot.problem === "unreachable") void store.open(props.conversationId);
        if (choices.models === null) choices.reload();
      }),
    [store, props.conversationId, choices.models, choices.reload],
  );

  // What a search found, on whichever branch it is.
  useLayoutEffect(() => {
    const wanted = props.message;
    if (!wanted || state.state !== "ready" || state.id !== props.conversationId) return;
    if (store.snapshot.tree.messages.has(wanted)) {
      if (!store.snapshot.shown.some((one) => one.id === wanted)) store.show(wanted);
      setFound(wanted);
      setAsked((now) => now + 1);
    }
    props.onMessage?.();
  }, [store, props.message, props.conversationId, state.state, state.id]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
      const looking = root.current?.checkVisibility() ?? false;
      if (looking && !document.querySelector("dialog[open]")) store.stop();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [store]);

  const versions = useMemo(() => pathVersions(state.tree, shown), [shown]);
  const pairOf = useMemo(() => {
    const [left, right] = pair?.map((id) => state.tree.messages.get(id)) ?? [];
    return left && right ? ([left, right] as const) : null;
  }, [pair, state.tree]);
  const last = shown.at(-1);
  const measured = [...shown].reverse().find((message) => message.role === "assistant" && message.usage);
  const share = fullness(measured, chosen?.context);
  const context = measured?.context ?? chosen?.context ?? 0;
  const set = Object.keys(state.settings.params ?? {}).length > 0 || Boolean(state.settings.instructions || state.settings.persona_id);
  const empty = shown.length === 0;

  return (
    <main class="chat" ref={root}>
      <header class="chat-bar">
        {props.before}
        <ModelPicker
          models={names.models}
          chosen={chosen}
          onChoose={(id) => {
            remember("model", id);
            store.configure({ model: id });
          }}
        />
        {props.temporary && (
          <span class="pill temporary" data-tip={strings.temporaryHint}>
            <GhostIcon />
            <span>{strings.temporary}</span>
          </span>
        )}
        <span class="space" />
        <IconButton label={strings.parameters} class={set ? "chosen" : ""} onClick={() => {
          choices.refresh();
          setPanel(true);
        }}>
          <SlidersIcon />
        </IconButton>
        {props.after}
      </header>
      <Scroller
        label={strings.conversation}
        jump={`${props.conversationId && state.state === "ready" ? state.id : ""} ${asked}`}
        target={found}
      >
        {state.state === "failed" ? (
          <Failed missing={state.problem === "missing"} onRetry={() => void store.open(props.conversationId)} />
        ) : state.state === "loading" ? (
          <div class="welcome" aria-busy="true" />
        ) : empty ? (
          <Welcome
            models={choices.models}
            chosen={chosen}
            problem={choices.problem}
            temporary={props.temporary}
            onAsk={ask}
            onReload={choices.reload}
          />
        ) : (
          <>
            <h1 class="visually-hidden">{strings.conversation}</h1>
            <MessageList
              shown={shown}
              versions={versions}
              live={state.live}
              pair={pairOf}
              found={found}
              names={names}
              actions={actions}
            />
          </>
        )}
      </Scroller>
      {state.state !== "failed" && (
        <Composer
          writing={writing}
          disabled={!chosen || state.state === "loading"}
          caution={share !== null && share >= NEARLY_FULL ? strings.nearlyFull : chosen?.grounded ? strings.caution : strings.cautionPlain}
          draftKey={props.temporary ? null : `${props.session.person?.id ?? ""}.${props.conversationId ?? "new"}`}
          twice={twice}
          onTwice={setTwice}
          onSend={ask}
          onStop={() => store.stop()}
          tools={
            <ToolPicker
              tools={choices.tools}
              collections={choices.collections}
              settings={state.settings}
              onChange={(change) => store.configure(change)}
              onOpen={choices.refresh}
            />
          }
          meter={share !== null && measured?.usage && <ContextMeter share={share} usage={measured.usage} context={context} />}
        />
      )}
      <Status last={last} />
      {opened && <Drawer opened={opened} onClose={() => setOpened(null)} />}
      {panel && (
        <ParametersPanel
          settings={state.settings}
          personas={choices.personas}
          onChange={(change) => store.configure(change)}
          onClose={() => setPanel(false)}
        />
      )}
      {dialog?.kind === "appeal" && <AppealDialog event={dialog.event} onClose={() => setDialog(null)} />}
      {dialog?.kind === "feedback" && (
        <FeedbackDialog message={dialog.message} onSave={(feedback) => rate(dialog.message.id, feedback)} onClose={() => setDialog(null)} />
      )}
      {dialog?.kind === "better" && (
        <BetterDialog message={dialog.message} onSave={(feedback) => rate(dialog.message.id, feedback)} onClose={() => setDialog(null)} />
      )}
    </main>
  );
}

/** Where what had the focus is gone, it goes to the composer (on a phone that would raise the keyboard). */
function keepFocus() {
  requestAnimationFrame(() => {
    const lost = document.activeElement === document.body || document.activeElement === null;
    if (lost && matchMedia("(pointer: fine)").matches)
      document.querySelector<HTMLElement>(".composer textarea")?.focus({ preventScroll: true });
  });
}

function versionButton(id: string, by: -1 | 1): HTMLElement | undefined {
  const message = [...document.querySelectorAll<HTMLElement>("[data-message]")].find(
    (element) => element.dataset["message"] === id,
  );
  return [...(message?.querySelectorAll<HTMLElement>(".versions button") ?? [])].at(by < 0 ? 0 : 1);
}

function Failed(props: { missing: boolean; onRetry: () => void }) {
  const strings = useChatStrings();
  return (
    <div class="welcome">
      <h1>{props.missing ? strings.noSuchConversation : strings.unreachable}</h1>
      <p>{props.missing ? strings.noSuchConversationHint : strings.unreachableHint}</p>
      {!props.missing && (
        <button type="button" class="outlined" onClick={props.onRetry}>
          {strings.retry}
        </button>
      )}
    </div>
  );
}
