import { useRef, useState } from "preact/hooks";
import { CheckIcon, CopyIcon } from "./icons";
import { useStrings } from "./strings";

/** Copies text and says so for a moment. */
export function CopyButton(props: { text: string; label: string }) {
  const strings = useStrings();
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  async function copy() {
    await copyText(props.text);
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), 1500);
  }
  return (
    <button type="button" class="quiet" onClick={copy} title={props.label}>
      {copied ? <CheckIcon /> : <CopyIcon />}
      <span aria-live="polite">{copied ? strings.copied : props.label}</span>
    </button>
  );
}

async function copyText(text: string) {
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

export function CodeBlock(props: { code: string; language: string }) {
  const strings = useStrings();
  const code = props.code.replace(/\n$/, "");
  return (
    <figure class="code">
      <figcaption>
        <span>{props.language || strings.code}</span>
        <CopyButton text={code} label={strings.copy} />
      </figcaption>
      <pre tabIndex={0}>
        <code>{code}</code>
      </pre>
    </figure>
  );
}
