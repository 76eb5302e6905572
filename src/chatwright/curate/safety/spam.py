"""How likely a page is made for search engines or to sell by pestering: a score from eight signs.

Each sign is a number that rises from 0 at one bound to 1 at another; the score is
1 − Π (1 − weight · sign). The bounds and weights stand in `SIGNS`: a rule that can be read, since
there is no labelled public set in our data to learn one from. docs/guides/safety.md tells what they
do on texts of our own and on ordinary pages.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from chatwright.curate.safety.lexicon import Lexicon, ramp, read_terms


@dataclass(frozen=True, slots=True)
class Sign:
    """Where a sign begins to count, where it counts in full, and how much."""

    low: float
    high: float
    weight: float


SIGNS: dict[str, Sign] = {
    # Share of the commonest word of four letters or more (English), or character pair (Chinese).
    "keyword stuffing": Sign(0.1, 0.2, 0.75),
    "calls to action": Sign(1.0, 4.0, 0.8),  # in a hundred words
    "what spam sells": Sign(0.8, 3.0, 0.8),  # in a hundred words
    "links": Sign(0.45, 0.9, 0.5),  # share of the lines that hold little but a link
    "link farm": Sign(12, 40, 0.6),  # different hosts linked to, in lines that are links
    "template": Sign(0.4, 0.8, 0.6),  # share of lines that begin or end as five others do
    "contact": Sign(2, 5, 0.5),  # times that one number or account is repeated
    "shouting": Sign(3, 10, 0.5),  # exclamations, capitals, symbols in a hundred words
}

_LEXICON = Lexicon("spam", ("calls", "wares"))
_LEAST_HITS = 3
_LEAST_REPEATS = 12

_WORD = re.compile(r"[a-z]{4,}")
_LINK = re.compile(r"\]\([^()\s]{4,2000}\)|https?://[^\s<>)\]]{4,2000}")
# The first signs of these are sets, which the engine looks for fast.
_NUMBER = re.compile(r"\d[\d -]{5,16}\d")
_MARKS = re.compile("[!\uff01]{2,}|\\${2,}")
_SYMBOL = re.compile(
    "[\u2605\u2606\u2714\u2705\u274c\u27a4\u25ba\u2b50\u2764\U0001f300-\U0001faff]"
)
_CAPITALS = re.compile(r"[A-Z]{4,}")
_LEAST_WORDS = 40
_LEAST_LINES = 8
_MOST_LINES = 5_000
_ALIKE = 5  # lines that begin or end alike


def spam_score(text: str, lower: str, words: float, han: int) -> tuple[float, str]:
    """The score of a text, and the signs that count most; `lower` is the text in lower case."""
    values = measure_spam(text, lower, words, han)
    kept, shown = 1.0, []
    for name, sign in SIGNS.items():
        strength = sign.weight * ramp(values.get(name, 0.0), sign.low, sign.high)
        kept *= 1 - strength
        if strength > 0.1:
            shown.append((strength, name))
    return 1 - kept, ", ".join(name for _, name in sorted(shown, reverse=True)[:3])


def measure_spam(text: str, lower: str, words: float, han: int) -> dict[str, float]:
    """The number behind each of `SIGNS`."""
    size = max(words, float(_LEAST_WORDS))
    found = _LEXICON.count(lower)
    calls, wares = found["calls"].total(), found["wares"].total()
    lines = [line.strip() for line in lower[:400_000].split("\n") if line.strip()][:_MOST_LINES]
    share, hosts = _links(lines)
    shouts = 0 if text.isascii() else len(_SYMBOL.findall(text))
    if any(sign in text for sign in ("!!", "$$", "\uff01\uff01", "!\uff01", "\uff01!")):
        shouts += len(_MARKS.findall(text))
    if not han:
        shouts += len(_CAPITALS.findall(text)) // 3
    return {
        "keyword stuffing": _stuffing(lower, words, han),
        "calls to action": 100 * calls / size if calls >= _LEAST_HITS else 0.0,
        "what spam sells": 100 * wares / size
        if wares >= _LEAST_HITS and len(found["wares"]) > 1
        else 0.0,
        "links": share,
        "link farm": float(hosts),
        "template": _templates(lines),
        "contact": _repeated_contact(lower),
        "shouting": 100 * shouts / size if shouts >= _LEAST_HITS else 0.0,
    }


def _stuffing(lower: str, words: float, han: int) -> float:
    if han > words / 2:
        return _commonest_pair(lower)
    found, common = Counter(_WORD.findall(lower)), read_terms("spam")["common"]
    top = next(((w, n) for w, n in found.most_common(40) if w not in common), None)
    return top[1] / words if top and words >= _LEAST_WORDS and top[1] >= _LEAST_REPEATS else 0.0


def _commonest_pair(lower: str) -> float:
    """Share of the commonest pair of Chinese characters among all such pairs."""
    import numpy as np

    codes = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    is_han = (codes >= 0x3400) & (codes <= 0x9FFF)
    pairs = is_han[1:] & is_han[:-1]
    n = int(pairs.sum())
    if n < 2 * _LEAST_WORDS:
        return 0.0
    keys = np.sort((codes[:-1] << np.uint64(32) | codes[1:])[pairs])
    ends = np.flatnonzero(np.concatenate([keys[1:] != keys[:-1], [True]]))
    most = int(np.diff(np.concatenate([[-1], ends])).max())
    # A word of four characters is three pairs: the share of pairs says less than that of words.
    return 1.5 * most / n if most >= _LEAST_REPEATS else 0.0


def _links(lines: list[str]) -> tuple[float, int]:
    """Share of lines that hold little but links, and how many hosts those lead to."""
    if len(lines) < _LEAST_LINES:
        return 0.0, 0
    hosts: set[str] = set()
    linked = 0
    for line in lines:
        if "](" not in line and "://" not in line:
            continue
        targets = _LINK.findall(line)
        rest = _LINK.sub("", line)
        if not targets or len(rest) > 60 + 20 * len(targets):
            continue
        linked += 1
        hosts.update(_host(target) for target in targets)
    hosts.discard("")
    return linked / len(lines), len(hosts)


def _host(target: str) -> str:
    try:
        return urlsplit(target.removeprefix("](").rstrip(")")).hostname or ""
    except ValueError:
        return ""


def _templates(lines: list[str]) -> float:
    """Share of the lines that begin, or end, with the three words of at least five others."""
    first: Counter[str] = Counter()
    last: Counter[str] = Counter()
    keys = []
    for line in dict.fromkeys(lines):  # repeated lines are for other rules
        words = line.split()
        if len(words) >= 4:
            key = (" ".join(words[:3]), " ".join(words[-3:]))
        elif len(line) >= 10 and not line.isascii():
            key = (line[:5], line[-5:])
        else:
            continue
        keys.append(key)
        first[key[0]] += 1
        last[key[1]] += 1
    if len(keys) < _LEAST_LINES:
        return 0.0
    alike = sum(first[a] > _ALIKE or last[b] > _ALIKE for a, b in keys)
    return alike / len(keys)


def _repeated_contact(lower: str) -> float:
    found = Counter(
        number.replace(" ", "").replace("-", "")
        for number in _NUMBER.findall(lower[:100_000])
        if not (number.startswith(("19", "20")) and number[4] in " -")
    )
    return float(max(found.values(), default=0)) if len(found) < 200 else 0.0
