/** Line icons, 20 × 20, drawn for this page. */
import type { ComponentChildren } from "preact";

export function Icon(props: { children: ComponentChildren }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      {props.children}
    </svg>
  );
}

export const SendIcon = () => <Icon><path d="M10 16V4M5 9l5-5 5 5" /></Icon>;
export const StopIcon = () => <Icon><rect class="solid" x="5" y="5" width="10" height="10" rx="2" /></Icon>;
export const NewIcon = () => <Icon><path d="M10 4v12M4 10h12" /></Icon>;
export const CloseIcon = () => <Icon><path d="M5 5l10 10M15 5L5 15" /></Icon>;
export const CopyIcon = () => <Icon><rect x="7" y="7" width="9" height="9" rx="2" /><path d="M13 4.5A1.5 1.5 0 0 0 11.5 3h-7A1.5 1.5 0 0 0 3 4.5v7A1.5 1.5 0 0 0 4.5 13" /></Icon>;
export const CheckIcon = () => <Icon><path d="M4 10.5l4 4 8-9" /></Icon>;
export const DownIcon = () => <Icon><path d="M10 4v12M5 11l5 5 5-5" /></Icon>;
export const ChevronIcon = () => <Icon><path d="M6 8l4 4 4-4" /></Icon>;
export const LinkIcon = () => <Icon><path d="M8 5H5a1 1 0 0 0-1 1v9a1 1 0 0 0 1 1h9a1 1 0 0 0 1-1v-3M11 4h5v5M16 4l-7 7" /></Icon>;
export const RetryIcon = () => <Icon><path d="M15.5 7A6 6 0 1 0 16 11M16 3.5V7.5H12" /></Icon>;
export const SunIcon = () => <Icon><circle cx="10" cy="10" r="3.2" /><path d="M10 2.5v1.6M10 15.9v1.6M2.5 10h1.6M15.9 10h1.6M4.7 4.7l1.1 1.1M14.2 14.2l1.1 1.1M4.7 15.3l1.1-1.1M14.2 5.8l1.1-1.1" /></Icon>;
export const MoonIcon = () => <Icon><path d="M16.5 11.8A6.8 6.8 0 0 1 8.2 3.5a6.8 6.8 0 1 0 8.3 8.3z" /></Icon>;
export const NoteIcon = () => <Icon><circle cx="10" cy="10" r="7" /><path d="M10 9v4.5M10 6.5v.1" /></Icon>;
export const BalanceIcon = () => <Icon><path d="M10 3.5v13M6.5 16.5h7M4 6.5h12M4 6.5l-2 5a2.1 2.1 0 0 0 4 0zM16 6.5l-2 5a2.1 2.1 0 0 0 4 0z" /></Icon>;
export const HelpIcon = () => <Icon><circle cx="10" cy="10" r="7" /><path d="M8 8a2 2 0 1 1 3 1.8c-.7.4-1 .8-1 1.5M10 13.7v.1" /></Icon>;
export const ToolIcon = () => <Icon><path d="M12.8 3.6a4 4 0 0 0-4.7 5.3l-4.6 4.6a1.4 1.4 0 0 0 0 2l.9.9a1.4 1.4 0 0 0 2 0l4.6-4.6a4 4 0 0 0 5.3-4.8l-2.5 2.3-2.4-.6-.6-2.4z" /></Icon>;
export const SlidersIcon = () => <Icon><path d="M3 6.5h7M14 6.5h3M3 13.5h3M10 13.5h7" /><circle cx="12" cy="6.5" r="1.9" /><circle cx="8" cy="13.5" r="1.9" /></Icon>;
export const CompareIcon = () => <Icon><rect x="3" y="4" width="5.5" height="12" rx="1.5" /><rect x="11.5" y="4" width="5.5" height="12" rx="1.5" /></Icon>;
export const BackwardIcon = () => <Icon><path d="M12 5.5L7.5 10l4.5 4.5" /></Icon>;
export const ForwardIcon = () => <Icon><path d="M8 5.5l4.5 4.5L8 14.5" /></Icon>;
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <path class="logo-shape" d="M6 5h20a3 3 0 0 1 3 3v13a3 3 0 0 1-3 3H15l-7 5v-5H6a3 3 0 0 1-3-3V8a3 3 0 0 1 3-3z" />
    <path class="logo-lines" d="M9.5 12h13M9.5 17h8" />
  </svg>
);
