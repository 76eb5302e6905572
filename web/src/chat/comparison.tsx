import { useEffect, useRef, useState } from "preact/hooks";
import { CloseIcon } from "../icons";
import { toast } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import { AnswerBody } from "./answer";
import type { Choice } from "./api";
import type { Connection } from "./run";
import type { Actions, Names } from "./turns";
import type { Message } from "./types";

const CHOICES = ["left", "tie", "both_bad", "right"] as const;

/** Two answers to one question, side by side, until one is chosen or the comparison is put away. */
export function Comparison(props: {
  left: Message;
  right: Message;
  live: ReadonlyMap<string, Connection>;
  names: Names;
  actions: Actions;
}) {
  const strings = useChatStrings();
  const { left, right, live, names, actions } = props;
  const [busy, setBusy] = useState(false);
  const frame = useRef<HTMLElement>(null);
  const ready = [left, right].every((one) => one.status === "done" || (one.status === "stopped" && one.text !== ""));
  const over = [left, right].every((one) => one.status !== "writing");

  useEffect(() => {
    frame.current?.scrollIntoView({ block: "nearest" });
  }, []);

  async function vote(choice: Choice) {
    setBusy(true);
    try {
      await actions.vote(choice);
      toast(strings.voted);
    } catch (error) {
      toast((error as Error).message || strings.lost, { tone: "problem" });
      setBusy(false);
    }
  }

  return (
    <section class="comparison" aria-label={strings.comparison} ref={frame}>
      <header>
        <h2>{over ? strings.whichIsBetter : strings.twoAnswers}</h2>
        {over && (
          <button
            type="button"
            class="round"
            aria-label={strings.closeComparison}
            data-tip={strings.closeComparison}
            onClick={actions.closeComparison}
          >
            <CloseIcon />
          </button>
        )}
      </header>
      <div class="pair">
        {[left, right].map((message, index) => (
          <article
            key={message.id}
            class="answer"
            aria-label={index ? strings.rightAnswer : strings.leftAnswer}
            aria-busy={message.status === "writing"}
          >
            <p class="pair-name">{index ? strings.rightAnswer : strings.leftAnswer}</p>
            <AnswerBody
              message={message}
              names={names}
              connection={live.get(message.id) ?? "open"}
              onOpen={actions.open}
              onAppeal={actions.appeal}
            />
            {message.status === "failed" && <p class="problem">{message.error || strings.failedPlain}</p>}
          </article>
        ))}
      </div>
      <div class="votes" role="group" aria-label={strings.whichIsBetter}>
        {CHOICES.map((choice) => (
          <button key={choice} type="button" class="outlined" disabled={!ready || busy} onClick={() => vote(choice)}>
            {strings.choices[choice]}
          </button>
        ))}
      </div>
    </section>
  );
}
