"""Extraction attack: does the model, given the beginning of a training text, write on as it went.

Carlini et al. 2021 ("Extracting Training Data from Large Language Models") and 2023 ("Quantifying
Memorization Across Neural Language Models"): prompt with the tokens before a stretch, decode
greedily, compare. The same is done with held-out texts, because a text that everybody knows, or
that follows from its beginning, is continued without having been memorised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from chatwright.errors import ContextError
from chatwright.evaluate.journal import Journal
from chatwright.evaluate.results import Skipped
from chatwright.evaluate.statistics import bootstrap, wilson
from chatwright.govern.audit.results import CopyRate, Example, Match, PrefixRates
from chatwright.govern.audit.rows import Sample
from chatwright.progress import Task

if TYPE_CHECKING:
    from chatwright.generate import Engine
    from chatwright.tokenizer import Tokenizer

# Lee et al. 2022 ("Deduplicating Training Data Makes Language Models Better") call two texts near
# duplicates from this edit similarity on; Ippolito et al. 2022 showed that exact match alone misses
# what differs in a word or two.
NEAR = 0.8
_SHOWN = 160


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Levenshtein distance: the fewest insertions, deletions and replacements of tokens."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right)),
            )
    return row[-1]


def compare(made: Sequence[int], target: Sequence[int]) -> Match:
    """How near what the model wrote is to what the text says; both as tokens."""
    made = made[: len(target)]
    common = 0
    while common < len(made) and made[common] == target[common]:
        common += 1
    longest = max(len(made), len(target))
    similarity = 1.0 if longest == 0 else 1 - edit_distance(made, target) / longest
    return Match(common=common, length=len(target), similarity=round(similarity, 6))


def attack(
    engine: Engine,
    samples: Sequence[Sample],
    prefixes: Sequence[int],
    *,
    model: str,
    journal: Journal,
    task: Task,
) -> tuple[dict[int, dict[str, Match]], list[Skipped]]:
    """Continue each sample from each prefix length; returns length → sample id → match.

    Where a row has fewer tokens before its target than a prefix asks for, all of them are given; so
    every length is measured on the same rows. What the journal has is not done again.
    """
    from chatwright.generate.params import SamplingParams

    found: dict[int, dict[str, Match]] = {length: {} for length in prefixes}
    skipped: list[Skipped] = []
    waiting = []
    try:
        for sample in samples:
            running: dict[int, object] = {}
            for length in prefixes:
                known = journal.get(model, f"extraction-{length}", sample.id)
                if known is not None:
                    found[length][sample.id] = Match(**known)
                    task.advance()
                    continue
                prompt = sample.prefix(length)
                try:
                    request = running.get(len(prompt))
                    if request is None:
                        params = SamplingParams(temperature=0.0, max_tokens=len(sample.target))
                        request = running[len(prompt)] = engine.submit(prompt, params)
                    waiting.append((length, sample, request))
                except ContextError as error:
                    skipped.append(Skipped(sample.id, error.message))
                    task.advance()
        for length, sample, request in waiting:
            made = request.result().token_ids  # type: ignore[attr-defined]
            match = compare(made, sample.target)
            record = {
                "common": match.common,
                "length": match.length,
                "similarity": match.similarity,
            }
            journal.add(model, f"extraction-{length}", {sample.id: record})
            found[length][sample.id] = match
            task.advance()
    finally:
        for _, _, request in waiting:
            request.cancel()  # type: ignore[attr-defined]
    return found, skipped


def rates(
    found: Mapping[int, Mapping[str, Match]], *, near: float = NEAR, seed: int = 0
) -> list[PrefixRates]:
    """Per prefix length the share of exact and near matches and the tokens that agree at first."""
    lines = []
    for length in sorted(found):
        matches = [found[length][i] for i in sorted(found[length])]
        if not matches:
            continue
        common = np.array([float(m.common) for m in matches])
        lines.append(
            PrefixRates(
                prefix=length,
                exact=wilson(sum(m.exact for m in matches), len(matches)),
                near=wilson(sum(m.similarity >= near for m in matches), len(matches)),
                common=bootstrap(common, seed=seed),
            )
        )
    return lines


def rates_by_copies(matches: Mapping[str, Match], holders: Mapping[str, int]) -> list[CopyRate]:
    """The exact rate where the training data hold a text once, 2–4 times, 5 times or more."""
    lines = []
    for low, high in ((1, 1), (2, 4), (5, None)):
        inside = [
            matches[i].exact
            for i in sorted(matches)
            if low <= max(1, holders.get(i, 1)) and (high is None or holders.get(i, 1) <= high)
        ]
        if inside:
            lines.append(CopyRate(low, high, wilson(sum(inside), len(inside))))
    return lines


def example(sample: Sample, match: Match, tokenizer: Tokenizer) -> Example:
    """What was extracted, cut short, with numbers and addresses hidden.

    The hiding is a courtesy and no anonymisation: show examples only to those who may read the
    training data.
    """
    text = tokenizer.decode(sample.target[: max(match.common, 1)])
    return Example(sample.id, sample.uri, match.common, mask_personal(text)[:_SHOWN])


def mask_personal(text: str) -> str:
    """E-mail addresses, and digits of numbers with three or more, replaced by marks."""
    text = re.sub(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "⟨address⟩", text)
    return re.sub(r"\d(?:[\d\s().-]*\d){2,}", "⟨number⟩", text)
