/** The chats of the sidebar: folders, date groups, and a row for each. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Conversation, Named } from "../clients/history";
import { navigate } from "../router";
import { useLang } from "../settings";
import { createStore, useStore } from "../store";
import { useShell } from "../strings-shell";
import { ChevronIcon } from "../icons";
import { conversationItems } from "./conversation-menu";
import { groupByDate } from "./groups";
import * as store from "./history-store";
import { FolderIcon, MoreIcon, PencilIcon, TrashIcon } from "./icons";
import { Button, confirm, EmptyState, Menu, Waiting } from "./parts";
import { attempt } from "./problem";

const DRAGGED = "application/x-chatwright-conversation";

/** Where a dragged chat may be dropped; `onDrop` gets it. */
function useDrop(onDrop: (one: Conversation) => void) {
  const [over, setOver] = useState(false);
  const ours = (event: DragEvent) => event.dataTransfer?.types.includes(DRAGGED);
  return {
    over,
    drop: {
      onDragOver: (event: DragEvent) => {
        if (!ours(event)) return;
        event.preventDefault();
        setOver(true);
      },
      onDragLeave: (event: DragEvent) => {
        const inside = event.relatedTarget as Node | null;
        if (!(event.currentTarget as Node).contains(inside)) setOver(false);
      },
      onDrop: (event: DragEvent) => {
        setOver(false);
        if (!ours(event)) return;
        event.preventDefault();
        event.stopPropagation();
        const one = store.find(event.dataTransfer!.getData(DRAGGED));
        if (one) onDrop(one);
      },
    },
  };
}

/** One line in which a name is typed: Enter keeps it, Escape leaves it, and so does going away empty. */
export function NameInput(props: { label: string; value: string; onDone: (name: string | null) => void }) {
  const field = useRef<HTMLInputElement>(null);
  const done = useRef(false);
  useLayoutEffect(() => {
    field.current?.focus(); // before the next key
    field.current?.select();
  }, []);
  const finish = (keep: boolean) => {
    if (done.current) return;
    done.current = true;
    const name = field.current!.value.trim();
    props.onDone(keep && name && name !== props.value ? name : null);
  };
  return (
    <input
      ref={field}
      class="name-input"
      aria-label={props.label}
      defaultValue={props.value}
      maxLength={200}
      onBlur={() => finish(true)}
      onKeyDown={(event) => {
        event.stopPropagation();
        if (event.isComposing || event.keyCode === 229) return;
        if (event.key === "Enter" || event.key === "Escape") {
          event.preventDefault();
          finish(event.key === "Enter");
        }
      }}
    />
  );
}

function Row(props: {
  one: Conversation;
  current: boolean;
  reached: boolean; // the one row that Tab leads to
  onOpen: () => void;
  onRemove: (one: Conversation) => void;
}) {
  const strings = useShell();
  const [naming, setNaming] = useState(false);
  const [menu, setMenu] = useState(false);
  const link = useRef<HTMLAnchorElement>(null);
  const title = store.titleOf(props.one);
  const { one } = props;

  if (naming)
    return (
      <li class="chat-row">
        <NameInput
          label={strings.titleOf}
          value={one.title}
          onDone={(name) => {
            setNaming(false);
            if (name) void store.change(one.id, { title: name });
            requestAnimationFrame(() => link.current?.focus());
          }}
        />
      </li>
    );
  return (
    <li
      class={`chat-row${props.current ? " current" : ""}${menu ? " open" : ""}`}
      draggable
      onDragStart={(event) => {
        event.dataTransfer!.setData(DRAGGED, one.id);
        event.dataTransfer!.effectAllowed = "move";
      }}
    >
      <a
        ref={link}
        class="chat-link"
        href={`/c/${encodeURIComponent(one.id)}`}
        aria-current={props.current ? "page" : undefined}
        tabIndex={props.reached ? 0 : -1}
        draggable={false}
        dir="auto"
        title={title}
        onClick={props.onOpen}
        onDblClick={() => setNaming(true)}
        onKeyDown={(event) => {
          if (event.key === "F2") setNaming(true);
          else if (event.key === "Delete") props.onRemove(one);
          else return;
          event.preventDefault();
        }}
      >
        {title}
      </a>
      <Menu
        label={strings.actionsFor(title)}
        align="end"
        onOpen={setMenu}
        items={() =>
          conversationItems(one, strings, { onRename: () => setNaming(true), onRemove: () => props.onRemove(one) })
        }
      >
        {(trigger) => (
          <button
            {...trigger}
            type="button"
            class="round row-more"
            tabIndex={props.reached ? 0 : -1}
            aria-label={strings.actionsFor(title)}
          >
            <MoreIcon />
          </button>
        )}
      </Menu>
    </li>
  );
}

