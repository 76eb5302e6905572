import { useMemo, useRef, useState } from "preact/hooks";
import { CheckIcon, CopyIcon } from "../icons";
import { useChatStrings } from "../strings-chat";
import { lazily } from "./lazy";

const highlighting = lazily(() => import("./highlight"));

// Colours cost time that grows with the text; a listing of more than this stays plain.
const LONGEST = 40_000;
const LONGEST_GROWING = 6_000;

/** Copies text and says so for a moment. */
export function CopyButton(props: { text: string; label: string; icon?: boolean }) {
  const strings = useChatStrings();
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  async function copy() {
    await copyText(props.text);
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), 1500);
  }
  const label = copied ? strings.copied : props.label;
  if (props.icon)
    return (
      <button type="button" class="round" onClick={copy} aria-label={label} data-tip={label}>
        {copied ? <CheckIcon /> : <CopyIcon />}
      </button>
    );
  return (
    <button type="button" class="quiet" onClick={copy}>
      {copied ? <CheckIcon /> : <CopyIcon />}
      <span aria-live="polite">{label}</span>
    </button>
  );
}

export async function copyText(text: string) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http on another machine has no clipboard API; the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function CodeBlock(props: { code: string; language: string; growing: boolean }) {
  const strings = useChatStrings();
  const code = props.code.replace(/\n$/, "");
  const short = code.length <= (props.growing ? LONGEST_GROWING : LONGEST);
  const highlighter = highlighting.use(short && props.language !== "");
  const drawn = useMemo(
    () => highlighter?.highlight(code, props.language) ?? code,
    [highlighter, code, props.language],
  );
  return (
    <figure class="code">
      <figcaption>
        <span>{props.language || strings.code}</span>
        <CopyButton text={code} label={strings.copy} />
      </figcaption>
      <pre tabIndex={0}>
        <code>{drawn}</code>
      </pre>
    </figure>
  );
}
