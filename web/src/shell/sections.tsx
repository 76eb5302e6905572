/** A view with several pages: their names at the left (above, on a phone), the chosen one beside. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { BackIcon } from "./icons";

export function Sections<T extends string>(props: {
  title: string;
  back: string;
  base: string;
  current: T;
  sections: { id: T; label: string; icon: ComponentChildren }[];
  wide?: boolean;
  href?: (id: T) => string;
  heading?: string | undefined; // in place of the section's name
  above?: ComponentChildren;
  beside?: ComponentChildren;
  children: ComponentChildren;
}) {
  const area = useRef<HTMLElement>(null);
  const nav = useRef<HTMLElement>(null);
  const now = props.sections.find((one) => one.id === props.current);

  useEffect(() => {
    document.title = `${props.heading ?? now?.label ?? props.title} · Chatwright`;
    area.current?.scrollTo(0, 0);
    nav.current?.querySelector('[aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [props.current, props.heading, now?.label]);

  return (
    <div class="sections">
      <nav ref={nav} class="sections-nav" aria-label={props.title}>
        <a class="quiet sections-back" href="/" aria-label={props.back}>
          <BackIcon />
          <span>{props.back}</span>
        </a>
        <p class="sections-title">{props.title}</p>
        <ul>
          {props.sections.map((one) => (
            <li key={one.id}>
              <a
                class="side-action"
                href={props.href?.(one.id) ?? `${props.base}/${one.id}`}
                aria-current={one.id === props.current ? "page" : undefined}
              >
                {one.icon}
                <span>{one.label}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <main ref={area} class="sections-main" tabIndex={-1}>
        <div class={props.wide ? "sections-page wide" : "sections-page"}>
          {props.above}
          <div class="sections-head">
            <h1 dir="auto">{props.heading ?? now?.label}</h1>
            {props.beside}
          </div>
          {props.children}
        </div>
      </main>
    </div>
  );
}

/** A part of such a page, with its own heading. */
export function Part(props: { title?: string; text?: ComponentChildren; action?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <section class="part">
      {(props.title || props.text || props.action) && (
        <header class="part-head">
          <div>
            {props.title && <h2>{props.title}</h2>}
            {props.text && <p class="note">{props.text}</p>}
          </div>
          {props.action}
        </header>
      )}
      {props.children}
    </section>
  );
}
