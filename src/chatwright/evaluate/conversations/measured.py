"""What one conversation says about the assistant: pure functions from a row to numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chatwright.curate.language import detect_language
from chatwright.curate.words import count_words, is_chinese
from chatwright.evaluate.conversations.facts import ConversationFacts, TurnFacts
from chatwright.evaluate.conversations.outcome import Outcome, judge_outcome
from chatwright.evaluate.conversations.phrases import is_content
from chatwright.evaluate.conversations.repeats import Similarity, repeated_turns
from chatwright.evaluate.refusal import declines_request, is_refusal
from chatwright.records import Conversation

SEVERAL = "several"  # the model of a conversation in which more than one answered
_FIRST_MESSAGE = 600  # characters kept to sort conversations by intent

Sentiment = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers of one conversation, and what it is grouped by.

    `turns` are the person's messages, `requests` those less closing thanks. `asked` is the opening
    of the first question, for sorting by intent, and goes into no report. `reasons` are those of
    thumbs down. `sentiment`: −1…1 for each of the person's turns, empty where no classifier was
    given. `redone_recorded`: answers for which the application recorded whether they were cut off,
    asked for again or rewritten; `redone`: those that were.
    """

    id: str
    user: str | None
    at: datetime | None
    language: str | None
    model: str | None
    intent: str | None
    asked: str
    turns: int
    requests: int
    answers: int
    words: int
    asked_words: int
    thumbs_up: int
    thumbs_down: int
    reasons: tuple[str, ...]
    outcome: Outcome
    repeated: int
    refused: int
    redone: int
    redone_recorded: int
    sentiment: tuple[float, ...]
    seconds: tuple[float, ...]
    first_token_seconds: tuple[float, ...]


def measure(
    conversation: Conversation,
    facts: ConversationFacts,
    *,
    sentiment: Sentiment | None = None,
    similarity: Similarity | None = None,
) -> Measured:
    """Measure one conversation. `facts` are those of `read_facts`."""
    messages = conversation.messages
    turns = facts.turns or (TurnFacts(),) * len(messages)
    pairs = list(zip(messages, turns, strict=True))
    asked = [m.content for m, _ in pairs if m.role == "user"]
    answers = [(m.content, t) for m, t in pairs if m.role == "assistant" and m.content.strip()]
    waited = [t for m, t in pairs if m.role == "assistant"]
    # Closing thanks are no attempt to get an answer.
    requests = [text for i, text in enumerate(asked) if i == 0 or not is_content(text)]
    return Measured(
        id=conversation.id,
        user=facts.user,
        at=next((t.at for t in turns if t.at is not None), conversation.collected_at),
        language=conversation.language or _language(asked),
        model=_model(facts, [t for _, t in answers]),
        intent=facts.intent,
        asked=asked[0][:_FIRST_MESSAGE] if asked else "",
        turns=len(asked),
        requests=len(requests),
        answers=len(answers),
        words=sum(count_words(text) for text, _ in answers),
        asked_words=sum(count_words(text) for text in asked),
        thumbs_up=sum(t.feedback == "up" for t in waited),
        thumbs_down=sum(t.feedback == "down" for t in waited),
        reasons=tuple(r for t in waited if t.feedback == "down" for r in t.reasons),
        outcome=judge_outcome(messages, facts),
        repeated=len(repeated_turns(requests, similarity)),
        refused=sum(is_refusal(t) or declines_request(t) for t, _ in answers),
        redone=sum(_redone(t) is True for _, t in answers),
        redone_recorded=sum(_redone(t) is not None for _, t in answers),
        sentiment=tuple(sentiment(text) for text in asked) if sentiment is not None else (),
        seconds=tuple(t.seconds for t in waited if t.seconds is not None),
        first_token_seconds=tuple(
            t.first_token_seconds for t in waited if t.first_token_seconds is not None
        ),
    )


def _model(facts: ConversationFacts, turns: list[TurnFacts]) -> str | None:
    named = {t.model or facts.model for t in turns} or {facts.model}
    return named.pop() if len(named) == 1 else SEVERAL


def _redone(turn: TurnFacts) -> bool | None:
    """Whether the person cut the answer off, asked for another or rewrote it; None: not known."""
    known = [x for x in (turn.stopped, turn.edited, turn.regenerated) if x is not None]
    return any(known) if known else None


def _language(asked: list[str]) -> str | None:
    text = "\n".join(asked)
    if is_chinese(text):
        # A short Chinese question is under what the detector needs, and plain to see.
        found = detect_language(text).code
        return found or "zh"
    return detect_language(text).code
