"""What the application knows about a conversation beside its words: the keys of `meta`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from chatwright.errors import DataError
from chatwright.records import Conversation


def _time(value: Any) -> Any:
    """ISO 8601 with an offset, or seconds since 1970 (OpenAI and Open WebUI export both)."""
    if value is None or isinstance(value, datetime):
        found = value
    elif isinstance(value, bool):
        raise ValueError("a time must be ISO 8601 or seconds since 1970")
    elif isinstance(value, int | float):
        try:
            found = datetime.fromtimestamp(value, tz=UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError(f"{value!r} seconds since 1970 is no date") from error
    elif isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise ValueError(f"{value!r} is not an ISO 8601 time") from error
    else:
        raise ValueError("a time must be ISO 8601 or seconds since 1970")
    if found is None:
        return None
    # Without an offset nobody can say which day it was; the exports that leave it out mean UTC.
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if not 1990 <= found.year <= 2200:
        raise ValueError(f"{found.isoformat()} is no plausible time (milliseconds for seconds?)")
    return found


def _seconds(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a duration must be a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"a duration must be ≥ 0 seconds, not {value!r}")
    return float(value)


Time = Annotated[datetime | None, BeforeValidator(_time)]
Seconds = Annotated[float | None, BeforeValidator(_seconds)]
Label = Annotated[str, Field(strict=True, min_length=1, max_length=200)]
Flag = Annotated[bool, Field(strict=True)]


class TurnFacts(BaseModel):
    """What is known of one message; `meta["turns"]` has one for each, in the same order.

    `at`: when the message was whole. `seconds`, `first_token_seconds`: how long the person waited
    for the last and for the first token. `feedback`: thumb up or down, None where not rated;
    `reasons` what the person ticked or wrote beside it. `stopped`: the person cut the answer off.
    `regenerated`: how often another answer was asked for. `edited`: the person rewrote the text.
    `model` answers for this message alone where several models took part. Other keys are left be.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    at: Time = None
    seconds: Seconds = None
    first_token_seconds: Seconds = None
    feedback: Literal["up", "down"] | None = None
    reasons: tuple[str, ...] = ()
    stopped: Flag | None = None
    regenerated: Annotated[int, Field(strict=True, ge=0)] | None = None
    edited: Flag | None = None
    model: Label | None = None


class ConversationFacts(BaseModel):
    """The keys of a conversation's `meta` that analytics reads; all are optional.

    `user` is an opaque name: what one person says is not independent evidence, so people and not
    conversations are drawn again for intervals where it is given. `resolved` and `abandoned` are
    the application's own word and go before the heuristics of `outcome.py`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    turns: tuple[TurnFacts, ...] | None = None
    model: Label | None = None
    intent: Label | None = None
    user: Label | None = None
    resolved: Flag | None = None
    abandoned: Flag | None = None


def read_facts(conversation: Conversation) -> ConversationFacts:
    """The facts of a conversation. Raises `DataError` that names the key at fault."""
    try:
        facts = ConversationFacts.model_validate(conversation.meta)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        given = first["input"]
        shown = f" (found {given!r:.60})" if not isinstance(given, dict | list) else ""
        raise DataError(f"{text}{shown}", where=f"meta{key}") from error
    if facts.turns is not None and len(facts.turns) != len(conversation.messages):
        raise DataError(
            f"{len(facts.turns)} turns for {len(conversation.messages)} messages: "
            "there must be one for each",
            where="meta.turns",
        )
    return facts
