/** One's own settings, page by page. */
import type { SettingsSection } from "../router";
import { useSession } from "../session";
import { BrainIcon, DatabaseIcon, GearIcon, KeyIcon, MaskIcon, ShieldIcon, UserIcon } from "../shell/icons";
import { Sections } from "../shell/sections";
import { Data } from "./data";
import { General, Personal } from "./general";
import { Keys } from "./keys";
import { Memories } from "./memories";
import { Personas } from "./personas";
import { Security } from "./security";
import { useWords } from "./strings";

export function Settings(props: { section: SettingsSection }) {
  const words = useWords();
  const session = useSession();
  const pages: { id: SettingsSection; icon: preact.ComponentChildren }[] = [
    { id: "general", icon: <GearIcon /> },
    { id: "personal", icon: <UserIcon /> },
    { id: "memory", icon: <BrainIcon /> },
    { id: "personas", icon: <MaskIcon /> },
    { id: "data", icon: <DatabaseIcon /> },
    // One person without an account has no password and needs no key.
    ...(session?.mode === "local"
      ? []
      : [
          { id: "security" as const, icon: <ShieldIcon /> },
          { id: "keys" as const, icon: <KeyIcon /> },
        ]),
  ];
  if (!session?.person) return null;
  const { person } = session;
  return (
    <Sections
      title={words.settings}
      back={words.toChats}
      base="/settings"
      current={props.section}
      sections={pages.map((one) => ({ ...one, label: words.sections[one.id] }))}
    >
      {props.section === "general" && <General person={person} mode={session.mode} />}
      {props.section === "personal" && <Personal person={person} />}
      {props.section === "memory" && <Memories person={person} />}
      {props.section === "personas" && <Personas admin={person.role === "admin"} />}
      {props.section === "data" && <Data person={person} mode={session.mode} />}
      {props.section === "security" && <Security person={person} mode={session.mode} />}
      {props.section === "keys" && <Keys person={person} mode={session.mode} />}
    </Sections>
  );
}
