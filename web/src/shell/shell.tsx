/** The frame of the page for somebody who is signed in: sidebar, chat, and the views beside it. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ChatView } from "../chat";
import { navigate, type Place } from "../router";
import { remember, stored } from "../settings";
import { useStore } from "../store";
import type { Session } from "../session";
import { useShell } from "../strings-shell";
import { cameBack, Connection } from "./connection";
import { ConversationDialogs, conversationItems, openDialog } from "./conversation-menu";
import { NameInput } from "./chat-list";
import * as store from "./history-store";
import { ComposeIcon, MoreIcon, ShareIcon, SidebarIcon } from "./icons";
import { lazy } from "./lazy";
import { EmptyState, IconButton, Dialog, Menu } from "./parts";
import { Palette } from "./palette";
import { Sidebar } from "./sidebar";

const Settings = lazy(() => import("../account/settings").then((m) => m.Settings));
const Admin = lazy(() => import("../admin/admin").then((m) => m.Admin));
const Knowledge = lazy(() => import("../knowledge/knowledge").then((m) => m.Knowledge));

const NARROW = "(max-width: 52rem)";

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const query = matchMedia(NARROW);
    const change = () => setNarrow(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  return narrow;
}

export function Shell(props: { session: Session; place: Place }) {
  const strings = useShell();
  const narrow = useNarrow();
  const [wide, setWide] = useState(() => stored("sidebar") !== "closed"); // the column
  const [drawer, setDrawer] = useState(false); // the same on a phone
  const [palette, setPalette] = useState(false);
  const { place } = props;
  const chatting = place.view === "chat";
  // The chat stays as it is, with what was typed, while another view is looked at.
  const [chat, setChat] = useState<Extract<Place, { view: "chat" }>>(
    place.view === "chat" ? place : { view: "chat", id: null, temporary: false },
  );
  if (place.view === "chat" && (place.id !== chat.id || place.temporary !== chat.temporary)) setChat(place);

  useEffect(() => {
    void store.reloadHistory();
    addEventListener("pagehide", store.finishDeleting);
    const stop = cameBack(() => void store.reloadHistory());
    return () => {
      stop();
      removeEventListener("pagehide", store.finishDeleting);
      store.forgetHistory();
    };
  }, [props.session.person?.id]);

  const setSidebar = (open: boolean) => {
    if (narrow) setDrawer(open);
    else {
      setWide(open);
      remember("sidebar", open ? "open" : "closed");
    }
  };

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || event.isComposing) return;
      if (document.querySelector("dialog[open]")) return;
      const key = event.key.toLowerCase();
      if (key === "k" && !event.shiftKey) setPalette(true);
      else if (key === "o" && event.shiftKey) navigate("/");
      else if (key === "s" && event.shiftKey && chatting) setSidebar(narrow ? !drawer : !wide);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  const { conversations } = useStore(store.history);
  const conversation = conversations.find((one) => one.id === chat.id) ?? null;
  useEffect(() => {
    if (!chatting) return;
    const title = chat.id ? store.titleOf(conversation) : chat.temporary ? strings.temporary : "";
    document.title = title ? `${title} · Chatwright` : "Chatwright";
  }, [chatting, chat.id, chat.temporary, conversation?.title, strings]);

  const closeDrawer = () => setDrawer(false);
  const sidebar = (
    <Sidebar
      current={chatting ? chat.id : null}
      fresh={chatting && chat.id === null}
      temporary={chatting && chat.temporary}
      onClose={() => setSidebar(false)}
      onSearch={() => {
        closeDrawer();
        setPalette(true);
      }}
      onOpened={closeDrawer}
    />
  );

  const before = (narrow || !wide) && (
    <>
      <IconButton label={strings.openSidebar} aria-keyshortcuts="Control+Shift+S" onClick={() => setSidebar(true)}>
        <SidebarIcon />
      </IconButton>
      <a class="round" href="/" aria-label={strings.newChat} data-tip={strings.newChat}>
        <ComposeIcon />
      </a>
    </>
  );

  return (
    <div class="shell">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault(); // what is shown has the focus, and the address stays as it is
          document.querySelector<HTMLElement>(".chat-pane:not([hidden]), .sections-main, .view-alone")?.focus();
        }}
      >
        {strings.skip}
      </a>
      <Connection />
      <div class="shell-body">
        {!narrow && wide && (
          <aside class="sidebar" aria-label={strings.sidebar} hidden={!chatting}>
            {sidebar}
          </aside>
        )}
        {narrow && drawer && chatting && (
          <Drawer label={strings.sidebar} onClose={closeDrawer}>
            {sidebar}
          </Drawer>
        )}
        <div id="main" class="chat-pane" tabIndex={-1} hidden={!chatting}>
          <ChatView
            conversationId={chat.id}
            temporary={chat.temporary}
            message={place.view === "chat" ? (place.message ?? null) : null}
            onMessage={() => chat.id && navigate(`/c/${encodeURIComponent(chat.id)}`, { replace: true })}
            session={props.session}
            onConversation={(made) => {
              store.noteConversation(made);
              navigate(`/c/${encodeURIComponent(made.id)}`, { replace: chat.id === null });
            }}
            onTitle={(id, title) => store.noteConversation({ id, title })}
            before={before || undefined}
            after={conversation ? <ChatActions key={conversation.id} id={conversation.id} /> : undefined}
          />
        </div>
        {place.view === "settings" && <Settings section={place.section} />}
        {place.view === "admin" && <Admin section={place.section} />}
        {place.view === "knowledge" && <Knowledge />}
        {!["chat", "settings", "admin", "knowledge"].includes(place.view) && (
          <main class="view-alone" tabIndex={-1}>
            <EmptyState whole title={strings.notFound}>
              <a class="outlined" href="/">
                {strings.toChats}
              </a>
            </EmptyState>
          </main>
        )}
      </div>
      {palette && <Palette onClose={() => setPalette(false)} />}
      <ConversationDialogs />
    </div>
  );
}

/** The sidebar on a phone: above the chat, with the focus inside, gone by Escape or a press beside it. */
function Drawer(props: { label: string; onClose: () => void; children: preact.ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    element.current!.showModal();
    return () => {
      element.current?.close();
      if (before?.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog
      ref={element}
      class="side-drawer"
      aria-label={props.label}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onKeyDown={(event) => event.key === "Escape" && event.stopPropagation()}
      onPointerDown={(event) => event.target === element.current && props.onClose()}
    >
      {props.children}
    </dialog>
  );
}

/** At the right end of the chat's bar. */
function ChatActions(props: { id: string }) {
  const strings = useShell();
  const [naming, setNaming] = useState(false);
  const one = useStore(store.history).conversations.find((other) => other.id === props.id);
  if (!one) return null;
  const title = store.titleOf(one);
  return (
    <>
      <IconButton label={strings.share} onClick={() => openDialog({ kind: "share", conversation: one })}>
        <ShareIcon />
      </IconButton>
      <Menu
        label={strings.actionsFor(title)}
        align="end"
        items={() =>
          conversationItems(one, strings, {
            onRename: () => setNaming(true),
            onRemove: () => {
              navigate("/");
              store.remove(one);
            },
          })
        }
      >
        {(trigger) => (
          <button {...trigger} type="button" class="round" aria-label={strings.actionsFor(title)}>
            <MoreIcon />
          </button>
        )}
      </Menu>
      {naming && (
        <Dialog title={strings.rename} size="small" onClose={() => setNaming(false)}>
          <NameInput
            label={strings.titleOf}
            value={one.title}
            onDone={(name) => {
              setNaming(false);
              if (name) void store.change(one.id, { title: name });
            }}
          />
        </Dialog>
      )}
    </>
  );
}
