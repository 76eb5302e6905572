/** Ctrl K: titles, messages and commands in one list. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { search, type Found } from "../clients/history";
import { useFormat } from "../format";
import { navigate } from "../router";
import { session } from "../session";
import { useStore } from "../store";
import { useShell, type ShellStrings } from "../strings-shell";
import { openDialog } from "./conversation-menu";
import { highlight } from "./groups";
import * as store from "./history-store";
import { BookIcon, ComposeIcon, FileIcon, GearIcon, GhostIcon, ImportIcon, SearchIcon, ShieldIcon, SystemIcon } from "./icons";
import { Dialog } from "./parts";
import { chooseLanguage, chooseTheme, otherLanguage } from "./preferences";
import { problemText } from "./problem";

interface Entry {
  key: string;
  group: string;
  icon: ComponentChildren;
  text: string;
  detail?: string;
  at?: string;
  run: () => void;
}

const PAUSE = 160; // after a key, before the server is asked

export function Palette(props: { onClose: () => void }) {
  const strings = useShell();
  const format = useFormat();
  const id = useId();
  const list = useRef<HTMLUListElement>(null);
  const { conversations, hidden } = useStore(store.history);
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<{ query: string; data: Found[] }>({ query: "", data: [] });
  const [problem, setProblem] = useState("");
  const [at, setAt] = useState(0);
  const asked = query.trim();

  useEffect(() => {
    setAt(0);
    setProblem("");
    if (!asked) return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      search(asked, stop.signal).then(
        (data) => setFound({ query: asked, data }),
        (error) => {
          if (stop.signal.aborted) return;
          setFound({ query: asked, data: [] });
          setProblem(problemText(error));
        },
      );
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [asked]);

  const searching = asked !== "" && found.query !== asked;
  const entries = useMemo((): Entry[] => {
    const lower = asked.toLowerCase();
    const has = (text: string) => lower.split(/\s+/).every((word) => text.toLowerCase().includes(word));
    const open = (to: string) => () => navigate(to);
    const titles = conversations
      .filter((one) => !hidden.has(one.id) && (asked ? has(store.titleOf(one)) : !one.archived))
      .sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at))
      .slice(0, asked ? 8 : 6)
      .map(
        (one): Entry => ({
          key: one.id,
          group: asked ? strings.chats : strings.recent,
          icon: <FileIcon />,
          text: store.titleOf(one),
          at: one.updated_at,
          run: open(`/c/${encodeURIComponent(one.id)}`),
        }),
      );
    const known = new Set(titles.map((one) => one.key));
    const messages = (asked ? found.data : [])
      .filter((one) => !hidden.has(one.conversation_id) && (one.snippet || !known.has(one.conversation_id)))
      .map(
        (one, index): Entry => ({
          key: `${one.conversation_id}/${one.message_id ?? index}`,
          group: strings.messages,
          icon: <SearchIcon />,
          text: one.title || strings.untitled,
          detail: one.snippet.replace(/[*`#|]+/g, ""), // marks of Markdown say nothing here
          at: one.at,
          run: open(`/c/${encodeURIComponent(one.conversation_id)}${one.message_id ? `#${one.message_id}` : ""}`),
        }),
      );
    const commands = commandsOf(strings).filter((one) => !asked || has(one.text));
    return [...titles, ...messages, ...commands];
  }, [asked, found, conversations, hidden, strings]);

  const chosen = Math.min(at, entries.length - 1);

  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [chosen, entries]);

  function run(entry: Entry | undefined) {
    if (!entry) return;
    props.onClose();
    // After the dialog has given the focus back, for a command may open another.
    setTimeout(entry.run, 0);
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.isComposing || event.keyCode === 229) return;
    const last = entries.length - 1;
    if (event.key === "ArrowDown") setAt(chosen >= last ? 0 : chosen + 1);
    else if (event.key === "ArrowUp") setAt(chosen <= 0 ? last : chosen - 1);
    else if (event.key === "PageDown") setAt(Math.min(last, chosen + 8));
    else if (event.key === "PageUp") setAt(Math.max(0, chosen - 8));
    else if (event.key === "Enter") run(entries[chosen]);
    else return;
    event.preventDefault();
  }

  return (
    <Dialog title={strings.palette} hideTitle size="large" onClose={props.onClose}>
      <div class="palette" role="search">
        <div class="palette-field">
          <SearchIcon />
          <input
            type="text"
            role="combobox"
            aria-label={strings.palette}
            aria-expanded={entries.length > 0}
            aria-controls={`${id}-list`}
            aria-autocomplete="list"
            aria-activedescendant={entries.length ? `${id}-${chosen}` : undefined}
            placeholder={strings.palettePlaceholder}
            value={query}
            maxLength={200}
            autoComplete="off"
            spellcheck={false}
            onInput={(event) => setQuery(event.currentTarget.value)}
            onKeyDown={onKeyDown}
          />
        </div>
        <ul ref={list} id={`${id}-list`} class="palette-list" role="listbox" aria-label={strings.palette}>
          {entries.map((entry, index) => (
            <>
              {entry.group !== entries[index - 1]?.group && (
                <li key={`group ${entry.group}`} class="palette-group" role="presentation">
                  {entry.group}
                </li>
              )}
              <li
                key={entry.key}
                id={`${id}-${index}`}
                class="palette-entry"
                role="option"
                aria-selected={index === chosen}
                onPointerMove={() => index !== chosen && setAt(index)}
                onClick={() => run(entry)}
              >
                {entry.icon}
                <span class="palette-text" dir="auto">
                  <span class="palette-title">
                    <Marked text={entry.text} query={entry.detail ? "" : asked} />
                  </span>
                  {entry.detail && (
                    <span class="palette-detail">
                      <Marked text={entry.detail} query={asked} />
                    </span>
                  )}
                </span>
                {entry.at && <span class="palette-at">{format.date(entry.at)}</span>}
              </li>
            </>
          ))}
        </ul>
        {problem ? (
          <p class="problem">{problem}</p>
        ) : (
          entries.length === 0 && (
            <p class="palette-none">{searching ? strings.searching : strings.nothingFoundFor(asked)}</p>
          )
        )}
        <p class="palette-foot note" role="status">
          <span>{searching ? strings.searching : asked ? strings.results(entries.length) : ""}</span>
          <span class="wide-only">{strings.paletteKeys}</span>
        </p>
      </div>
    </Dialog>
  );
}

function Marked(props: { text: string; query: string }) {
  return (
    <>
      {highlight(props.text, props.query).map((piece) => (piece.hit ? <mark>{piece.text}</mark> : piece.text))}
    </>
  );
}

function commandsOf(strings: ShellStrings): Entry[] {
  const role = session.get()?.person?.role;
  const command = (key: string, icon: ComponentChildren, text: string, run: () => void): Entry => ({
    key,
    group: strings.commands,
    icon,
    text,
    run,
  });
  return [
    command("new", <ComposeIcon />, strings.newChat, () => navigate("/")),
    command("temporary", <GhostIcon />, strings.temporary, () => navigate("/?temporary")),
    command("import", <ImportIcon />, strings.importTitle, () => openDialog({ kind: "import" })),
    command("knowledge", <BookIcon />, strings.knowledge, () => navigate("/knowledge")),
    command("settings", <GearIcon />, strings.settings, () => navigate("/settings")),
    ...(role && role !== "user"
      ? [command("admin", <ShieldIcon />, strings.administration, () => navigate("/admin"))]
      : []),
    command("light", <SystemIcon />, strings.themeIs(strings.light), () => chooseTheme("light")),
    command("dark", <SystemIcon />, strings.themeIs(strings.dark), () => chooseTheme("dark")),
    command("system", <SystemIcon />, strings.themeIs(strings.system), () => chooseTheme("system")),
    command("language", <GearIcon />, strings.otherLanguage, () => chooseLanguage(otherLanguage())),
  ];
}
