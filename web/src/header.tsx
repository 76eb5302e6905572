import type { Model } from "./api";
import { BalanceIcon, ChevronIcon, Logo, MoonIcon, NewIcon, SunIcon } from "./icons";
import type { Theme } from "./settings";
import { useStrings } from "./strings";

export function Header(props: {
  models: Model[];
  chosen: Model | null;
  theme: Theme;
  studies: boolean;
  onChoose: (id: string) => void;
  onTheme: (theme: Theme) => void;
  onLanguage: () => void;
  onNew: () => void;
}) {
  const strings = useStrings();
  return (
    <header class="top">
      <Logo />
      {props.models.length > 1 ? (
        <Picker models={props.models} chosen={props.chosen} onChoose={props.onChoose} />
      ) : (
        <strong class="top-name">{props.chosen?.title ?? "Chatwright"}</strong>
      )}
      <span class="space" />
      {props.studies && (
        <a class="quiet" href="/arena" aria-label={strings.arena.link} title={strings.arena.link}>
          <BalanceIcon />
          <span class="wide-only">{strings.arena.link}</span>
        </a>
      )}
      <Appearance theme={props.theme} onTheme={props.onTheme} onLanguage={props.onLanguage} />
      <button type="button" class="outlined" onClick={props.onNew} aria-label={strings.newChat}>
        <NewIcon />
        <span class="wide-only">{strings.newChat}</span>
      </button>
    </header>
  );
}

/** The page's language and colours. */
export function Appearance(props: {
  theme: Theme;
  onTheme: (theme: Theme) => void;
  onLanguage: () => void;
}) {
  const strings = useStrings();
  const other: Theme = props.theme === "dark" ? "light" : "dark";
  return (
    <>
      <button type="button" class="quiet" onClick={props.onLanguage} aria-label={strings.switchLanguage}>
        {strings.otherLanguage}
      </button>
      <button
        type="button"
        class="round"
        onClick={() => props.onTheme(other)}
        aria-label={strings[other]}
        title={strings[other]}
      >
        {other === "dark" ? <MoonIcon /> : <SunIcon />}
      </button>
    </>
  );
}

function Picker(props: { models: Model[]; chosen: Model | null; onChoose: (id: string) => void }) {
  const strings = useStrings();
  const groups = [
    { label: strings.assistants, members: props.models.filter((m) => m.kind === "assistant") },
    { label: strings.models, members: props.models.filter((m) => m.kind === "model") },
  ].filter((group) => group.members.length > 0);
  return (
    <label class="picker">
      <span class="visually-hidden">{strings.choose}</span>
      <select
        value={props.chosen?.id ?? ""}
        onChange={(event) => props.onChoose(event.currentTarget.value)}
      >
        {groups.map((group) => (
          <optgroup key={group.label} label={group.label}>
            {group.members.map((model) => (
              <option key={model.id} value={model.id}>
                {model.title}
              </option>
            ))}
          </optgroup>
        ))}
      </select>
      <ChevronIcon />
    </label>
  );
}
