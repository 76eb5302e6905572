"""How a conversation ended: answered to somebody's content, left, or simply over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatwright.evaluate.conversations.facts import ConversationFacts, TurnFacts
from chatwright.evaluate.conversations.phrases import is_complaint, is_content
from chatwright.records import Message

Sign = Literal["stated", "thumb up", "thanks", "end"]
Leaving = Literal["stated", "unanswered", "stopped", "thumb down", "complaint"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`turns`: the person's turns up to the first answer that settled it, and by which sign.

    `sign` is None where nothing settled it, and then `turns` is None too. `left` says how it was
    abandoned, None where it was not.
    """

    turns: int | None
    sign: Sign | None
    left: Leaving | None

    @property
    def confirmed(self) -> bool:
        """Settled by somebody's word and not just because no more was said."""
        return self.sign in ("stated", "thumb up", "thanks")


def judge_outcome(messages: Sequence[Message], facts: ConversationFacts) -> Outcome:
    """The outcome by these rules, in this order; what the application states goes first.

    Abandoned: the person's last message, unless it thanks or confirms, got no answer
    (`unanswered`); it complains about the answer before it, and at most one more answer follows
    (`complaint`); the last answer was cut off (`stopped`) or got a thumb down.

    Settled: at the first answer that has a thumb up or is followed by thanks or a confirmation;
    else, where it was not abandoned, at its last answer (`end`). These are heuristics: a person
    who leaves in silence may have left content or not.
    """
    turns = facts.turns or (TurnFacts(),) * len(messages)
    left = _leaving(messages, turns) if facts.abandoned is None else None
    if facts.abandoned:
        left = "stated"
    asked, answered = 0, False
    for message, turn in zip(messages, turns, strict=True):
        if message.role == "user":
            if answered and facts.resolved is None and is_content(message.content):
                return Outcome(asked, "thanks", left)
            asked += 1
        elif message.role == "assistant" and message.content.strip():
            answered = True
            if facts.resolved is None and turn.feedback == "up":
                return Outcome(max(asked, 1), "thumb up", left)
    if facts.resolved is not None:
        # The application knows that, but not at which turn; closing thanks are no turn of work.
        closing = (
            bool(messages) and messages[-1].role == "user" and is_content(messages[-1].content)
        )
        asked = max(1, asked - closing)
        return Outcome(asked, "stated", left) if facts.resolved else Outcome(None, None, left)
    if left is None and answered:
        return Outcome(max(asked, 1), "end", None)
    return Outcome(None, None, left)


def _leaving(messages: Sequence[Message], turns: Sequence[TurnFacts]) -> Leaving | None:
    said = [(m, t) for m, t in zip(messages, turns, strict=True) if m.role in ("user", "assistant")]
    if not said:
        return None
    message, turn = said[-1]
    asked = next((m.content for m, _ in reversed(said) if m.role == "user"), "")
    if turn.feedback == "up" or (message.role == "user" and is_content(asked)):
        return None
    left: Leaving | None = None
    if message.role == "assistant" and turn.stopped:
        left = "stopped"
    elif turn.feedback == "down":
        left = "thumb down"
    elif is_complaint(asked):
        left = "complaint"
    elif message.role == "user" or not message.content.strip():
        left = "unanswered"
    return left
