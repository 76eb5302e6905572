/** The parts that every view of the page is made of. `menu`, `dialog`, `toast` and `tip` are their own files. */
import type { ButtonHTMLAttributes, ComponentChildren, Ref } from "preact";
import { useId, useRef } from "preact/hooks";
import { ChevronIcon } from "../icons";

export { Dialog, confirm, Confirms } from "./dialog";
export { Menu, type MenuItem } from "./menu";
export { Tips, Tooltip } from "./tip";
export { toast, Toasts } from "./toast";

type ButtonProps = Omit<ButtonHTMLAttributes<HTMLButtonElement>, "type" | "disabled" | "form" | "ref" | "class" | "onClick"> & {
  class?: string;
  onClick?: (event: MouseEvent) => void;
  kind?: "primary" | "outlined" | "quiet" | "danger" | "danger filled";
  type?: "button" | "submit";
  disabled?: boolean;
  busy?: boolean; // its work is under way: it keeps its size and the focus, and cannot be pressed
  form?: string;
  children: ComponentChildren;
};

export function Button({ kind = "outlined", type = "button", busy, children, onClick, ...rest }: ButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      class={`${kind}${rest.class ? ` ${rest.class}` : ""}`}
      aria-disabled={busy || undefined}
      aria-busy={busy || undefined}
      onClick={busy ? (event) => event.preventDefault() : onClick}
    >
      {children}
    </button>
  );
}

