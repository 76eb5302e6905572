"""How many words an answer shares with a reference: exact match, token F1, ROUGE."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from chatwright.evaluate.metrics.tokens import whole_words
from chatwright.evaluate.text import answer_tokens, normalise_answer, rouge_tokens

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


def token_f1(answer: str, reference: str) -> float:
    """F1 of the words that the two share, counted with repetition (SQuAD), in 0…1.

    Two texts without any word are equal (1); one of them without is a miss (0).
    """
    given, wanted = answer_tokens(answer), answer_tokens(reference)
    if not given or not wanted:
        return float(given == wanted)
    shared = (Counter(given) & Counter(wanted)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def exact_match(answer: str, reference: str) -> float:
    """1 where the two are equal after `normalise_answer`, else 0."""
    return float(normalise_answer(answer) == normalise_answer(reference))


def rouge_1(answer: str, reference: str, *, words: bool = False) -> float:
    """ROUGE-1 F-measure; see `rouge_l`."""
    return _rouge("rouge1", answer, reference, words)


def rouge_2(answer: str, reference: str, *, words: bool = False) -> float:
    """ROUGE-2 F-measure; see `rouge_l`."""
    return _rouge("rouge2", answer, reference, words)


def rouge_l(answer: str, reference: str, *, words: bool = False) -> float:
    """ROUGE-L F-measure (Lin 2004) by the rouge-score library, in 0…1, for English and Chinese.

    Chinese is compared by characters, or with `words` by the words that rjieba finds. Of texts
    without any word the library gives 0, even where both are empty.
    """
    return _rouge("rougeL", answer, reference, words)


def _rouge(kind: str, answer: str, reference: str, words: bool) -> float:
    return float(_rouge_scorer(kind, words).score(reference, answer)[kind].fmeasure)


class _Characters:
    """Our words behind rouge-score's tokenizer interface."""

    def tokenize(self, text: str) -> list[str]:
        return rouge_tokens(text)


class _Words:
    """The same with Chinese words instead of characters."""

    def tokenize(self, text: str) -> list[str]:
        return whole_words(text)


@cache
def _rouge_scorer(kind: str, words: bool) -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # brings nltk along: half a second

    return RougeScorer([kind], tokenizer=_Words() if words else _Characters())