function FolderRow(props: {
  folder: Named;
  chats: Conversation[];
  row: (one: Conversation) => ComponentChildren;
  startOpen: boolean;
}) {
  const strings = useShell();
  const [open, setOpen] = useState(props.startOpen);
  const [loaded, setLoaded] = useState(false);
  const [naming, setNaming] = useState(false);
  const { over, drop } = useDrop((one) => void store.moveTo(one, props.folder).then(() => setOpen(true)));
  const { folder } = props;

  useEffect(() => {
    if (open && !loaded) void attempt(() => store.loadFolder(folder.id)).then(() => setLoaded(true));
  }, [open]);

  async function remove() {
    const yes = await confirm({
      title: strings.deleteFolder,
      text: strings.deleteFolderText(folder.name),
      action: strings.delete,
      danger: true,
    });
    if (yes && (await store.deleteNamed("folders", folder.id))) void store.reloadHistory();
  }

  return (
    <li class={over ? "folder over" : "folder"} {...drop}>
      {naming ? (
        <NameInput
          label={strings.folderName}
          value={folder.name}
          onDone={(name) => {
            setNaming(false);
            if (name) void store.renameNamed("folders", folder.id, name);
          }}
        />
      ) : (
        <div class="chat-row">
          <button type="button" class="folder-name" aria-expanded={open} onClick={() => setOpen(!open)}>
            <FolderIcon />
            <span dir="auto">{folder.name}</span>
            <ChevronIcon />
          </button>
          <Menu
            label={strings.actionsFor(folder.name)}
            align="end"
            items={[
              { label: strings.renameFolder, icon: <PencilIcon />, onSelect: () => setNaming(true) },
              "line",
              { label: strings.deleteFolder, icon: <TrashIcon />, danger: true, onSelect: remove },
            ]}
          >
            {(trigger) => (
              <button {...trigger} type="button" class="round row-more" aria-label={strings.actionsFor(folder.name)}>
                <MoreIcon />
              </button>
            )}
          </Menu>
        </div>
      )}
      {open && (
        <ul class="folder-chats">
          {props.chats.map(props.row)}
          {!props.chats.length && (loaded ? <li class="note folder-empty">{strings.noneInFolder}</li> : null)}
        </ul>
      )}
    </li>
  );
}

