/** The administration, page by page. Annotators see what is theirs: feedback and moderation. */
import type { AdminSection } from "../router";
import { useSession } from "../session";
import { ChartIcon, FlagIcon, GearIcon, LogIcon, PeopleIcon, ShieldIcon, ThumbIcon } from "../shell/icons";
import { EmptyState } from "../shell/parts";
import { Sections } from "../shell/sections";
import { Audit } from "./audit";
import { Feedback } from "./feedback";
import { Moderation } from "./moderation";
import { People } from "./people";
import { Server } from "./server";
import { useWords } from "./strings";
import { Usage } from "./usage";

const PAGES: { id: AdminSection; icon: preact.ComponentChildren; view: () => preact.JSX.Element; annotator?: true }[] = [
  { id: "people", icon: <PeopleIcon />, view: () => <People /> },
  { id: "usage", icon: <ChartIcon />, view: () => <Usage /> },
  { id: "feedback", icon: <ThumbIcon />, view: () => <Feedback />, annotator: true },
  { id: "moderation", icon: <FlagIcon />, view: () => <Moderation />, annotator: true },
  { id: "audit", icon: <LogIcon />, view: () => <Audit /> },
  { id: "server", icon: <GearIcon />, view: () => <Server /> },
];

export function Admin(props: { section: AdminSection }) {
  const words = useWords();
  const session = useSession();
  const role = session?.person?.role ?? "user";
  const pages = PAGES.filter((page) => role === "admin" || (role === "annotator" && page.annotator)).filter(
    // One person alone has nobody to administer.
    (page) => page.id !== "people" || session?.mode !== "local",
  );
  // The first page is people's; where it is not shown, the first of those that are.
  const current = pages.find((page) => page.id === props.section) ?? (props.section === "people" ? pages[0] : undefined);
  if (!current)
    return (
      <main class="view-alone">
        <EmptyState whole icon={<ShieldIcon />} title={words.forbidden}>
          <a class="outlined" href="/">
            {words.toChats}
          </a>
        </EmptyState>
      </main>
    );
  return (
    <Sections
      title={words.title}
      back={words.toChats}
      base="/admin"
      current={current.id}
      sections={pages.map(({ id, icon }) => ({ id, icon, label: words.sections[id] }))}
      wide
    >
      {current.view()}
    </Sections>
  );
}
