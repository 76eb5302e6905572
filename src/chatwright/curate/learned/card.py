"""The model cards of learned models, filled in with what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatwright.curate.learned.linear import LinearScores

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def linear_card(
    name: str,
    *,
    positive: Sequence[str],
    negative: Sequence[str],
    counts: Mapping[str, tuple[int, int]],
    features: str,
    characters: int,
    scores: LinearScores,
) -> str:
    """The card of a classifier. `counts` maps each part to its positive and negative examples."""
    rows = "\n".join(f"| {part} | {a:,} | {b:,} |" for part, (a, b) in counts.items())
    bounds = "\n".join(
        f"| {bound:g} | {precision:.1%} | {recall:.1%} |"
        for bound, (precision, recall) in scores.at.items()
    )
    return f"""# Quality model {name}

A logistic regression over hashed n-grams ({features}; Chinese is cut into words first), in int8. It
gives the probability, 0 to 1, that a text is one of the positive examples and not of the negative
ones, for a mix with as many of each. It reads the first {characters:,} characters of a text.

Positive: {_list(positive)}. Negative: {_list(negative)}.

| part | positive | negative |
|---|---|---|
{rows}

## On the test part

Nothing was trained or calibrated on it. Precision is that of a mix with as many positive as
negative texts.

| | |
|---|---|
| area under the ROC curve | {scores.auc:.4f} |
| Brier score (0 is best, 0.25 says nothing) | {scores.brier:.4f} |

| kept from | precision | recall |
|---|---|---|
{bounds}

## Limits

It knows what its examples know: a text of a kind that is in neither set has a score that means
little, and whatever else tells the two sets apart (topic, length, site, language) it takes for
quality. Look at texts that it drops before a bound is trusted.
"""


def perplexity_card(
    name: str,
    *,
    sources: Sequence[str],
    lines: int,
    unit: str,
    order: int,
    sizes: Mapping[str, int],
    characters: int,
    quantiles: Mapping[str, Sequence[float]],
) -> str:
    """The card of an n-gram model. `quantiles` maps a set of held-out texts to `QUANTILES`."""
    kept = "\n".join(f"| {what} | {size:,} |" for what, size in sizes.items())
    head = " | ".join(f"{q:.0%}" for q in QUANTILES)
    rows = "\n".join(
        f"| {what} | {' | '.join(f'{value:,.1f}' for value in values)} |"
        for what, values in quantiles.items()
    )
    return f"""# Perplexity model {name}

An n-gram model of order {order} over {unit} (Chinese is cut into words where the unit is words),
with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), trained on {lines:,} lines
of {_list(sources)}. It gives a text's perplexity per {unit.rstrip("s")} and end of line: how little
the text is like those. A word that it does not know is spelled out and so costs as many characters
as it has. It reads the first {characters:,} characters of a text.

| | |
|---|---|
{kept}

## Perplexity of held-out texts

Nothing was trained on them. The share of texts below each value:

| | {head} |
|---|{"---|" * len(QUANTILES)}
{rows}

## Limits

A low perplexity is not quality: a text of the same few words over and over has a low one too, so
bound it on both sides or beside a preset's rules of repetition. Values of models with other units,
orders or vocabularies cannot be compared.
"""


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
