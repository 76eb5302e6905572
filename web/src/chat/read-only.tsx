/** A conversation to read, as on the page of a shared link: nothing in it can be changed or asked for. */
import { useMemo, useState } from "preact/hooks";
import { useChatStrings } from "../strings-chat";
import { AnswerBody } from "./answer";
import { CopyButton } from "./code";
import { Drawer, type Opened } from "./drawer";
import { QuestionView } from "./question";
import { fullMessage, type Sent } from "./types";

const NOBODY = { models: [], tools: [] };

/** `messages`: in order, from the first question; fields that are missing are empty. */
export function ReadOnlyConversation(props: {
  messages: (Omit<Sent, "id"> & { id?: string })[];
}) {
  const strings = useChatStrings();
  const [opened, setOpened] = useState<Opened | null>(null);
  const messages = useMemo(
    () => props.messages.map((one, index) => fullMessage({ ...one, id: one.id ?? String(index) })),
    [props.messages],
  );
  return (
    <div class="column" role="region" aria-label={strings.conversation}>
      {messages.map((message) =>
        message.role === "user" ? (
          <QuestionView key={message.id} message={message} index={0} count={1} actions={null} busy={false} />
        ) : message.role === "assistant" ? (
          <article key={message.id} class="answer" aria-label={message.model ?? strings.answer}>
            <AnswerBody
              message={{ ...message, status: message.status === "writing" ? "stopped" : message.status }}
              names={NOBODY}
              connection="open"
              onOpen={(source, model) => setOpened({ source, model })}
              onAppeal={null}
            />
            <div class="actions quiet-actions">
              <CopyButton icon text={message.text} label={strings.copyAnswer} />
            </div>
          </article>
        ) : null,
      )}
      {opened && <Drawer opened={opened} offline onClose={() => setOpened(null)} />}
    </div>
  );
}
