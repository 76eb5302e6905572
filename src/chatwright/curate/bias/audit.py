"""From counts to figures: who is mentioned how often, and with what more than others are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from chatwright.curate.bias.count import REPLICATES, Counted, Counts, Floats, count
from chatwright.curate.bias.lexicon import Code, Lexicon, lexicons
from chatwright.records import Row

SMOOTHING = 10.0
"""So many sentences with everybody's rate are added to each group's (the informative prior of
Monroe et al. 2008): a group that is hardly named looks like all, and not like nobody."""

FEWEST_ROWS = 20
"""Fewer rows than these give no interval: drawn anew, they tell nothing of rows to come."""

_Seen = tuple[Any, Any]

FALSE_DISCOVERIES = 0.05
LEAST_RATIO = math.log2(1.25)
LEAST_TOGETHER = 5
LEAST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval; `low` and `high` are None where there are too few rows."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Mention:
    """How often a group is named; `share`: its part of all words that name its dimension."""

    language: Code
    dimension: str
    group: str
    words: int
    sentences: int
    rows: int
    share: Interval


@dataclass(frozen=True, slots=True)
class Association:
    """A group and a kind of words in one sentence.

    `pmi`: log₂ of how much likelier the kind is where the group is named than in any sentence
    (Church and Hanks 1990). `ratio`: log₂ of how much likelier than where the dimension's other
    groups are named: 1 is twice as likely. `q`: the false discovery rate at which the ratio would
    count as found (Benjamini and Hochberg 1995); None without intervals. `found`: q below 5 %, an
    interval without 0, a ratio of 1.25 either way, five sentences seen or expected, and ten rows
    that name the group, and ten that name others.
    """

    language: Code
    dimension: str
    group: str
    attribute: str
    together: int
    group_sentences: int
    others_together: int
    others_sentences: int
    pmi: Interval
    ratio: Interval
    q: float | None
    found: bool


@dataclass(slots=True)
class BiasAudit:
    """What a dataset says of groups of people."""

    rows: int
    other_rows: int
    sentences: dict[str, int]
    mentions: list[Mention] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)
    seed: int = 0
    replicates: int = REPLICATES

    def found(self, language: str | None = None) -> list[Association]:
        """The associations that count as found, the strongest first."""
        mine = [a for a in self.associations if a.found and language in (None, a.language)]
        return sorted(mine, key=lambda a: (-abs(a.ratio.value), a.dimension, a.group, a.attribute))

    def association(self, language: str, group: str, attribute: str) -> Association:
        """One association. Raises `KeyError` where there is none."""
        for found in self.associations:
            if (found.language, found.group, found.attribute) == (language, group, attribute):
                return found
        raise KeyError((language, group, attribute))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rows": self.rows,
            "other_rows": self.other_rows,
            "sentences": self.sentences,
            "seed": self.seed,
            "replicates": self.replicates,
            "smoothing": SMOOTHING,
            "found": len(self.found()),
            "mentions": [_rounded(asdict(mention)) for mention in self.mentions],
            "associations": [_rounded(asdict(a)) for a in self.associations],
        }


def audit(
    rows: Iterable[Row],
    *,
    lists: Mapping[Code, Lexicon] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> BiasAudit:
    """Count mentions and associations of groups in `rows`, streamed.

    >>> found = audit(Dataset.open("corpus").rows)
    >>> found.association("en", "women", "care and service work").ratio
    """
    counted = count(rows, lists or lexicons(), seed=seed, replicates=replicates)
    return figures(counted, seed=seed, replicates=replicates)


def figures(counted: Counted, *, seed: int = 0, replicates: int = REPLICATES) -> BiasAudit:
    """The figures of a pass of counting. Groups that are never named are left out."""
    found = BiasAudit(
        rows=counted.rows,
        other_rows=counted.other_rows,
        sentences={code: int(c.sentences) for code, c in counted.languages.items()},
        seed=seed,
        replicates=replicates,
    )
    sure = counted.rows - counted.other_rows >= FEWEST_ROWS
    for code, counts in counted.languages.items():
        found.mentions += _mentions(code, counts, sure)
        found.associations += _associations(code, counts, sure)
    return found


def _dimensions(lexicon: Lexicon) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for number, target in enumerate(lexicon.targets[: lexicon.groups]):
        out.setdefault(str(target.dimension), []).append(number)
    return out


def _mentions(code: Code, counts: Counts, sure: bool) -> list[Mention]:
    out = []
    for dimension, groups in _dimensions(counts.lexicon).items():
        whole = counts.mentions[groups].sum()
        again = counts.mentions_again[:, groups].sum(axis=1)
        for group in groups:
            if not counts.mentions[group]:
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                shares = counts.mentions_again[:, group] / again
            out.append(
                Mention(
                    code,
                    dimension,
                    counts.lexicon.targets[group].name,
                    int(counts.mentions[group]),
                    int(counts.named[group]),
                    int(counts.rows[group]),
                    _interval(counts.mentions[group] / whole, shares, sure),
                )
            )
    return out


def _associations(code: Code, counts: Counts, sure: bool) -> list[Association]:
    out: list[Association] = []
    errors: list[float] = []
    rows: list[int] = []
    lexicon = counts.lexicon
    for dimension, groups in _dimensions(lexicon).items():
        everyone = counts.named[groups].sum(), counts.together[groups].sum(axis=0)
        again = (
            counts.named_again[:, groups].sum(axis=1),
            counts.together_again[:, groups].sum(axis=1),
        )
        for group in groups:
            if not counts.named[group]:
                continue
            for place, target in enumerate(lexicon.targets[lexicon.groups :]):
                here = counts.together[group, place], counts.named[group]
                others = everyone[1][place] - here[0], everyone[0] - here[1]
                if not (here[0] or others[0]):
                    continue
                here_again = counts.together_again[:, group, place], counts.named_again[:, group]
                others_again = again[1][:, place] - here_again[0], again[0] - here_again[1]
                attribute = lexicon.groups + place
                whole = counts.named[attribute], counts.sentences
                whole_again = counts.named_again[:, attribute], counts.sentences_again
                pmi = _log_ratio(here, whole, whole)
                pmis = _log_ratio(here_again, whole_again, whole_again)
                ratio = _log_ratio(here, others, (everyone[1][place], everyone[0]))
                ratios = _log_ratio(here_again, others_again, (again[1][:, place], again[0]))
                errors.append(float(np.std(ratios)))
                others_rows = counts.rows[groups].sum() - counts.rows[group]
                rows.append(int(min(counts.rows[group], others_rows)))
                out.append(
                    Association(
                        language=code,
                        dimension=dimension,
                        group=lexicon.targets[group].name,
                        attribute=target.name,
                        together=int(here[0]),
                        group_sentences=int(here[1]),
                        others_together=int(others[0]),
                        others_sentences=int(others[1]),
                        pmi=_interval(pmi, pmis, sure),
                        ratio=_interval(ratio, ratios, sure),
                        q=None,
                        found=False,
                    )
                )
    return _with_q(out, errors, rows) if sure else out


def _log_ratio(here: _Seen, others: _Seen, everyone: _Seen) -> Any:
    """log₂ of two rates, each smoothed towards everybody's; scalars or replicates.

    Each is (sentences with the attribute, sentences).
    """
    rate = (everyone[0] + 0.5) / (everyone[1] + 1.0)
    mine = (here[0] + SMOOTHING * rate) / (here[1] + SMOOTHING)
    theirs = (others[0] + SMOOTHING * rate) / (others[1] + SMOOTHING)
    return np.log2(mine / theirs)


def _interval(value: Any, replicates: Floats, sure: bool) -> Interval:
    usable = replicates[np.isfinite(replicates)]
    if not sure or not len(usable):
        return Interval(float(value), None, None)
    low, high = np.percentile(usable, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def _with_q(found: list[Association], errors: list[float], rows: list[int]) -> list[Association]:
    """Each with its false discovery rate over all associations of the language."""
    p = np.asarray(
        [
            math.erfc(abs(a.ratio.value) / error / math.sqrt(2)) if error > 0 else 1.0
            for a, error in zip(found, errors, strict=True)
        ]
    )
    q = false_discovery_rates(p)
    out = []
    for association, rate, named_in in zip(found, q.tolist(), rows, strict=True):
        values = {name: getattr(association, name) for name in Association.__slots__}
        clear = rate < FALSE_DISCOVERIES and named_in >= LEAST_ROWS and _is_clear(association)
        out.append(Association(**{**values, "q": rate, "found": clear}))
    return out


def _is_clear(association: Association) -> bool:
    """Whether a ratio is large, its interval on one side of 0, and its sentences not too few."""
    ratio = association.ratio
    rate = association.others_together / max(1, association.others_sentences)
    here = max(association.together, association.group_sentences * rate)
    few = association.together + association.others_together < LEAST_TOGETHER
    if ratio.low is None or ratio.high is None or here < LEAST_TOGETHER or few:
        return False
    return abs(ratio.value) >= LEAST_RATIO and ratio.low * ratio.high > 0


def false_discovery_rates(p: Floats) -> Floats:
    """Benjamini and Hochberg's adjusted p-values, in the order given."""
    count = len(p)
    if not count:
        return p
    order = np.argsort(p)
    ranked = p[order] * count / np.arange(1, count + 1)
    smallest = np.minimum.accumulate(ranked[::-1])[::-1]
    out = np.empty(count)
    out[order] = np.minimum(smallest, 1.0)
    return out


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value
