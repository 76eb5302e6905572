"""Feedback in the database: one for each answer and person, and votes between two answers."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from chatwright.serve.bodies import Body
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.feedback.reasons import CODES, REASONS
from chatwright.serve.history.content import TEXT_CHARACTERS
from chatwright.serve.history.conversations import feedback_json
from chatwright.serve.history.store import own_message, read_message
from chatwright.serve.ids import new_id
from chatwright.serve.parameters import BodyId
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Feedback, SideBySide, now

COMMENT_CHARACTERS = 4000
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z]")


class FeedbackIn(Body):
    """What somebody says of an answer: a thumb, reasons for it, a comment, a better answer."""

    rating: Literal["up", "down"] | None = None
    reasons: list[str] = Field(default=[], max_length=len(CODES))
    comment: str = Field("", max_length=COMMENT_CHARACTERS)
    better: str | None = Field(None, max_length=TEXT_CHARACTERS)


class ComparisonIn(Body):
    """Which of two answers to one question is better."""

    left_id: BodyId
    right_id: BodyId
    choice: Literal["left", "right", "tie", "both_bad"]


def put_feedback(
    session: Session, sealer: Sealer, person_id: str, message_id: str, told: FeedbackIn
) -> dict[str, Any]:
    """Keep feedback in place of what was said before. Raises `ApiError`: 404 for a message that is
    not theirs, 400 for one that is no answer, and for reasons that do not go with the rating.
    """
    message = own_message(session, person_id, message_id)
    if message.role != "assistant":
        raise ApiError(400, "only answers can be rated", param="message_id", code="invalid_value")
    if message.status == "writing":
        raise ApiError(409, "the answer is still being written", code="still_writing")
    known = CODES if told.rating is None else {one.code for one in REASONS[told.rating]}
    for reason in told.reasons:
        if reason not in known:
            raise ApiError(
                400, f"reasons: choose from {', '.join(known)}", param="reasons",
                code="invalid_value",
            )  # fmt: skip
    comment, better = told.comment.strip(), told.better
    if better is not None and not better.strip():
        better = None
    if told.rating is None and not told.reasons and not comment and better is None:
        raise ApiError(400, "nothing is said", code="invalid_value")
    row = _find(session, person_id, message_id)
    if row is None:
        row = Feedback(id=new_id("fbk"), person_id=person_id, message_id=message_id, reasons=[])
        session.add(row)
    row.rating = told.rating
    row.reasons = list(dict.fromkeys(told.reasons))
    row.sealed_comment = (
        sealer.seal(comment, context=f"feedback.comment:{row.id}") if comment else None
    )
    row.sealed_better = (
        sealer.seal(better, context=f"feedback.better:{row.id}") if better is not None else None
    )
    row.model = message.model
    row.language = language_of(read_message(sealer, message).text)
    row.created_at = now()
    session.flush()
    return feedback_json(sealer, row)


def put_imported(
    session: Session, sealer: Sealer, person_id: str, message_id: str, told: dict[str, Any]
) -> None:
    """Feedback that came with an imported conversation; what is not valid is left out."""
    try:
        put_feedback(session, sealer, person_id, message_id, FeedbackIn.model_validate(told))
    except (ValueError, ApiError):
        return


def delete_feedback(session: Session, person_id: str, message_id: str) -> None:
    """Take feedback back. Raises `ApiError` 404."""
    own_message(session, person_id, message_id)
    row = _find(session, person_id, message_id)
    if row is None:
        raise not_found("feedback")
    session.delete(row)


def put_comparison(session: Session, person_id: str, told: ComparisonIn) -> str:
    """Keep a vote in place of an earlier one on the same two answers; returns its id.

    Raises `ApiError`: 404 for answers that are not theirs, 400 for two that are not whole answers
    to one question.
    """
    left = own_message(session, person_id, told.left_id)
    right = own_message(session, person_id, told.right_id)
    same = left.parent_id == right.parent_id and left.conversation_id == right.conversation_id
    if left.id == right.id or not same or {left.role, right.role} != {"assistant"}:
        raise ApiError(400, "these are not two answers to one question", code="invalid_value")
    if "writing" in (left.status, right.status):
        raise ApiError(409, "an answer is still being written", code="still_writing")
    session.execute(
        delete(SideBySide).where(
            SideBySide.person_id == person_id,
            or_(
                (SideBySide.left_id == left.id) & (SideBySide.right_id == right.id),
                (SideBySide.left_id == right.id) & (SideBySide.right_id == left.id),
            ),
        )
    )
    row = SideBySide(
        id=new_id("cmp"),
        person_id=person_id,
        left_id=left.id,
        right_id=right.id,
        choice=told.choice,
    )
    session.add(row)
    session.flush()
    return row.id


def language_of(text: str) -> str:
    """`zh`, `en` or `other`, by the letters: for counting only."""
    some = text[:2000]
    han, latin = len(_HAN.findall(some)), len(_LATIN.findall(some))
    if han * 3 > latin and han:
        return "zh"
    return "en" if latin else "other"


def _find(session: Session, person_id: str, message_id: str) -> Feedback | None:
    return session.scalars(
        select(Feedback).where(Feedback.person_id == person_id, Feedback.message_id == message_id)
    ).first()
