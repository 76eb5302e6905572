/** The person at the foot of the sidebar, and where they can go from there. */
import { useEffect, useState } from "preact/hooks";
import { listStudies } from "../arena-api";
import { signOut } from "../clients/account";
import { BalanceIcon, MoonIcon, SunIcon } from "../icons";
import { navigate } from "../router";
import { leave, useSession } from "../session";
import { useThemeChoice, type ThemeChoice } from "../settings";
import { useShell } from "../strings-shell";
import { BookIcon, GearIcon, LogoutIcon, ShieldIcon, SystemIcon } from "./icons";
import { Avatar, Menu, type MenuItem } from "./parts";
import { chooseLanguage, chooseTheme, otherLanguage } from "./preferences";
import { attempt } from "./problem";

const THEMES: ThemeChoice[] = ["system", "light", "dark"];

export function AccountMenu() {
  const strings = useShell();
  const session = useSession();
  const theme = useThemeChoice();
  const [studies, setStudies] = useState(false);
  const person = session?.person;
  const local = session?.mode === "local";
  const name = local ? strings.local : (person?.name ?? "");

  useEffect(() => {
    if (!local && person?.role === "user") return setStudies(false); // not theirs to see
    listStudies("").then((found) => setStudies(found.length > 0), () => setStudies(false));
  }, [person?.id, person?.role, local]);

  const themeItem: MenuItem = {
    label: strings.themeIs(strings[theme]),
    icon: theme === "dark" ? <MoonIcon /> : theme === "light" ? <SunIcon /> : <SystemIcon />,
    onSelect: () => chooseTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!),
  };
  const items: MenuItem[] = [
    ...(person && !local ? [{ heading: person.email }] : []),
    { label: strings.settings, icon: <GearIcon />, onSelect: () => navigate("/settings") },
    { label: strings.knowledge, icon: <BookIcon />, onSelect: () => navigate("/knowledge") },
    ...(studies ? [{ label: strings.judging, icon: <BalanceIcon />, onSelect: () => navigate("/arena") }] : []),
    ...(person && person.role !== "user"
      ? [{ label: strings.administration, icon: <ShieldIcon />, onSelect: () => navigate("/admin") }]
      : []),
    "line",
    themeItem,
    { label: strings.otherLanguage, icon: <LanguageIcon />, onSelect: () => chooseLanguage(otherLanguage()) },
    ...(local
      ? []
      : [
          "line" as const,
          {
            label: strings.signOut,
            icon: <LogoutIcon />,
            onSelect: () => void attempt(signOut).then((worked) => worked && leave()),
          },
        ]),
  ];

  return (
    <Menu label={strings.account} items={items}>
      {(trigger) => (
        <button {...trigger} type="button" class="account">
          <span class="visually-hidden">{strings.account}</span>
          <Avatar name={name} />
          <span class="account-name">{name}</span>
        </button>
      )}
    </Menu>
  );
}

const LanguageIcon = () => (
  <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
    <path d="M3 5h8M7 3.500V5M9.500 5C9 8.500 6.500 11 3.500 12M4.500 5c.8 3 2.800 5 5 6M10.500 16.500l3.300-8 3.300 8M11.700 13.800h4.200" />
  </svg>
);
