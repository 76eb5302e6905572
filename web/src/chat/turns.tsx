/** The questions and answers that are shown, in order. */
import type { Connection } from "./run";
import { AnswerView } from "./answer";
import { Comparison } from "./comparison";
import { QuestionView } from "./question";
import type { Choice } from "./api";
import type { Versions } from "./tree";
import type { Feedback, Message, Model, Rating, Source, Tool } from "./types";

/** What can be done with a message. The same object for as long as the conversation is shown. */
export interface Actions {
  step: (id: string, by: -1 | 1) => void;
  edit: (id: string, text: string) => void;
  regenerate: (id: string) => void;
  continue: (id: string) => void;
  compare: (id: string) => void;
  closeComparison: () => void;
  vote: (choice: Choice) => Promise<void>;
  rate: (id: string, feedback: Feedback | null) => Promise<void>;
  thumb: (message: Message, rating: Rating) => void;
  explain: (message: Message) => void;
  improve: (message: Message) => void;
  appeal: (event: string) => void;
  open: (source: Source, model: string) => void;
}

export interface Names {
  models: readonly Model[];
  tools: readonly Tool[];
}

export function MessageList(props: {
  shown: readonly Message[];
  versions: readonly Versions[];
  live: ReadonlyMap<string, Connection>;
  pair: readonly [Message, Message] | null;
  found: string | null; // what a search led to: it is marked
  names: Names;
  actions: Actions;
}) {
  const { shown, versions, live, pair, found, names, actions } = props;
  const last = shown.length - 1;
  return (
    <>
      {shown.map((message, index) => {
        const { index: at = 0, ids = [] } = versions[index] ?? {};
        if (message.role === "user")
          return (
            <QuestionView
              key={message.id}
              message={message}
              index={at}
              count={ids.length}
              found={message.id === found}
              actions={actions}
              busy={live.size > 0}
            />
          );
        if (message.role !== "assistant") return null;
        if (pair?.some((one) => one.id === message.id))
          return <Comparison key="pair" left={pair[0]} right={pair[1]} live={live} names={names} actions={actions} />;
        return (
          <AnswerView
            key={message.id}
            message={message}
            index={at}
            count={ids.length}
            last={index === last}
            found={message.id === found}
            busy={live.size > 0}
            connection={live.get(message.id) ?? "open"}
            names={names}
            actions={actions}
          />
        );
      })}
    </>
  );
}
