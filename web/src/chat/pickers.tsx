/** What answers: the model; and what it may use: tools and knowledge. */
import { CheckIcon, ChevronIcon, ToolIcon } from "../icons";
import { Menu, type MenuItem } from "../shell/parts";
import { useLang } from "../settings";
import { useChatStrings } from "../strings-chat";
import { Popover } from "./popover";
import { toolIn } from "./server-words";
import type { Collection, Model, Settings, Tool } from "./types";

export function ModelPicker(props: { models: Model[]; chosen: Model | null; onChoose: (id: string) => void }) {
  const strings = useChatStrings();
  const groups: [string, Model[]][] = [
    [strings.assistants, props.models.filter((model) => model.kind === "assistant")],
    [strings.models, props.models.filter((model) => model.kind !== "assistant")],
  ];
  const shown = groups.filter(([, members]) => members.length > 0);
  const items: MenuItem[] = shown.flatMap(([heading, members]) => [
    ...(shown.length > 1 ? [{ heading }] : []),
    ...members.map((model) => ({
      label: model.title,
      detail: model.description || (model.grounded ? strings.grounded : ""),
      checked: model.id === props.chosen?.id,
      onSelect: () => props.onChoose(model.id),
    })),
  ]);
  const name = props.chosen?.title ?? "Chatwright";
  if (props.models.length < 2) return <strong class="model-name">{name}</strong>;
  return (
    <Menu label={strings.choose} items={items} wide>
      {(trigger) => (
        <button {...trigger} type="button" class="quiet model-name" aria-label={`${strings.choose}: ${name}`}>
          <span>{name}</span>
          <ChevronIcon />
        </button>
      )}
    </Menu>
  );
}

interface Option {
  id: string;
  title: string;
  detail: string;
  badge?: string;
}

export function ToolPicker(props: {
  tools: Tool[];
  collections: Collection[];
  settings: Settings;
  onChange: (change: Settings) => void;
  onOpen: () => void;
}) {
  const strings = useChatStrings();
  const language = useLang();
  const { tools, collections, settings } = props;
  // What was chosen and is gone since then does not count.
  const chosenTools = (settings.tools ?? []).filter((name) => tools.some((tool) => tool.name === name));
  const chosenCollections = (settings.collections ?? []).filter((id) => collections.some((one) => one.id === id));
  const count = chosenTools.length + chosenCollections.length;
  const toggle = (list: string[], id: string) =>
    list.includes(id) ? list.filter((one) => one !== id) : [...list, id];
  return (
    <Popover
      label={strings.toolsAndKnowledge(count)}
      class={count ? "quiet chosen" : "quiet"}
      onOpen={props.onOpen}
      button={
        <>
          <ToolIcon />
          <span class="wide-only">{strings.tools}</span>
          {count > 0 && <span class="count" data-count={count} />}
        </>
      }
    >
      {() => (
        <>
          <Checks
            heading={strings.toolsHeading}
            empty={strings.noTools}
            options={tools.map((tool) => ({
              id: tool.name,
              title: tool.title || tool.name,
              detail: toolIn(language, tool.name, tool.description),
              ...(tool.simulated ? { badge: strings.simulated } : {}),
            }))}
            chosen={chosenTools}
            onToggle={(id) => props.onChange({ tools: toggle(chosenTools, id) })}
          />
          <Checks
            heading={strings.knowledgeHeading}
            empty={strings.noCollections}
            options={collections.map((one) => ({
              id: one.id,
              title: one.name,
              detail: "",
              ...(one.shared ? { badge: strings.shared } : {}),
            }))}
            chosen={chosenCollections}
            onToggle={(id) => props.onChange({ collections: toggle(chosenCollections, id) })}
          />
        </>
      )}
    </Popover>
  );
}

function Checks(props: {
  heading: string;
  empty: string;
  options: Option[];
  chosen: string[];
  onToggle: (id: string) => void;
}) {
  return (
    <fieldset class="picks">
      <legend>{props.heading}</legend>
      {props.options.length === 0 && <p class="note">{props.empty}</p>}
      {props.options.map((option) => (
        <label key={option.id} class="pick">
          <input
            type="checkbox"
            checked={props.chosen.includes(option.id)}
            onChange={() => props.onToggle(option.id)}
          />
          <span class="pick-box" aria-hidden="true">
            <CheckIcon />
          </span>
          <span class="pick-text">
            <span>
              {option.title}
              {option.badge && <span class="badge">{option.badge}</span>}
            </span>
            {option.detail && <span class="note">{option.detail}</span>}
          </span>
        </label>
      ))}
    </fieldset>
  );
}
