"""Words of a text for the metrics that count n-grams, in English and Chinese."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from chatwright.curate.words import HAN

# As `rouge_tokens`, except that a run of Han characters is cut into words of a dictionary.
_TOKEN = re.compile(
    f"(?P<han>[{HAN}]+)|[\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7a3]"
    f"|[^\\W_{HAN}\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7a3]+"
)


def whole_words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits, and the words of Chinese that rjieba finds."""
    out: list[str] = []
    for found in _TOKEN.finditer(unicodedata.normalize("NFKC", text).lower()):
        out.extend(_cut(found[0]) if found["han"] else [found[0]])
    return out


@lru_cache(maxsize=16_384)
def _cut(run: str) -> tuple[str, ...]:
    import rjieba  # reads its dictionary (0.3 s): only where there is Chinese

    return tuple(rjieba.cut(run))


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` tokens, in order and with repetitions."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def ngram_counts(tokens: Sequence[str], longest: int) -> list[Counter[tuple[str, ...]]]:
    """How often each n-gram occurs, for n = 1 … `longest`."""
    return [Counter(ngrams(tokens, n)) for n in range(1, longest + 1)]
