"""Items of an evaluation laid out to be read: texts shortened, differing words marked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from chatwright.curate.words import HAN
from chatwright.evaluate.results import Metric
from chatwright.govern.contrast import Contrast, Line, score_of, shares

_PROMPT, _TEXT, _CHOICE = 1_200, 1_600, 300  # characters shown of each
_CHOICES = 6  # of many choices, those that any model preferred, and the right one
_LEAST_COMMON = 0.15
_PIECE = re.compile(rf"[{HAN}]|[^\W{HAN}]+|\s+|[^\w\s]")
# Samples of each kind that are tried until the page stays below its size.
_SAMPLES = (8, 6, 4, 3, 2, 1, 0)
_AN_ITEM, _A_CHOICE = 1_400, 400  # bytes of markup around an item's and a choice's own text


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of an item; `shares` are per model: (per cent, log-probability, picked)."""

    text: str
    gold: bool
    shares: list[tuple[float, str, bool] | None]


@dataclass(slots=True)
class Item:
    """An item ready to be shown."""

    id: str
    language: str
    prompt: str
    left_out: str
    gold: str
    choices: list[Choice]
    more_choices: int
    sides: list[Side] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Side:
    """What one model said: its score, its text with what the other did not say marked.

    `about`: what was made of the text (the answer taken out of it, how its code ran).
    """

    model: str
    index: int
    score: str
    right: bool | None
    text: Markup
    about: str = ""


def sample_size(found: Sequence[Contrast], budget: int) -> int:
    """The largest sample per kind of item with which all shown items stay below `budget` bytes."""
    for count in _SAMPLES:
        lines = [q for c in found for g in c.groups for q in g.lines[:count]]
        if sum(map(_size, lines)) <= budget:
            return count
    return 0


def show_item(line: Line, models: Sequence[str], metric: Metric, primary: str) -> Item:
    """Lay one item out: long texts shortened, and marked where the two models' words differ."""
    prompt = str(line.get("prompt") or line.get("question") or "").strip()
    cut = max(0, len(prompt) - _PROMPT)
    choices, more = _choices(line, models, primary)
    gold = line.get("gold") if "task" in line else line.get("reference")
    item = Item(
        id=line["id"],
        language=str(line.get("language") or ""),
        prompt=prompt[cut:],
        left_out=f"{cut:,} characters before this are left out" if cut else "",
        gold="" if choices or gold is None else _cut(str(gold), _TEXT),
        choices=choices,
        more_choices=more,
    )
    texts = [_cut(str(line["answers"][m].get("text") or ""), _TEXT) for m in models]
    marked = differing(*texts) if len(texts) == 2 else tuple(escape(t) for t in texts)
    for index, model in enumerate(models):
        value = score_of(line, model, primary)
        right = None if value not in (0.0, 1.0) or metric.unit != "share" else value == 1.0
        if right is not None and metric.better == "lower":
            right = not right
        shown = "" if value is None else (f"{value:.3g}" if right is None else "")
        about = _about(line["answers"][model], bool(choices))
        item.sides.append(Side(model, index, shown, right, marked[index], about))
    return item


def differing(first: str, second: str) -> tuple[Markup, Markup]:
    """Two texts, the words of each that the other does not have in that place in `<mark>`.

    A Han character counts as a word, so that Chinese shows which characters differ. Texts that
    have next to nothing in common stay as they are: all marked would say nothing.
    """
    pieces = _PIECE.findall(first), _PIECE.findall(second)
    matcher = difflib.SequenceMatcher(None, *pieces, autojunk=False)
    out: tuple[list[Markup], list[Markup]] = ([], [])
    common = 0
    for kind, a, b, c, d in matcher.get_opcodes():
        for side, text in ((0, "".join(pieces[0][a:b])), (1, "".join(pieces[1][c:d]))):
            if kind == "equal":
                common += len("".join(text.split()))
            plain = kind == "equal" or not text or text.isspace()
            out[side].append(escape(text) if plain else Markup("<mark>{}</mark>").format(text))
    total = len("".join((first + second).split()))
    if common < _LEAST_COMMON * total:
        return escape(first), escape(second)
    return Markup("").join(out[0]), Markup("").join(out[1])


def _choices(line: Line, models: Sequence[str], primary: str) -> tuple[list[Choice], int]:
    texts, gold = line.get("choices") or [], line.get("gold")
    if not texts:
        return [], 0
    found = [shares(line["answers"][m].get("logprobs"), texts, primary) for m in models]
    picked = [_picked(line, m, primary, share) for m, share in zip(models, found, strict=True)]
    kept = set(range(len(texts)))
    if len(texts) > _CHOICES + 2:
        kept = {i for i in (gold, *picked) if isinstance(i, int)}
        best = [max((s[i] for s in found if s), default=0.0) for i in range(len(texts))]
        for i in sorted(range(len(texts)), key=lambda i: (-best[i], i)):
            if len(kept) < _CHOICES:
                kept.add(i)
    out = []
    for i, text in enumerate(texts):
        if i not in kept:
            continue
        per_model: list[tuple[float, str, bool] | None] = []
        for m, share, choice in zip(models, found, picked, strict=True):
            logprob = line["answers"][m]["logprobs"][i] if share else None
            per_model.append(
                (round(100 * share[i], 1), _signed(logprob), choice == i)
                if share and logprob is not None
                else ((0.0, "", choice == i) if choice is not None else None)
            )
        out.append(Choice(_cut(str(text).strip(), _CHOICE), i == gold, per_model))
    return out, len(texts) - len(out)


def _about(answer: Mapping[str, Any], choices: bool) -> str:
    """What was made of an answer: what was taken out of it, how its code ran, how likely it was."""
    parts = []
    if answer.get("answer") is not None:
        parts.append(f"taken as: {_cut(str(answer['answer']), _CHOICE)}")
    if answer.get("outcome"):
        parts.append(" ".join(f"{answer['outcome']} {answer.get('error') or ''}".split()))
    logprobs = answer.get("logprobs")
    if not choices and logprobs and len(logprobs) == 1:
        parts.append(f"log-probability of the right text: {_signed(logprobs[0])}")
    return _cut("; ".join(parts), 2 * _CHOICE)


def _picked(line: Line, model: str, primary: str, share: Sequence[float]) -> int | None:
    """Which choice counted as the model's: as recorded, else the likeliest.

    Never one that contradicts the score: another metric may have another choice.
    """
    gold, score = line.get("gold"), score_of(line, model, primary)
    likeliest = max(range(len(share)), key=share.__getitem__) if share else None
    for choice in (line["answers"][model].get("choice"), likeliest):
        if isinstance(choice, int) and (
            score not in (0.0, 1.0) or (choice == gold) == (score == 1.0)
        ):
            return choice
    return gold if score == 1.0 and isinstance(gold, int) else None


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most].rstrip() + " …"


def _size(line: Line) -> int:
    """About how many bytes an item takes on the page."""
    texts = [str(line.get("prompt") or line.get("question") or "")[-_PROMPT:]]
    texts += [str(a.get("text") or "")[:_TEXT] for a in line["answers"].values()]
    choices = line.get("choices") or []
    texts += [str(c)[:_CHOICE] for c in choices[: _CHOICES + 2]]
    return (
        _AN_ITEM + _A_CHOICE * min(len(choices), _CHOICES + 2) + sum(len(t.encode()) for t in texts)
    )
