import { MoonIcon, SunIcon } from "./icons";
import type { Theme } from "./settings";
import { useStrings } from "./strings";

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
