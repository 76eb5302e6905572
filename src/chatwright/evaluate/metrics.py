"""What one answer is worth against its reference: pure functions of texts and numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

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


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F-measure (Lin 2004) by the rouge-score library, in 0…1, for English and Chinese."""
    return float(_rouge_scorer().score(reference, answer)["rougeL"].fmeasure)


@dataclass(frozen=True, slots=True)
class CitationScore:
    """How an answer cites. `right`: it cites, and nothing but passages that hold the answer.

    `precision` is the share of its citations that are right, `recall` the share of the passages
    that hold the answer and were shown which it cites. An answer that cites everything in sight
    has recall 1 and is not `right`.
    """

    any: float
    right: float
    precision: float
    recall: float


def citation_score(
    cited: Sequence[int], shown: Sequence[str], gold: Collection[str]
) -> CitationScore:
    """Score the passage numbers `cited` (from 1) against the ids or uris that hold the answer.

    `shown[n - 1]` names the passage that the model saw as number n. A number outside `shown` counts
    as a wrong citation.
    """
    numbers = list(dict.fromkeys(cited))
    right = [n for n in numbers if 1 <= n <= len(shown) and shown[n - 1] in gold]
    available = sum(name in gold for name in shown)
    return CitationScore(
        any=float(bool(numbers)),
        right=float(bool(numbers) and len(right) == len(numbers)),
        precision=len(right) / len(numbers) if numbers else 0.0,
        recall=len(right) / available if available else 0.0,
    )


def perplexity(nll: float, tokens: float) -> float:
    """exp(mean negative log-likelihood per token), from their sums in nats. 1 is certainty."""
    if tokens <= 0:
        raise ValueError("perplexity needs at least one token")
    return math.exp(nll / tokens)


def bits_per_byte(nll: float, utf8_bytes: float) -> float:
    """Bits that the model needs for each UTF-8 byte of the text, from the sum in nats.

    Unlike perplexity it does not depend on the tokenizer, so it compares models with different
    ones.
    """
    if utf8_bytes <= 0:
        raise ValueError("bits per byte need at least one byte")
    return nll / math.log(2) / utf8_bytes


class _RougeTokens:
    """Our words behind rouge-score's tokenizer interface."""

    def tokenize(self, text: str) -> list[str]:
        return rouge_tokens(text)


@cache
def _rouge_scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # brings nltk along: half a second

    return RougeScorer(["rougeL"], tokenizer=_RougeTokens())
