/** Taking chats out (export) and bringing them in (import). */
import { useRef, useState } from "preact/hooks";
import * as api from "../clients/history";
import type { Conversation, ExportFormat } from "../clients/history";
import { useShell } from "../strings-shell";
import { reloadHistory, titleOf } from "./history-store";
import { ExportIcon, ImportIcon } from "./icons";
import { Button, Dialog, toast } from "./parts";
import { attempt, problemText } from "./problem";

export function ExportDialog(props: { conversation: Conversation; onClose: () => void }) {
  const strings = useShell();
  const [busy, setBusy] = useState<ExportFormat | null>(null);
  const formats: { format: ExportFormat; name: string; hint: string }[] = [
    { format: "markdown", name: strings.markdown, hint: strings.markdownHint },
    { format: "json", name: strings.json, hint: strings.jsonHint },
    { format: "chatgpt", name: strings.chatgpt, hint: strings.chatgptHint },
  ];

  async function take(format: ExportFormat) {
    setBusy(format);
    const title = titleOf(props.conversation);
    const worked = await attempt(() => api.exportConversation(props.conversation.id, format, title));
    setBusy(null);
    if (worked) props.onClose();
  }

  return (
    <Dialog title={strings.exportTitle} size="small" onClose={props.onClose}>
      <div class="stack">
        <p class="dialog-subject">{titleOf(props.conversation)}</p>
        <ul class="choice-list">
          {formats.map((one) => (
            <li key={one.format}>
              <button type="button" class="choice-row" aria-busy={busy === one.format} onClick={() => take(one.format)}>
                <ExportIcon />
                <span>
                  <strong>{one.name}</strong>
                  <span class="note">{one.hint}</span>
                </span>
              </button>
            </li>
          ))}
        </ul>
      </div>
    </Dialog>
  );
}

const LARGEST = 20_000_000;

export function ImportDialog(props: { onClose: () => void }) {
  const strings = useShell();
  const picker = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");

  async function bring(file: File | undefined) {
    if (!file || busy) return;
    setProblem("");
    if (file.size > LARGEST) return setProblem(strings.tooLarge);
    setBusy(true);
    try {
      const found = await api.importFile(file);
      toast(strings.imported(Number(found.conversations ?? found.imported ?? 0)));
      props.onClose();
      void reloadHistory();
    } catch (error) {
      setProblem(problemText(error));
      setBusy(false);
    }
  }

  return (
    <Dialog title={strings.importTitle} onClose={props.onClose}>
      <div class="stack">
        <p>{strings.importText}</p>
        <div
          class={over ? "drop-zone over" : "drop-zone"}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={(event) => {
            event.preventDefault();
            setOver(false);
            void bring(event.dataTransfer?.files[0]);
          }}
        >
          <ImportIcon />
          <Button kind="primary" busy={busy} onClick={() => picker.current?.click()}>
            {busy ? strings.importing : strings.chooseFile}
          </Button>
          <span class="note">{strings.orDrop}</span>
          <input
            ref={picker}
            class="visually-hidden"
            type="file"
            tabIndex={-1}
            aria-hidden="true"
            accept=".json,.jsonl,application/json"
            onChange={(event) => {
              void bring(event.currentTarget.files?.[0]);
              event.currentTarget.value = "";
            }}
          />
        </div>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
      </div>
    </Dialog>
  );
}
