import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { memo } from "../memo";
import { useFormat } from "../format";
import { FileIcon, PencilIcon } from "../shell/icons";
import { Button } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import { CopyButton } from "./code";
import { useSendKey } from "./keys";
import { ModerationNotice } from "./notices";
import type { Actions } from "./turns";
import type { Message } from "./types";
import { VersionSwitch } from "./versions";

interface QuestionProps {
  message: Message;
  index: number;
  count: number;
  found?: boolean;
  actions: Actions | null; // null: to read only
  busy: boolean;
}

/** A question, its files, and its other versions. Drawn again only when it changes. */
export const QuestionView = memo(function QuestionView(props: QuestionProps) {
  const strings = useChatStrings();
  const format = useFormat();
  const { message, actions } = props;
  const [editing, setEditing] = useState(false);
  const edit = useRef<HTMLButtonElement>(null);
  if (editing && actions)
    return (
      <QuestionEditor
        text={message.text}
        onSave={(text) => {
          setEditing(false);
          actions.edit(message.id, text);
        }}
        onCancel={() => {
          setEditing(false);
          requestAnimationFrame(() => edit.current?.focus());
        }}
      />
    );
  return (
    <div class={props.found ? "question-frame found" : "question-frame"} data-message={message.id} tabIndex={-1}>
      {message.attachments.length > 0 && (
        <ul class="files" aria-label={strings.attachments}>
          {message.attachments.map((file) => (
            <li key={file.id} class="file">
              <FileIcon />
              <span class="file-text">
                <span class="file-name" title={file.name}>
                  {file.name}
                </span>
                <span class="file-state">{format.size(file.size)}</span>
              </span>
            </li>
          ))}
        </ul>
      )}
      <article class="question" aria-label={strings.you}>
        <p dir="auto">{message.text}</p>
      </article>
      {message.moderation && <ModerationNotice moderation={message.moderation} onAppeal={actions?.appeal ?? null} />}
      {actions && (
        <div class="actions">
          <VersionSwitch index={props.index} count={props.count} onStep={(by) => actions.step(message.id, by)} />
          <span class="on-hover">
            <CopyButton icon text={message.text} label={strings.copyQuestion} />
            <button
              ref={edit}
              type="button"
              class="round"
              aria-label={strings.edit}
              data-tip={strings.edit}
              disabled={props.busy}
              onClick={() => setEditing(true)}
            >
              <PencilIcon />
            </button>
          </span>
        </div>
      )}
    </div>
  );
});

function QuestionEditor(props: { text: string; onSave: (text: string) => void; onCancel: () => void }) {
  const strings = useChatStrings();
  const [text, setText] = useState(props.text);
  const area = useRef<HTMLTextAreaElement>(null);
  const ready = text.trim() !== "";
  const save = () => ready && props.onSave(text.trim());

  useEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(text.length, text.length);
  }, []);
  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  return (
    <form
      class="question-editor"
      aria-label={strings.edit}
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.isComposing) return;
        event.stopPropagation();
        props.onCancel();
      }}
    >
      <textarea
        ref={area}
        rows={1}
        value={text}
        dir="auto"
        aria-label={strings.edit}
        onInput={(event) => setText(event.currentTarget.value)}
        {...useSendKey(save)}
      />
      <div class="editor-row">
        <p class="note">{strings.editHint}</p>
        <Button kind="quiet" onClick={props.onCancel}>
          {strings.cancel}
        </Button>
        <Button kind="primary" type="submit" disabled={!ready}>
          {strings.send}
        </Button>
      </div>
    </form>
  );
}
