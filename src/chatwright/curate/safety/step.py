"""The step of a curation that scores each row and drops what is beyond a bound."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatwright.curate.candidate import Candidate
from chatwright.curate.safety.adult import adult_score
from chatwright.curate.safety.lexicon import words_in
from chatwright.curate.safety.offensive import offensive_scores
from chatwright.curate.safety.personal import personal_score
from chatwright.curate.safety.settings import SCORES, SafetySettings, ScoreRule
from chatwright.curate.safety.spam import spam_score
from chatwright.curate.words import HAN

_HAN = re.compile(f"[{HAN}]")
_READ = 1_000_000  # characters of a page that are looked at


@dataclass(frozen=True, slots=True)
class SafetyStep:
    """Puts the scores into `meta["scores"]`; the rules are named as the scores are.

    A row that several rules would drop is dropped by the first of `SCORES`, and its ledger line
    names the others.
    """

    settings: SafetySettings

    def __call__(self, candidates: list[Candidate]) -> None:
        found = [self._by_rule(candidate) for candidate in candidates]
        if self.settings.offensive is not None:
            texts = [_judged(candidate) for candidate in candidates]
            try:
                chances = offensive_scores(texts, self.settings.parts)
            except Exception:  # of one row; the others must not go with it
                chances = [_alone(text, self.settings.parts) for text in texts]
            for scores, chance in zip(found, chances, strict=True):
                scores["offensive"] = (chance, "")
        for candidate, scores in zip(candidates, found, strict=True):
            self._judge(candidate, scores)

    def _by_rule(self, candidate: Candidate) -> dict[str, tuple[float, str]]:
        s, text = self.settings, candidate.text[:_READ]
        lower = text.lower()
        han = 0 if text.isascii() else len(_HAN.findall(text))
        words = words_in(text, han)
        scores: dict[str, tuple[float, str]] = {}
        if s.adult is not None:
            scores["adult"] = adult_score(lower, words)
        if s.spam is not None:
            scores["spam"] = spam_score(text, lower, words, han)
        if s.personal_data is not None:
            scores["personal_data"] = personal_score(lower, words)
        return scores

    def _judge(self, candidate: Candidate, scores: dict[str, tuple[float, str]]) -> None:
        known = {name: round(scores[name][0], 4) for name in SCORES if name in scores}
        candidate.meta["scores"] = {**candidate.meta.get("scores", {}), **known}
        failed = []
        for name, value in known.items():
            rule: ScoreRule = getattr(self.settings, name)
            bound = rule.bound(candidate.language.code)
            if bound is not None and value > bound:
                failed.append((name, value, f"max {bound:g}", scores[name][1]))
        if failed:
            name, value, bound_text, why = failed[0]
            also = "; ".join(f"also {n} {v:.4g} ({b})" for n, v, b, _ in failed[1:])
            candidate.drop(
                name, value, bound_text, detail="; ".join(filter(None, (why, also))) or None
            )


def _judged(candidate: Candidate) -> str:
    """The text as the models know it: they were trained on simplified Chinese."""
    text = candidate.text[:_READ]
    if candidate.meta.get("script") == "Hant":
        from chatwright.curate.normal.chinese import simplify

        return simplify(text)
    return text


def _alone(text: str, parts: int) -> float:
    try:
        return offensive_scores([text], parts)[0]
    except Exception:
        return 0.0


def make_step(settings: SafetySettings | None) -> SafetyStep | None:
    """The step, or None where no score is asked for."""
    if settings is None or all(getattr(settings, name) is None for name in SCORES):
        return None
    return SafetyStep(settings)
