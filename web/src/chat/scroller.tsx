import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { DownIcon } from "../icons";
import { useChatStrings } from "../strings-chat";

// Nearer to the end than this, the reader is following the answer.
const NEAR = 80;

/**
 * The conversation's scroll area: follows the newest text unless the reader has scrolled up.
 * `jump` changes with every question and every conversation opened: that brings the reader to the end,
 * or to the message `target`.
 */
export function Scroller(props: { label: string; jump: string; target: string | null; children: ComponentChildren }) {
  const strings = useChatStrings();
  const area = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const held = useRef<HTMLElement | null>(null); // the message that stays in view while what is above it grows
  const [away, setAway] = useState(false);

  // At once, not smoothly: a glide towards an end that moves away never arrives.
  function toEnd() {
    following.current = true;
    held.current = null;
    area.current?.scrollTo({ top: area.current.scrollHeight, behavior: "instant" });
  }

  useLayoutEffect(() => {
    const messages = area.current?.querySelectorAll<HTMLElement>("[data-message]") ?? [];
    const target = props.target && [...messages].find((one) => one.dataset["message"] === props.target);
    if (!target) return toEnd();
    following.current = false;
    held.current = target;
    target.scrollIntoView({ block: "start", behavior: "instant" });
    target.focus({ preventScroll: true });
  }, [props.jump]);

  useEffect(() => {
    const inside = area.current?.firstElementChild;
    if (!inside) return;
    const observer = new ResizeObserver(() => {
      if (following.current) toEnd();
      else held.current?.scrollIntoView({ block: "start", behavior: "instant" });
    });
    observer.observe(inside);
    return () => observer.disconnect();
  }, []);

  function onScroll() {
    const element = area.current;
    if (!element) return;
    const left = element.scrollHeight - element.scrollTop - element.clientHeight;
    following.current = left < NEAR && !held.current;
    setAway(left >= NEAR);
  }

  const letGo = () => void (held.current = null);
  return (
    <div class="scroll-frame">
      <div
        ref={area}
        class="scroll"
        onScroll={onScroll}
        onWheel={letGo}
        onTouchMove={letGo}
        onPointerDown={letGo}
        onKeyDown={letGo}
        tabIndex={-1}
        id="conversation"
      >
        <div class="column" role="region" aria-label={props.label}>
          {props.children}
        </div>
      </div>
      {away && (
        <button type="button" class="round floating" aria-label={strings.latest} data-tip={strings.latest} onClick={toEnd}>
          <DownIcon />
        </button>
      )}
    </div>
  );
}
