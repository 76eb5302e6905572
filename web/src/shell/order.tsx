/** Putting a chat in order: its folder, its tags. */
import { useState } from "preact/hooks";
import { CheckIcon } from "../icons";
import { useStore } from "../store";
import { useShell } from "../strings-shell";
import * as store from "./history-store";
import type { Conversation } from "../clients/history";
import { FolderIcon, TrashIcon } from "./icons";
import { Button, confirm, Dialog, Field, IconButton } from "./parts";

export function MoveDialog(props: { conversation: Conversation; onClose: () => void }) {
  const strings = useShell();
  const { folders } = useStore(store.history);
  const [name, setName] = useState("");
  const here = props.conversation.folder_id;
  const to = async (folder: (typeof folders)[number] | null) => {
    props.onClose();
    await store.moveTo(props.conversation, folder);
  };
  return (
    <Dialog title={strings.moveTitle} size="small" onClose={props.onClose}>
      <div class="stack">
        <p class="dialog-subject">{store.titleOf(props.conversation)}</p>
        <ul class="choice-list">
          {[null, ...folders].map((folder) => (
            <li key={folder?.id ?? ""}>
              <button
                type="button"
                class="choice-row"
                aria-pressed={here === (folder?.id ?? null)}
                onClick={() => to(folder)}
              >
                <FolderIcon />
                <span class={folder ? "" : "faint"}>{folder?.name ?? strings.noFolder}</span>
                {here === (folder?.id ?? null) && <CheckIcon />}
              </button>
            </li>
          ))}
        </ul>
        <form
          class="inline-form"
          onSubmit={async (event) => {
            event.preventDefault();
            const made = name.trim() && (await store.createNamed("folders", name.trim()));
            if (made) void to(made);
          }}
        >
          <Field label={strings.newFolder} value={name} onInput={setName} maxLength={100} />
          <Button type="submit" disabled={!name.trim()}>
            {strings.create}
          </Button>
        </form>
      </div>
    </Dialog>
  );
}

export function TagsDialog(props: { conversation: Conversation; onClose: () => void }) {
  const strings = useShell();
  const { tags, conversations } = useStore(store.history);
  const [name, setName] = useState("");
  const now = conversations.find((one) => one.id === props.conversation.id) ?? props.conversation;

  const set = (tag: string, on: boolean) =>
    store.change(now.id, { tags: on ? [...now.tags, tag] : now.tags.filter((one) => one !== tag) });

  async function forget(tag: (typeof tags)[number]) {
    const yes = await confirm({
      title: strings.deleteTag(tag.name),
      text: strings.deleteTagText,
      action: strings.delete,
      danger: true,
    });
    if (yes) await store.deleteNamed("tags", tag.id);
  }

  return (
    <Dialog
      title={strings.tagsTitle}
      size="small"
      onClose={props.onClose}
      actions={
        <Button kind="primary" onClick={props.onClose}>
          {strings.done}
        </Button>
      }
    >
      <div class="stack">
        <p class="dialog-subject">{store.titleOf(now)}</p>
        {tags.length === 0 && <p class="note">{strings.noTags}</p>}
        <ul class="check-list">
          {tags.map((tag) => (
            <li key={tag.id}>
              <label class="check">
                <input
                  type="checkbox"
                  checked={now.tags.includes(tag.id)}
                  onChange={(event) => void set(tag.id, event.currentTarget.checked)}
                />
                <span>{tag.name}</span>
              </label>
              <IconButton label={strings.deleteTag(tag.name)} onClick={() => forget(tag)}>
                <TrashIcon />
              </IconButton>
            </li>
          ))}
        </ul>
        <form
          class="inline-form"
          onSubmit={async (event) => {
            event.preventDefault();
            const wanted = name.trim();
            if (!wanted) return;
            const known = tags.find((one) => one.name.toLowerCase() === wanted.toLowerCase());
            const tag = known ?? (await store.createNamed("tags", wanted));
            if (!tag) return;
            setName("");
            if (!now.tags.includes(tag.id)) void set(tag.id, true);
          }}
        >
          <Field label={strings.newTag} value={name} onInput={setName} maxLength={60} />
          <Button type="submit" disabled={!name.trim()}>
            {strings.add}
          </Button>
        </form>
      </div>
    </Dialog>
  );
}
