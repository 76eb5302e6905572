"""How likely a page is pornography or advertises it: a score by our own list of words.

There is no labelled public set in our data to learn from, so the score is a rule that can be read;
`adult.txt` has the words, English and Chinese. A strong term (what only such pages say) is worth 3
points, a plain one (sex, nude) 1. Terms of medicine, teaching, news and law take points off the
plain ones alone, so that a page on contraception or on a trial stays low. With d points in a
hundred words and n different terms (a plain one is half) the score is (1 - e^(-d/3)) * min(1, n/3):
one word is never enough.
"""

from __future__ import annotations

import math

from chatwright.curate.safety.lexicon import Lexicon

_LEXICON = Lexicon("adult")
_SCALE = 3.0
_TERMS = 3


def adult_score(lower: str, words: float) -> tuple[float, str]:
    """The score of a lower-case text of so many words, and the terms that weigh most."""
    found = _LEXICON.count(lower)
    strong, plain = found["strong"], found["plain"]
    if not strong and not plain:
        return 0.0, ""
    points = 3 * strong.total() + max(0, plain.total() - found["sober"].total())
    different = len(strong) + (len(plain) / 2 if points > 3 * strong.total() else 0)
    # A very short text counts as twenty words: one line says little.
    density = 100 * points / max(words, 20.0)
    score = (1 - math.exp(-density / _SCALE)) * min(1.0, different / _TERMS)
    shown = [term for term, _ in (strong + plain).most_common(3)]
    return score, ", ".join(shown)
