/** What a person says about an answer: why it is good or bad, and what would have been better. */
import { useState } from "preact/hooks";
import { Button, Dialog, Field } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import type { Feedback, Message, Rating } from "./types";

export const REASONS: Record<Rating, readonly string[]> = {
  up: ["correct", "helpful", "clear", "complete", "well_sourced", "good_style"],
  down: ["incorrect", "not_helpful", "incomplete", "bad_sources", "instructions", "wrong_language", "unsafe", "refused"],
};

export const emptyFeedback = (rating: Rating | null): Feedback => ({ rating, reasons: [], comment: "", better: null });

export function FeedbackDialog(props: {
  message: Message;
  onSave: (feedback: Feedback) => Promise<void>;
  onClose: () => void;
}) {
  const strings = useChatStrings();
  const first = props.message.feedback ?? emptyFeedback("down");
  const [feedback, setFeedback] = useState(first);
  const save = useSaving(() => props.onSave({ ...feedback, comment: feedback.comment.trim() }), props.onClose);
  const reasons = REASONS[feedback.rating ?? "down"];
  const toggle = (reason: string) =>
    setFeedback((now) => ({
      ...now,
      reasons: now.reasons.includes(reason) ? now.reasons.filter((one) => one !== reason) : [...now.reasons, reason],
    }));
  return (
    <Dialog
      title={feedback.rating === "up" ? strings.whatWasGood : strings.whatWasWrong}
      size="small"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{strings.cancel}</Button>
          <Button kind="primary" busy={save.busy} onClick={save.run}>
            {strings.sendFeedback}
          </Button>
        </>
      }
    >
      <div class="stack">
        <div class="reason-chips" role="group" aria-label={strings.reasonsLabel}>
          {reasons.map((reason) => (
            <button
              key={reason}
              type="button"
              class="pill"
              aria-pressed={feedback.reasons.includes(reason)}
              onClick={() => toggle(reason)}
            >
              {strings.reasons[reason] ?? reason}
            </button>
          ))}
        </div>
        <Field
          label={strings.comment}
          rows={3}
          maxLength={4000}
          value={feedback.comment}
          onInput={(comment) => setFeedback((now) => ({ ...now, comment }))}
          error={save.problem || undefined}
          hint={strings.feedbackHint}
        />
      </div>
    </Dialog>
  );
}

export function BetterDialog(props: {
  message: Message;
  onSave: (feedback: Feedback) => Promise<void>;
  onClose: () => void;
}) {
  const strings = useChatStrings();
  const { message } = props;
  const [better, setBetter] = useState(message.feedback?.better || message.text);
  const changed = better.trim() !== "" && better.trim() !== message.text.trim();
  const save = useSaving(
    () => props.onSave({ ...(message.feedback ?? emptyFeedback(null)), better: better.trim() }),
    props.onClose,
  );
  return (
    <Dialog
      title={strings.improve}
      size="large"
      onClose={props.onClose}
      actions={
        <>
          <Button onClick={props.onClose}>{strings.cancel}</Button>
          <Button kind="primary" busy={save.busy} disabled={!changed} onClick={save.run}>
            {strings.save}
          </Button>
        </>
      }
    >
      <Field
        label={strings.betterAnswer}
        rows={14}
        maxLength={100_000}
        value={better}
        onInput={setBetter}
        error={save.problem || undefined}
        hint={strings.betterHint}
      />
    </Dialog>
  );
}

function useSaving(save: () => Promise<void>, onDone: () => void) {
  const strings = useChatStrings();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  return {
    busy,
    problem,
    async run() {
      setBusy(true);
      try {
        await save();
        onDone();
      } catch (error) {
        setProblem((error as Error).message || strings.lost);
        setBusy(false);
      }
    },
  };
}
