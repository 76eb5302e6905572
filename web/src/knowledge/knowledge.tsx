/** The knowledge page: collections, mine and shared, and the files in each. */
import { useEffect, useState } from "preact/hooks";
import * as api from "../clients/knowledge";
import type { Collection } from "../clients/knowledge";
import { BookIcon, MoreIcon, PencilIcon, PeopleIcon, TrashIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Button, confirm, Dialog, EmptyState, Field, Menu, toast, Toggle, Waiting } from "../shell/parts";
import { attempt } from "../shell/problem";
import { Sections } from "../shell/sections";
import { useShell } from "../strings-shell";
import { Files } from "./files";
import { useWords } from "./strings";

export function Knowledge() {
  const words = useWords();
  const strings = useShell();
  const collections = useLoaded(api.listCollections);
  const [shown, setShown] = useState<"mine" | "shared">(() => (location.hash === "#shared" ? "shared" : "mine"));
  const [opened, setOpened] = useState<string | null>(null);
  const [edited, setEdited] = useState<Collection | "new" | null>(null);
  const open = collections.value?.find((one) => one.id === opened) ?? null;
  const rows = collections.value?.filter((one) => one.mine === (shown === "mine"));

  useEffect(() => {
    const change = () => {
      setShown(location.hash === "#shared" ? "shared" : "mine");
      setOpened(null);
    };
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);

  async function remove(one: Collection) {
    const yes = await confirm({
      title: words.deleteTitle(one.name),
      text: words.deleteText,
      action: words.delete,
      danger: true,
    });
    if (!yes || !(await attempt(() => api.deleteCollection(one.id)))) return;
    setOpened(null);
    toast(words.deleted(one.name));
    collections.reload();
  }

  const menu = (one: Collection) => (
    <Menu
      label={words.actionsFor(one.name)}
      align="end"
      items={[
        { label: words.rename, icon: <PencilIcon />, onSelect: () => setEdited(one) },
        {
          label: one.shared ? words.makeOwn : words.makeShared,
          icon: <PeopleIcon />,
          onSelect: () =>
            void attempt(() => api.changeCollection(one.id, { shared: !one.shared })).then(collections.reload),
        },
        "line",
        { label: words.delete, icon: <TrashIcon />, danger: true, onSelect: () => void remove(one) },
      ]}
    >
      {(trigger) => (
        <button {...trigger} type="button" class="round" aria-label={words.actionsFor(one.name)}>
          <MoreIcon />
        </button>
      )}
    </Menu>
  );

  return (
    <Sections
      title={words.title}
      back={words.toChats}
      base="/knowledge"
      current={shown}
      href={(id) => `/knowledge${id === "shared" ? "#shared" : "#mine"}`}
      sections={[
        { id: "mine", label: words.mine, icon: <BookIcon /> },
        { id: "shared", label: words.shared, icon: <PeopleIcon /> },
      ]}
      wide
      heading={open ? open.name : undefined}
      above={
        open && (
          <Button kind="quiet" class="back-up" onClick={() => setOpened(null)}>
            ← {words.back}
          </Button>
        )
      }
      beside={open && open.editable ? menu(open) : undefined}
    >
      {open ? (
        <Files collection={open} mine={open.editable} onChanged={collections.reload} />
      ) : (
        <>
          <div class="bar-row">
            <p class="note grow">{words.text}</p>
            <Button kind="primary" onClick={() => setEdited("new")}>
              {words.newCollection}
            </Button>
          </div>
          {collections.problem && <p class="problem">{collections.problem}</p>}
          {!rows && !collections.problem && <Waiting lines={4} label={strings.loading} />}
          {rows?.length === 0 && (
            <EmptyState
              icon={<BookIcon />}
              title={shown === "mine" ? words.none : words.noneShared}
              text={shown === "mine" ? words.noneHint : words.noneSharedHint}
            />
          )}
          <ul class="collections">
            {rows?.map((one) => (
              <li key={one.id} class="collection">
                <button type="button" class="collection-open" onClick={() => setOpened(one.id)}>
                  <BookIcon />
                  <span>
                    <strong dir="auto">{one.name}</strong>
                    <span class="note">
                      {words.files(one.files)} · {words.passages(one.passages)}
                      {one.shared && shown === "mine" && <span class="badge">{words.sharedBadge}</span>}
                    </span>
                  </span>
                </button>
                {one.editable && menu(one)}
              </li>
            ))}
          </ul>
        </>
      )}
      {edited && (
        <CollectionDialog
          one={edited === "new" ? null : edited}
          onClose={() => setEdited(null)}
          onSaved={(made) => {
            if (edited === "new") setOpened(made.id);
            setEdited(null);
            collections.reload();
          }}
        />
      )}
    </Sections>
  );
}

function CollectionDialog(props: {
  one: Collection | null;
  onClose: () => void;
  onSaved: (one: Collection) => void;
}) {
  const words = useWords();
  const [name, setName] = useState(props.one?.name ?? "");
  const [shared, setShared] = useState(props.one?.shared ?? false);
  const [busy, setBusy] = useState(false);

  async function save(event: Event) {
    event.preventDefault();
    if (busy || !name.trim()) return;
    setBusy(true);
    await attempt(async () =>
      props.onSaved(
        props.one
          ? await api.changeCollection(props.one.id, { name: name.trim() })
          : await api.createCollection(name.trim(), shared),
      ),
    );
    setBusy(false);
  }

  return (
    <Dialog
      title={props.one ? words.rename : words.newCollection}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{words.cancel}</Button>
          <Button type="submit" form="collection" kind="primary" busy={busy} disabled={!name.trim()}>
            {props.one ? words.save : words.create}
          </Button>
        </>
      }
    >
      <form id="collection" class="stack" onSubmit={save}>
        <Field label={words.name} value={name} onInput={setName} maxLength={100} required />
        {!props.one && <Toggle label={words.shareIt} hint={words.shareHint} checked={shared} onChange={setShared} />}
      </form>
    </Dialog>
  );
}
