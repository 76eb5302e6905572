/** Where the question is typed, with what goes along with it. While an answer is written, it can be stopped. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { CloseIcon, CompareIcon, NewIcon, SendIcon, StopIcon } from "../icons";
import { useFormat } from "../format";
import { FileIcon } from "../shell/icons";
import { Menu } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import { ACCEPTED, useAttachments, type Upload } from "./attachments";
import { useSendKey } from "./keys";
import type { Attached } from "./types";

const LONGEST = 200_000;

export function Composer(props: {
  writing: boolean;
  disabled: boolean;
  caution: string;
  /** A new place for a draft (the conversation's id): what was typed there comes back. */
  draftKey: string | null;
  twice: boolean;
  onTwice: (twice: boolean) => void;
  onSend: (text: string, attachments: Attached[]) => void;
  onStop: () => void;
  /** Between the menu and the send button: pickers, and the context meter. */
  tools?: ComponentChildren;
  meter?: ComponentChildren;
}) {
  const strings = useChatStrings();
  const [text, setText] = useDraft(props.draftKey);
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const files = useAttachments({ lost: strings.lost, tooMany: strings.tooManyFiles });
  const ready = !props.writing && !props.disabled && text.trim() !== "" && !files.busy;

  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  useEffect(() => {
    // On a phone it would raise the keyboard.
    if (matchMedia("(pointer: fine)").matches) area.current?.focus();
  }, [props.draftKey]);

  // Sent before the page knows who answers, or while files are on their way: it goes as soon as it can.
  const wanted = useRef(false);
  useEffect(() => {
    if (wanted.current && ready) send();
  }, [ready]);

  function send() {
    wanted.current = !ready && !props.writing && text.trim() !== "";
    if (!ready) return;
    props.onSend(text.trim(), files.ready);
    setText("");
    files.clear();
  }

  const dragging = useFileDrop(files.add);
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {dragging && (
        <div class="drop-here" aria-hidden="true">
          <FileIcon />
          <p>{strings.dropHere}</p>
        </div>
      )}
      <div class="composer-field" onClick={(event) => event.target === event.currentTarget && area.current?.focus()}>
        {files.uploads.length > 0 && (
          <ul class="files" aria-label={strings.attachments}>
            {files.uploads.map((upload) => (
              <FileChip key={upload.key} upload={upload} onRemove={() => files.remove(upload.key)} />
            ))}
          </ul>
        )}
        <textarea
          ref={area}
          rows={1}
          value={text}
          maxLength={LONGEST}
          placeholder={strings.placeholder}
          aria-label={strings.placeholder}
          aria-describedby="composer-keys"
          enterkeyhint="send"
          dir="auto"
          onInput={(event) => {
            wanted.current = false; // it is not finished after all
            setText(event.currentTarget.value);
          }}
          onPaste={(event) => {
            const pasted = [...(event.clipboardData?.files ?? [])];
            if (!pasted.length) return;
            event.preventDefault();
            files.add(pasted);
          }}
          {...useSendKey(send)}
        />
        <div class="composer-row">
          <Menu
            label={strings.add}
            items={[
              { label: strings.attach, detail: strings.attachKinds, icon: <FileIcon />, onSelect: () => picker.current?.click() },
              "line",
              {
                label: strings.answerTwice,
                detail: strings.answerTwiceHint,
                icon: <CompareIcon />,
                checked: props.twice,
                onSelect: () => props.onTwice(!props.twice),
              },
            ]}
          >
            {(trigger) => (
              <button {...trigger} type="button" class="round" aria-label={strings.add} data-tip={strings.add}>
                <NewIcon />
              </button>
            )}
          </Menu>
          {props.tools}
          {props.twice && (
            <button type="button" class="pill" onClick={() => props.onTwice(false)} aria-label={strings.answerTwiceOff}>
              <span>{strings.answerTwiceOn}</span>
              <CloseIcon />
            </button>
          )}
          <span class="space" />
          {props.meter}
          {props.writing ? (
            <button type="button" class="send" onClick={props.onStop} aria-label={strings.stop} data-tip={strings.stop}>
              <StopIcon />
            </button>
          ) : (
            <button type="submit" class="send" disabled={!ready} aria-label={strings.send} data-tip={strings.send}>
              <SendIcon />
            </button>
          )}
        </div>
        <input
          ref={picker}
          type="file"
          class="visually-hidden"
          multiple
          accept={ACCEPTED}
          tabIndex={-1}
          aria-hidden="true"
          onChange={(event) => {
            files.add(event.currentTarget.files ?? []);
            event.currentTarget.value = "";
            area.current?.focus();
          }}
        />
      </div>
      <p class="caution">{props.caution}</p>
      <p id="composer-keys" class="visually-hidden">
        {strings.keys}
      </p>
    </form>
  );
}

function FileChip(props: { upload: Upload; onRemove: () => void }) {
  const strings = useChatStrings();
  const format = useFormat();
  const { name, size, share, done, problem } = props.upload;
  const state = problem || (done ? format.size(size) : strings.uploading(Math.round(share * 100)));
  return (
    <li class={problem ? "file of-problem" : "file"}>
      <FileIcon />
      <span class="file-text">
        <span class="file-name" title={name}>
          {name}
        </span>
        <span class="file-state" role={problem ? "alert" : undefined}>
          {state}
        </span>
      </span>
      <button type="button" class="round" aria-label={strings.removeFile(name)} onClick={props.onRemove}>
        <CloseIcon />
      </button>
      {!done && !problem && <progress max={1} value={share} aria-label={strings.uploading(Math.round(share * 100))} />}
    </li>
  );
}

/** What is typed, kept in this tab until it is sent. No key: it is not kept. */
function useDraft(key: string | null): [string, (text: string) => void] {
  const name = `chatwright.draft.${key}`;
  const read = () => {
    try {
      return key === null ? "" : (sessionStorage.getItem(name) ?? "");
    } catch {
      return "";
    }
  };
  const [draft, setDraft] = useState(() => ({ key, text: read() }));
  if (draft.key !== key) setDraft({ key, text: read() });
  return [
    draft.text,
    (text) => {
      setDraft({ key, text });
      try {
        if (key === null) return;
        if (text) sessionStorage.setItem(name, text);
        else sessionStorage.removeItem(name);
      } catch {
        // Storage full or forbidden: the draft lasts until the page is left.
      }
    },
  ];
}

/** Files dropped anywhere on the page; whether some are being held over it. */
function useFileDrop(onFiles: (files: File[]) => void): boolean {
  const [over, setOver] = useState(false);
  const latest = useRef(onFiles);
  latest.current = onFiles;
  useEffect(() => {
    let depth = 0;
    const holds = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const onEnter = (event: DragEvent) => {
      if (!holds(event) || document.querySelector("dialog[open]")) return;
      depth += 1;
      setOver(true);
    };
    const onLeave = (event: DragEvent) => {
      if (holds(event)) depth -= 1;
      if (depth <= 0) setOver(false);
    };
    const onOver = (event: DragEvent) => {
      if (holds(event)) event.preventDefault(); // else the browser opens the file in place of the page
    };
    const onDrop = (event: DragEvent) => {
      if (!holds(event)) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      if (!document.querySelector("dialog[open]")) latest.current([...(event.dataTransfer?.files ?? [])]);
    };
    const pairs = [["dragenter", onEnter], ["dragleave", onLeave], ["dragover", onOver], ["drop", onDrop]] as const;
    for (const [kind, listener] of pairs) document.addEventListener(kind, listener);
    return () => {
      for (const [kind, listener] of pairs) document.removeEventListener(kind, listener);
    };
  }, []);
  return over;
}