export function ChatList(props: { current: string | null; onOpen: () => void }) {
  const strings = useShell();
  const language = useLang();
  const now = useStore(store.history);
  const [reached, setReached] = useState<string | null>(null);
  const naming = useStore(namingFolder);
  const end = useRef<HTMLDivElement>(null);
  const nav = useRef<HTMLElement>(null);
  const plain = !now.filter.archived && !now.filter.tag;

  const shown = now.conversations.filter(
    (one) =>
      !now.hidden.has(one.id) &&
      one.archived === now.filter.archived &&
      (!now.filter.tag || one.tags.includes(now.filter.tag)),
  );
  const inFolder = (id: string) =>
    shown
      .filter((one) => one.folder_id === id)
      .sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at));
  const known = new Set(now.folders.map((one) => one.id));
  const loose = shown.filter(
    (one) => now.listed.has(one.id) && !(plain && one.folder_id && known.has(one.folder_id)),
  );
  const groups = groupByDate(loose, new Date(), language, strings);
  const { over, drop } = useDrop((one) => void store.moveTo(one, null));

  // The list goes on when its end comes near.
  useEffect(() => {
    const element = end.current;
    if (!element) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && void store.loadMore(),
      { rootMargin: "400px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [now.next, now.loading, now.complete, now.filter]);

  const first = shown.find((one) => one.id === (reached ?? props.current)) ?? groups[0]?.conversations[0];

  function remove(one: Conversation) {
    if (one.id === props.current) navigate("/");
    store.remove(one);
  }

  const row = (one: Conversation) => (
    <Row
      key={one.id}
      one={one}
      current={one.id === props.current}
      reached={one.id === first?.id}
      onOpen={props.onOpen}
      onRemove={remove}
    />
  );

  function onKeyDown(event: KeyboardEvent) {
    const links = [...nav.current!.querySelectorAll<HTMLElement>(".chat-link, .folder-name")];
    const at = links.indexOf(document.activeElement as HTMLElement);
    if (at < 0) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    links[Math.max(0, Math.min(to, links.length - 1))]?.focus();
  }

  function onFocus(event: FocusEvent) {
    const href = (event.target as Element).closest?.(".chat-link")?.getAttribute("href");
    if (href) setReached(decodeURIComponent(href.slice(3)));
  }

  return (
    <nav ref={nav} class="chats" aria-label={strings.chats} onKeyDown={onKeyDown} onFocusIn={onFocus}>
      <Filters />
      {plain && (now.folders.length > 0 || naming) && (
        <section class="chat-group">
          <h2 class="group-title">{strings.folders}</h2>
          <ul>
            {now.folders.map((folder) => (
              <FolderRow
                key={folder.id}
                folder={folder}
                chats={inFolder(folder.id)}
                row={row}
                startOpen={store.find(props.current)?.folder_id === folder.id}
              />
            ))}
          </ul>
        </section>
      )}
      {naming && <NewFolder />}
      <div class={over ? "loose over" : "loose"} {...drop}>
        {groups.map((group) => (
          <section key={group.key} class="chat-group">
            <h2 class="group-title">{group.label}</h2>
            <ul>{group.conversations.map(row)}</ul>
          </section>
        ))}
      </div>
      {now.complete && loose.length === 0 && (
        <EmptyState
          title={plain ? strings.noChats : strings.noneInFilter}
          text={plain ? strings.noChatsHint : undefined}
        />
      )}
      {now.problem && (
        <div class="chats-problem">
          <p class="note" role="alert">
            {strings.loadFailed}
          </p>
          <Button onClick={() => void store.loadMore()}>{strings.retry}</Button>
        </div>
      )}
      {!now.complete && !now.problem && (
        <div ref={end}>
          <Waiting lines={loose.length ? 2 : 6} label={strings.loading} />
        </div>
      )}
    </nav>
  );
}

/** The tags, of which one can be chosen; in the archive the way back. */
function Filters() {
  const strings = useShell();
  const { tags, filter } = useStore(store.history);
  if (filter.archived)
    return (
      <>
        <button type="button" class="quiet leave-archived" onClick={() => store.setFilter({})}>
          ← {strings.leaveArchived}
        </button>
        <h2 class="group-title">{strings.archived}</h2>
      </>
    );
  if (!tags.length) return null;
  return (
    <div class="tag-filter" role="group" aria-label={strings.tags}>
      {tags.map((tag) => (
        <button
          key={tag.id}
          type="button"
          class="tag"
          aria-pressed={filter.tag === tag.id}
          aria-label={strings.filterTag(tag.name)}
          onClick={() => store.setFilter({ tag: filter.tag === tag.id ? null : tag.id })}
        >
          {tag.name}
        </button>
      ))}
    </div>
  );
}

/** Whether the name of a new folder is being typed; set from a menu. */
export const namingFolder = createStore(false);

function NewFolder() {
  const strings = useShell();
  return (
    <NameInput
      label={strings.folderName}
      value=""
      onDone={(name) => {
        namingFolder.set(false);
        if (name) void store.createNamed("folders", name);
      }}
    />
  );
}
