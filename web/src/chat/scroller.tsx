import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { DownIcon } from "../icons";
import { useChatStrings } from "../strings-chat";

// Nearer to the end than this, the reader is following the answer.
const NEAR = 80;

/**
 * The conversation's scroll area: follows the newest text unless the reader has scrolled up.
 * `jump` changes with every question and every conversation opened: that brings the reader to the end.
 */
export function Scroller(props: { label: string; jump: string; children: ComponentChildren }) {
  const strings = useChatStrings();
  const area = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [away, setAway] = useState(false);

  // At once, not smoothly: a glide towards an end that moves away never arrives.
  function toEnd() {
    following.current = true;
    area.current?.scrollTo({ top: area.current.scrollHeight, behavior: "instant" });
  }

  useLayoutEffect(toEnd, [props.jump]);

  useEffect(() => {
    const inside = area.current?.firstElementChild;
    if (!inside) return;
    const observer = new ResizeObserver(() => following.current && toEnd());
    observer.observe(inside);
    return () => observer.disconnect();
  }, []);

  function onScroll() {
    const element = area.current;
    if (!element) return;
    const left = element.scrollHeight - element.scrollTop - element.clientHeight;
    following.current = left < NEAR;
    setAway(left >= NEAR);
  }

  return (
    <div class="scroll-frame">
      <div ref={area} class="scroll" onScroll={onScroll} tabIndex={-1} id="conversation">
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
