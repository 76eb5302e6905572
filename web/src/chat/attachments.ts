/** Files on their way to the server, and those that are there and go with the next question. */
import { useRef, useState } from "preact/hooks";
import { ConnectionLost, ServerError } from "../http";
import { currentLanguage } from "../settings";
import { attach, detach } from "./api";
import { errorIn } from "./server-words";
import type { Attached } from "./types";

export const ACCEPTED = ".md,.markdown,.txt,.html,.htm,.pdf,.docx";
export const MOST_FILES = 10;

export interface Upload {
  key: number;
  name: string;
  size: number;
  share: number; // of it that is sent, 0–1
  done: Attached | null;
  problem: string;
}

export interface Attachments {
  uploads: Upload[];
  busy: boolean;
  ready: Attached[];
  add: (files: Iterable<File>) => void;
  remove: (key: number) => void;
  /** They were sent with a question: forget them here. */
  clear: () => void;
}

export function useAttachments(words: { lost: string; tooMany: (most: number) => string }): Attachments {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const made = useRef(0);
  const gone = useRef(new Set<number>());

  function change(key: number, part: Partial<Upload>) {
    setUploads((now) => now.map((one) => (one.key === key ? { ...one, ...part } : one)));
  }

  async function send(key: number, file: File) {
    try {
      const done = await attach(file, (share) => change(key, { share }));
      if (gone.current.has(key)) void detach(done.id).catch(() => undefined);
      else change(key, { share: 1, done: { id: done.id, name: done.name, size: done.size } });
    } catch (error) {
      const code = error instanceof ServerError ? error.code : "";
      const said = (error as Error).message.replace(`${file.name}: `, ""); // the chip names it already
      const problem = error instanceof ConnectionLost ? words.lost : (errorIn(currentLanguage(), code) ?? said);
      change(key, { problem });
    }
  }

  return {
    uploads,
    busy: uploads.some((one) => !one.done && !one.problem),
    ready: uploads.flatMap((one) => (one.done ? [one.done] : [])),
    add(files) {
      const room = MOST_FILES - uploads.length;
      const entries = [...files].map((file, index) => ({
        file,
        upload: {
          key: ++made.current,
          name: file.name || "file",
          size: file.size,
          share: 0,
          done: null,
          problem: index < room ? "" : words.tooMany(MOST_FILES),
        },
      }));
      setUploads((now) => [...now, ...entries.map((entry) => entry.upload)]);
      for (const { file, upload } of entries) if (!upload.problem) void send(upload.key, file);
    },
    remove(key) {
      gone.current.add(key);
      const done = uploads.find((one) => one.key === key)?.done;
      if (done) void detach(done.id).catch(() => undefined); // the server forgets unused ones by itself
      setUploads((now) => now.filter((one) => one.key !== key));
    },
    clear() {
      setUploads([]);
    },
  };
}