/** A round button with a picture; `label` is its name, and shown when it is pointed at. */
export function IconButton(
  props: Omit<ButtonProps, "kind" | "label"> & {
    label: string;
    pressed?: boolean;
    tip?: string | undefined;
    buttonRef?: Ref<HTMLButtonElement>;
  },
) {
  const { label, pressed, tip, buttonRef, busy, children, type = "button", ...rest } = props;
  return (
    <button
      {...rest}
      ref={buttonRef ?? null}
      type={type}
      class={`round${rest.class ? ` ${rest.class}` : ""}`}
      aria-label={label}
      aria-pressed={pressed}
      aria-disabled={busy || undefined}
      data-tip={tip ?? label}
    >
      {children}
    </button>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  type?: "text" | "email" | "password" | "search" | "number" | "url";
  hint?: ComponentChildren;
  error?: string | undefined; // why it cannot stay so; read out with the field
  rows?: number; // a text area of so many lines
  hideLabel?: boolean;
  required?: boolean;
  autoFocus?: boolean;
  autoComplete?: string;
  inputMode?: "numeric" | "text" | "email";
  placeholder?: string;
  maxLength?: number;
  min?: number;
  max?: number;
  step?: number | "any";
  name?: string;
  mono?: boolean;
  readOnly?: boolean;
  spellcheck?: boolean;
  onKeyDown?: (event: KeyboardEvent) => void;
}

/** A label, what is typed, and what is to be said about it. */
export function Field(props: FieldProps) {
  const id = useId();
  const { label, hint, error, rows, hideLabel, onInput, mono, autoFocus, ...rest } = props;
  const described = [hint ? `${id}-hint` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ");
  const common = {
    ...rest,
    id,
    class: mono ? "input mono" : "input",
    "aria-invalid": error ? true : undefined,
    "aria-describedby": described || undefined,
    ref: autoFocus ? focusOnce : null,
    onInput: (event: { currentTarget: { value: string } }) => onInput(event.currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id} class={hideLabel ? "visually-hidden" : ""}>
        {label}
      </label>
      {rows ? <textarea {...(common as object)} rows={rows} /> : <input {...(common as object)} />}
      {hint && (
        <p class="note" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="field-error" id={`${id}-error`} role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

const focused = new WeakSet<HTMLElement>();

function focusOnce(element: HTMLElement | null) {
  if (!element || focused.has(element)) return;
  focused.add(element);
  requestAnimationFrame(() => element.focus());
}

/** One of a few, as the system draws it: best on a phone, and with any keyboard. */
export function Select<T extends string>(props: {
  label: string;
  value: T;
  options: { value: T; label: string }[];
  onChange: (value: T) => void;
  hideLabel?: boolean;
  hint?: ComponentChildren;
  disabled?: boolean;
}) {
  const id = useId();
  return (
    <div class="field">
      <label for={id} class={props.hideLabel ? "visually-hidden" : ""}>
        {props.label}
      </label>
      <span class="select">
        <select
          id={id}
          class="input"
          value={props.value}
          disabled={props.disabled ?? false}
          aria-describedby={props.hint ? `${id}-hint` : undefined}
          onChange={(event) => props.onChange(event.currentTarget.value as T)}
        >
          {props.options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
        <ChevronIcon />
      </span>
      {props.hint && (
        <p class="note" id={`${id}-hint`}>
          {props.hint}
        </p>
      )}
    </div>
  );
}

/** On or off, at once. */
export function Toggle(props: {
  label: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
  hint?: ComponentChildren;
  disabled?: boolean;
}) {
  const id = useId();
  return (
    <div class="toggle">
      <div>
        <span id={`${id}-label`} class="toggle-label">
          {props.label}
        </span>
        {props.hint && (
          <p class="note" id={`${id}-hint`}>
            {props.hint}
          </p>
        )}
      </div>
      <button
        type="button"
        role="switch"
        class="switch"
        aria-checked={props.checked}
        aria-labelledby={`${id}-label`}
        aria-describedby={props.hint ? `${id}-hint` : undefined}
        disabled={props.disabled ?? false}
        onClick={() => props.onChange(!props.checked)}
      >
        <span class="switch-knob" />
      </button>
    </div>
  );
}

/** Views side by side; arrow keys move between their names. Draw the chosen one as `children`. */
export function Tabs<T extends string>(props: {
  label: string;
  tabs: { id: T; label: string }[];
  chosen: T;
  onChoose: (id: T) => void;
  children?: ComponentChildren;
}) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);

  function onKeyDown(event: KeyboardEvent) {
    const at = props.tabs.findIndex((tab) => tab.id === props.chosen);
    const last = props.tabs.length - 1;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + props.tabs.length) % props.tabs.length;
    props.onChoose(props.tabs[next]!.id);
    list.current?.querySelectorAll<HTMLElement>("[role=tab]")[next]?.focus();
  }

  return (
    <>
      <div class="tabs" role="tablist" aria-label={props.label} ref={list} onKeyDown={onKeyDown}>
        {props.tabs.map((tab) => (
          <button
            key={tab.id}
            type="button"
            role="tab"
            id={`${id}-${tab.id}`}
            class="tab"
            aria-selected={tab.id === props.chosen}
            aria-controls={props.children !== undefined ? `${id}-panel` : undefined}
            tabIndex={tab.id === props.chosen ? 0 : -1}
            onClick={() => props.onChoose(tab.id)}
          >
            {tab.label}
          </button>
        ))}
      </div>
      {props.children !== undefined && (
        <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${props.chosen}`}>
          {props.children}
        </div>
      )}
    </>
  );
}

/** What stands where there is nothing yet: why, and what to do about it. */
export function EmptyState(props: {
  icon?: ComponentChildren;
  title: string;
  text?: ComponentChildren;
  whole?: boolean; // nothing else is on the page: its title is the page's heading
  children?: ComponentChildren;
}) {
  const Title = props.whole ? "h1" : "p";
  return (
    <div class="empty">
      {props.icon && <span class="empty-icon">{props.icon}</span>}
      <Title class="empty-title">{props.title}</Title>
      {props.text && <p class="note">{props.text}</p>}
      {props.children}
    </div>
  );
}

/** A person's initial on a quiet colour; the name is said beside it. */
export function Avatar(props: { name: string; size?: "small" | "large" }) {
  const first = [...props.name.trim()][0] ?? "?";
  return (
    <span class={`avatar ${props.size ?? "small"}`} aria-hidden="true">
      {first.toLocaleUpperCase()}
    </span>
  );
}

/** Lines that stand in for a list under way, so that nothing jumps when it arrives. */
export function Waiting(props: { lines?: number; label: string }) {
  return (
    <div class="waiting" role="status" aria-label={props.label}>
      {Array.from({ length: props.lines ?? 4 }, (_, index) => (
        <span key={index} class="waiting-line" />
      ))}
    </div>
  );
}
