"""Figures of all feedback for those who look after the models: counts, and nothing of a text."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from chatwright.serve.store.tables import ChatMessage, Feedback, SideBySide, now

_ROWS = 200_000  # the newest are counted where there are more


def figures(session: Session, *, days: int = 30) -> dict[str, Any]:
    """Thumbs per day, model, reason and language of the last `days`, and votes between answers.

    `models[].wins` of `votes`: how often a model's answer was preferred where one of the two was.
    """
    since = now() - timedelta(days=days)
    by_day: dict[str, Counter[str]] = {}
    by_model: dict[str | None, Counter[str]] = {}
    by_language: dict[str, Counter[str]] = {}
    reasons: Counter[tuple[str, str]] = Counter()
    edited = 0
    rows = session.execute(
        select(
            Feedback.rating,
            Feedback.reasons,
            Feedback.model,
            Feedback.language,
            Feedback.created_at,
            Feedback.sealed_better.is_not(None),
        )
        .where(Feedback.created_at >= since)
        .order_by(Feedback.created_at.desc())
        .limit(_ROWS)
    )
    for rating, why, model, language, at, better in rows:
        key = rating or "none"
        by_day.setdefault(at.date().isoformat(), Counter())[key] += 1
        by_model.setdefault(model, Counter())[key] += 1
        by_language.setdefault(language or "other", Counter())[key] += 1
        reasons.update((reason, key) for reason in why)
        edited += bool(better)
    votes, wins, choices = _votes(session, since)
    for model in votes:
        by_model.setdefault(model, Counter())
    return {
        "days": [{"day": day, **_thumbs(by_day[day])} for day in sorted(by_day)],
        "models": [
            {"model": model, **_thumbs(by_model[model]), "votes": votes[model], "wins": wins[model]}
            for model in sorted(by_model, key=lambda one: one or "")
        ],
        "reasons": [
            {"reason": reason, "rating": rating, "count": count}
            for (reason, rating), count in sorted(
                reasons.items(), key=lambda item: (-item[1], item[0])
            )
        ],
        "languages": [
            {"language": language, **_thumbs(by_language[language])}
            for language in sorted(by_language)
        ],
        "comparisons": {name: choices[name] for name in ("left", "right", "tie", "both_bad")},
        "better_answers": edited,
    }


def _thumbs(counted: Counter[str]) -> dict[str, int]:
    return {"up": counted["up"], "down": counted["down"]}


def _votes(
    session: Session, since: Any
) -> tuple[Counter[str | None], Counter[str | None], Counter[str]]:
    left, right = aliased(ChatMessage), aliased(ChatMessage)
    rows = session.execute(
        select(SideBySide.choice, left.model, right.model)
        .join(left, left.id == SideBySide.left_id)
        .join(right, right.id == SideBySide.right_id)
        .where(SideBySide.created_at >= since)
        .order_by(SideBySide.created_at.desc())
        .limit(_ROWS)
    )
    votes: Counter[str | None] = Counter()
    wins: Counter[str | None] = Counter()
    choices: Counter[str] = Counter()
    for choice, of_left, of_right in rows:
        choices[choice] += 1
        if of_left != of_right:
            votes.update((of_left, of_right))
            if choice in ("left", "right"):
                wins[of_left if choice == "left" else of_right] += 1
    return votes, wins, choices
