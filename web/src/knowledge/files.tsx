/** The files of one collection: added with progress, read in the background, deleted. */
import { useEffect, useRef, useState } from "preact/hooks";
import * as api from "../clients/knowledge";
import type { Collection, CollectionFile } from "../clients/knowledge";
import { useFormat } from "../format";
import { FileIcon, TrashIcon } from "../shell/icons";
import { useLoaded } from "../shell/loaded";
import { Button, confirm, EmptyState, IconButton, Waiting } from "../shell/parts";
import { attempt, problemText } from "../shell/problem";
import { CloseIcon } from "../icons";
import { useShell } from "../strings-shell";
import { useWords } from "./strings";

const KINDS = [".md", ".markdown", ".txt", ".html", ".htm", ".pdf", ".docx"];

interface Upload {
  key: number;
  name: string;
  size: number;
  share: number;
  problem: string;
}

let count = 0;

export function Files(props: { collection: Collection; mine: boolean; onChanged: () => void }) {
  const words = useWords();
  const strings = useShell();
  const format = useFormat();
  const files = useLoaded(() => api.listFiles(props.collection.id), [props.collection.id]);
  const [uploads, setUploads] = useState<Upload[]>([]);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const reading = files.value?.some((one) => one.status === "pending") ?? false;

  // What is being read is looked at again until it is done.
  useEffect(() => {
    if (!reading) return;
    const timer = setInterval(() => document.visibilityState === "visible" && files.reload(), 1500);
    return () => clearInterval(timer);
  }, [reading]);
  useEffect(() => {
    if (files.value && !reading) props.onChanged();
  }, [reading]);

  const put = (key: number, changes: Partial<Upload>) =>
    setUploads((now) => now.map((one) => (one.key === key ? { ...one, ...changes } : one)));
  const drop = (key: number) => setUploads((now) => now.filter((one) => one.key !== key));

  async function add(chosen: FileList | null | undefined) {
    // One after the other: the server reads each as it comes.
    for (const file of [...(chosen ?? [])]) {
      const key = ++count;
      setUploads((now) => [...now, { key, name: file.name, size: file.size, share: 0, problem: "" }]);
      if (!KINDS.some((ending) => file.name.toLowerCase().endsWith(ending))) {
        put(key, { problem: words.wrongKind });
        continue;
      }
      try {
        const made = await api.addFile(props.collection.id, file, (share) => put(key, { share }));
        drop(key);
        files.change((now) => [...now.filter((one) => one.id !== made.id), made]);
      } catch (error) {
        put(key, { problem: problemText(error) });
      }
    }
    props.onChanged();
  }

  async function remove(one: CollectionFile) {
    const yes = await confirm({
      title: words.removeTitle(one.name),
      text: words.removeText,
      action: words.delete,
      danger: true,
    });
    if (!yes || !(await attempt(() => api.deleteFile(props.collection.id, one.id)))) return;
    files.change((now) => now.filter((other) => other.id !== one.id));
    props.onChanged();
  }

  return (
    <>
      {props.mine && (
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
            void add(event.dataTransfer?.files);
          }}
        >
          <Button kind="primary" onClick={() => picker.current?.click()}>
            {words.add}
          </Button>
          <span class="note">{words.orDrop}</span>
          <span class="note">{words.kinds}</span>
          <input
            ref={picker}
            class="visually-hidden"
            type="file"
            multiple
            tabIndex={-1}
            aria-hidden="true"
            accept={KINDS.join(",")}
            onChange={(event) => {
              void add(event.currentTarget.files);
              event.currentTarget.value = "";
            }}
          />
        </div>
      )}
      <ul class="rows" aria-live="polite">
        {uploads.map((one) => (
          <li key={one.key} class="row">
            <FileIcon />
            <div class="row-main">
              <span class="row-title">{one.name}</span>
              {one.problem ? (
                <span class="field-error">
                  {words.uploadFailed}: {one.problem}
                </span>
              ) : (
                <progress max={1} value={one.share} aria-label={`${words.uploading}: ${one.name}`} />
              )}
            </div>
            {one.problem && (
              <IconButton label={words.dismiss} onClick={() => drop(one.key)}>
                <CloseIcon />
              </IconButton>
            )}
          </li>
        ))}
      </ul>
      {files.problem && <p class="problem">{files.problem}</p>}
      {!files.value && !files.problem && <Waiting lines={3} label={strings.loading} />}
      {files.value?.length === 0 && uploads.length === 0 && (
        <EmptyState icon={<FileIcon />} title={words.noFiles} />
      )}
      <ul class="rows">
        {files.value?.map((one) => (
          <li key={one.id} class="row">
            <FileIcon />
            <div class="row-main">
              <span class="row-title" dir="auto">
                {one.name}
              </span>
              <span class="note">
                {format.size(one.size)}
                {one.status === "ready" ? ` · ${words.passages(one.passages)}` : ""} · {format.date(one.created_at)}
              </span>
              {one.status === "failed" && <span class="field-error">{one.problem ?? words.failed}</span>}
            </div>
            <span class={`badge ${one.status === "failed" ? "of-danger" : one.status === "pending" ? "of-warn" : ""}`}>
              {words[one.status] ?? one.status}
            </span>
            {props.mine && (
              <IconButton label={words.remove(one.name)} tip={words.delete} onClick={() => remove(one)}>
                <TrashIcon />
              </IconButton>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
