import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { SendIcon, StopIcon } from "./icons";
import { useStrings } from "./strings";

/** Where the question is typed. While an answer is written, the button stops it. */
export function Composer(props: {
  writing: boolean;
  disabled: boolean;
  caution: string;
  onSend: (text: string) => void;
  onStop: () => void;
}) {
  const strings = useStrings();
  const [text, setText] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);
  // Safari ends a composition before it sends the Enter that confirmed it.
  const composedAt = useRef(0);

  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  function send() {
    if (props.writing || props.disabled || !text.trim()) return;
    props.onSend(text.trim());
    setText("");
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    if (event.timeStamp - composedAt.current < 50) return;
    event.preventDefault();
    send();
  }

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="field">
        <textarea
          ref={area}
          rows={1}
          value={text}
          placeholder={strings.placeholder}
          aria-label={strings.placeholder}
          aria-describedby="keys"
          enterkeyhint="send"
          autoFocus={matchMedia("(pointer: fine)").matches} // on a phone it would raise the keyboard
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKeyDown}
          onCompositionEnd={(event) => (composedAt.current = event.timeStamp)}
        />
        {props.writing ? (
          <button type="button" class="send" onClick={props.onStop} aria-label={strings.stop} title={strings.stop}>
            <StopIcon />
          </button>
        ) : (
          <button
            type="submit"
            class="send"
            disabled={props.disabled || !text.trim()}
            aria-label={strings.send}
            title={strings.send}
          >
            <SendIcon />
          </button>
        )}
      </div>
      <p class="caution">{props.caution}</p>
      <p id="keys" class="visually-hidden">
        {strings.keys}
      </p>
    </form>
  );
}
