/** The left column: new chat, search, what was said before, and who one is. */
import { Logo } from "../icons";
import { navigate } from "../router";
import { useStore } from "../store";
import { useShell } from "../strings-shell";
import { AccountMenu } from "./account-menu";
import { ChatList, namingFolder } from "./chat-list";
import { openDialog } from "./conversation-menu";
import * as store from "./history-store";
import { ArchiveIcon, ComposeIcon, FolderIcon, GhostIcon, ImportIcon, MoreIcon, SearchIcon, SidebarIcon } from "./icons";
import { IconButton, Menu } from "./parts";

export const MAC = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.userAgent);

export function Sidebar(props: {
  current: string | null;
  fresh: boolean; // a new chat is what is shown
  temporary: boolean;
  onClose: () => void;
  onSearch: () => void;
  onOpened: () => void; // a chat was chosen: a drawer closes
}) {
  const strings = useShell();
  const { filter } = useStore(store.history);

  return (
    <div class="sidebar-inside">
      <div class="sidebar-head">
        <a class="sidebar-home" href="/" aria-label="Chatwright" onClick={props.onOpened}>
          <Logo />
          <strong>Chatwright</strong>
        </a>
        <IconButton label={strings.closeSidebar} onClick={props.onClose}>
          <SidebarIcon />
        </IconButton>
      </div>
      <div class="sidebar-actions">
        <a
          class="side-action"
          href="/"
          aria-current={props.fresh && !props.temporary ? "page" : undefined}
          aria-keyshortcuts="Control+Shift+O"
          onClick={props.onOpened}
        >
          <ComposeIcon />
          <span>{strings.newChat}</span>
        </a>
        <button type="button" class="side-action" aria-keyshortcuts="Control+K Meta+K" onClick={props.onSearch}>
          <SearchIcon />
          <span>{strings.search}</span>
          <kbd class="side-key" aria-hidden="true">{MAC ? "⌘ K" : "Ctrl K"}</kbd>
        </button>
        <a
          class="side-action"
          href="/?temporary"
          aria-current={props.temporary ? "page" : undefined}
          title={strings.temporaryHint}
          onClick={props.onOpened}
        >
          <GhostIcon />
          <span>{strings.temporary}</span>
        </a>
      </div>
      <div class="chats-head">
        <h2>{strings.chats}</h2>
        <Menu
          label={strings.historyActions}
          align="end"
          items={[
            {
              label: strings.newFolder,
              icon: <FolderIcon />,
              onSelect: () => {
                if (filter.archived || filter.tag) store.setFilter({});
                namingFolder.set(true);
              },
            },
            {
              label: filter.archived ? strings.leaveArchived : strings.showArchived,
              icon: <ArchiveIcon />,
              onSelect: () => store.setFilter({ archived: !filter.archived }),
            },
            { label: strings.importTitle, icon: <ImportIcon />, onSelect: () => openDialog({ kind: "import" }) },
          ]}
        >
          {(trigger) => (
            <button
              {...trigger}
              type="button"
              class="round"
              aria-label={strings.historyActions}
              data-tip={strings.historyActions}
            >
              <MoreIcon />
            </button>
          )}
        </Menu>
      </div>
      <ChatList current={props.current} onOpen={props.onOpened} />
      <div class="sidebar-foot">
        <AccountMenu />
      </div>
    </div>
  );
}

export const newChat = () => navigate("/");
