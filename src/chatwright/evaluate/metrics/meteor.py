"""METEOR: words aligned exactly, then by stem, with a penalty for broken order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from chatwright.errors import UsageError
from chatwright.evaluate.metrics.answers import Answer, Columns, best_of
from chatwright.evaluate.text import rouge_tokens


class _NoSynonyms:
    """A WordNet that knows no word."""

    def synsets(self, word: str) -> tuple[()]:
        return ()


def meteor(answer: str, reference: str, *, wordnet: Any = None) -> float:
    """METEOR (Lavie & Agarwal 2007) as nltk computes it, in 0…1; Chinese by characters.

    Words meet exactly or by Porter stem, and as synonyms where `wordnet` (nltk's corpus reader) is
    given. Without it the figure is the same on every machine, and lower than with it.
    """
    from nltk.translate.meteor_score import single_meteor_score

    return float(
        single_meteor_score(
            rouge_tokens(reference),
            rouge_tokens(answer),
            wordnet=_NoSynonyms() if wordnet is None else wordnet,
        )
    )


def meteor_with_synonyms(answers: Sequence[Answer]) -> list[Columns]:
    """METEOR of each answer with WordNet's synonyms. Raises `UsageError` where WordNet is not."""
    wordnet = _wordnet()
    value: Callable[[str, str], float] = lambda a, r: meteor(a, r, wordnet=wordnet)  # noqa: E731
    return best_of(value)(answers)


@cache
def _wordnet() -> Any:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise UsageError(
            "METEOR with synonyms needs WordNet, which is not installed",
            hint='run python -m nltk.downloader wordnet, or use "meteor", which does without',
        ) from error
    return wordnet
