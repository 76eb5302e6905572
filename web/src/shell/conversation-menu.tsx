/** What can be done with a chat: the same list in the sidebar and above the chat. */
import { createStore, useStore } from "../store";
import type { ShellStrings } from "../strings-shell";
import type { Conversation } from "../clients/history";
import * as store from "./history-store";
import { ArchiveIcon, ExportIcon, FolderIcon, PencilIcon, PinIcon, ShareIcon, TagIcon, TrashIcon } from "./icons";
import { MoveDialog, TagsDialog } from "./order";
import type { MenuItem } from "./parts";
import { ShareDialog } from "./share";
import { ExportDialog, ImportDialog } from "./transfer";

type Opened =
  | { kind: "share" | "export" | "move" | "tags"; conversation: Conversation }
  | { kind: "import" };

const opened = createStore<Opened | null>(null);
export const openDialog = (what: Opened) => opened.set(what);

/** Where those dialogs are drawn; once in the page. */
export function ConversationDialogs() {
  const now = useStore(opened);
  const onClose = () => opened.set(null);
  if (!now) return null;
  if (now.kind === "import") return <ImportDialog onClose={onClose} />;
  const Shown = { share: ShareDialog, export: ExportDialog, move: MoveDialog, tags: TagsDialog }[now.kind];
  return <Shown conversation={now.conversation} onClose={onClose} />;
}

export function conversationItems(
  one: Conversation,
  strings: ShellStrings,
  does: { onRename: () => void; onRemove: () => void },
): MenuItem[] {
  return [
    { label: strings.share, icon: <ShareIcon />, onSelect: () => openDialog({ kind: "share", conversation: one }) },
    { label: strings.rename, icon: <PencilIcon />, onSelect: does.onRename },
    {
      label: one.pinned ? strings.unpin : strings.pin,
      icon: <PinIcon />,
      onSelect: () => void store.change(one.id, { pinned: !one.pinned }),
    },
    { label: strings.move, icon: <FolderIcon />, onSelect: () => openDialog({ kind: "move", conversation: one }) },
    { label: strings.tag, icon: <TagIcon />, onSelect: () => openDialog({ kind: "tags", conversation: one }) },
    { label: strings.export, icon: <ExportIcon />, onSelect: () => openDialog({ kind: "export", conversation: one }) },
    {
      label: one.archived ? strings.unarchive : strings.archive,
      icon: <ArchiveIcon />,
      onSelect: () => void store.archive(one, !one.archived),
    },
    "line",
    { label: strings.delete, icon: <TrashIcon />, danger: true, onSelect: does.onRemove },
  ];
}
