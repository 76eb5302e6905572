"""The model cards of the toxicity models, filled in with what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scores:
    """Quality on held-out texts; `at` maps a bound to precision and recall in equal halves."""

    texts: int
    offensive: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    auc: float
    calibration_error: float
    at: Mapping[float, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Audit:
    """Scores of harmless sentences that name a group: their mean and the share from 0.5 on.

    `alarms_on_rights` is that share among sentences about rights and discrimination, `alarms` among
    the others.

    `gap` is between the mean scores of the people with the highest (`worst`) and the lowest.
    """

    sentences: int
    alarms: float
    alarms_on_rights: float
    mean: float
    gap: float
    worst: str
    worst_mean: float


@dataclass(frozen=True, slots=True)
class Dialect:
    """Mean scores of the same harmless statements in standard and in African American English."""

    pairs: int
    standard: float
    dialect: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured of one language's model."""

    language: str
    trained_on: int
    scores: Scores
    scores_before: Scores
    prose: int
    prose_alarms: Mapping[float, float]
    before: Audit
    after: Audit
    unlisted_before: Audit
    unlisted_after: Audit
    dialect: Dialect | None


@dataclass(frozen=True, slots=True)
class _About:
    name: str
    sources: tuple[tuple[str, str, str], ...]
    prose: str
    limits: str


_TEMPLATES = (
    "our own templates (`identity.py`, `contrast.py`)",
    "harmless sentences about groups; mild insults, and the same words said of things",
    "this project's",
)
_ENGLISH = _About(
    "English",
    (
        (
            "Davidson et al. 2017: 24,783 tweets found by a list of hate words, hate speech and "
            "offensive language (83 %) against neither",
            "training, calibration and test (70, 10 and 20 % by hash)",
            "MIT",
        ),
        (
            "an assistant's answers (alpaca demo of LLaMA-Factory), old English books",
            "ordinary text, taken to be harmless; nobody labelled it",
            "Apache-2.0, public domain",
        ),
        _TEMPLATES,
    ),
    "WikiText-2's test part",
    """
- The tweets were chosen by swear words and slurs: three quarters of the offensive ones hold one of
  six words. Friendly swearing and reclaimed words score high.
- Polite contempt, stereotypes, threats without a strong word and irony are mostly missed; so are
  words with signs in place of letters.
- The labels themselves are biased: annotators call African American English offensive more often
  (Sap et al. 2019, Davidson et al. 2019). {dialect}
- Quotation is not use: a text that reports an insult may score like the insult.
- Tweets of 2017, mostly from the United States: other times, places and registers are less certain.
  Other languages in Latin script are not understood.
""",
)
_CHINESE = _About(
    "Chinese",
    (
        (
            "COLD (Deng et al. 2022), 25,726 comments on region, race and gender, half of them "
            "offensive",
            "training (nine tenths by hash) and calibration",
            "Apache-2.0",
        ),
        ("COLD's dev file, 6,431 comments", "test", "Apache-2.0"),
        (
            "an assistant's answers (alpaca demo of LLaMA-Factory), d2l-zh, modern renderings of "
            "classics",
            "ordinary text, taken to be harmless; nobody labelled it",
            "Apache-2.0, MIT",
        ),
        _TEMPLATES,
    ),
    "OI-wiki's pages",
    """
- COLD's training and dev labels come from one process, as far as we know in part by a model; its
  test file, labelled by hand in finer classes, is not in our data. Expect clearly less than the
  accuracy above on other sources.
- COLD knows comments on region, race and gender only: abuse without such a subject is known from
  our templates and little else. Polite contempt, stereotypes and irony are mostly missed.
- In these comments the word for discrimination is itself a sign of offence: texts against
  discrimination score higher than other harmless texts, whichever group they name.
- Simplified script: convert traditional text first. Homophones and letters that stand for insults
  are mostly missed.
""",
)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _table(*rows: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def card(report: Report) -> str:
    """The card as Markdown."""
    about = _CHINESE if report.language == "zh" else _ENGLISH
    now, before = report.scores, report.scores_before
    quality = _table(
        ("", "as shipped", "without the remedies against identity bias"),
        ("accuracy", _percent(now.accuracy), _percent(before.accuracy)),
        ("balanced accuracy", _percent(now.balanced_accuracy), _percent(before.balanced_accuracy)),
        ("F1, macro", f"{now.macro_f1:.3f}", f"{before.macro_f1:.3f}"),
        ("area under the ROC curve", f"{now.auc:.3f}", f"{before.auc:.3f}"),
        (
            "expected calibration error",
            f"{now.calibration_error:.3f}",
            f"{before.calibration_error:.3f}",
        ),
    )
    bounds = _table(
        ("bound", "precision", "recall", "false alarms on prose"),
        *(
            (str(bound), _percent(p), _percent(r), f"{100 * report.prose_alarms[bound]:.2f} %")
            for bound, (p, r) in now.at.items()
        ),
    )
    identity = _table(
        (
            "",
            "sentences",
            "alarms, plain sentences",
            "alarms, on rights and discrimination",
            "mean score",
            "gap (highest)",
        ),
        *(
            (
                label,
                str(a.sentences),
                _percent(a.alarms),
                _percent(a.alarms_on_rights),
                f"{a.mean:.2f}",
                f"{a.gap:.2f} ({a.worst}: {a.worst_mean:.2f})",
            )
            for label, a in (
                ("without remedies", report.before),
                ("as shipped", report.after),
                ("terms that no list knows, without remedies", report.unlisted_before),
                ("terms that no list knows, remedies for the others", report.unlisted_after),
            )
        ),
    )
    return f"""# Toxicity, {about.name}

Written by `python -m chatwright.curate.textmodels.train_toxicity`, which trains the arrays
beside it.

A logistic regression over hashed n-grams (of words and of words' beginnings in English, of
characters in Chinese) in int8, from {report.trained_on:,} labelled and ordinary texts. It gives the
probability that people would call a short text offensive; a long text is judged in parts. Meant for
measuring models' answers and for marking rows of a corpus, not for judging people.

## Data

{_table(("text", "what for", "licence"), *about.sources)}

## Quality

{now.texts:,} held-out texts, {now.offensive:,} of them offensive.

{quality}

Probabilities are calibrated (Platt) for a mix in which half of the texts are offensive; so are the
precisions below. In ordinary text fewer are, and a score says more than the true share. 0.5 is the
usual bound; take 0.8 where a false alarm costs more than a miss. The prose is {about.prose}, in
{report.prose:,} parts; nothing was trained on it.

{bounds}

## Bias on identity terms

Harmless sentences such as "I am a …" from templates that were not trained on, each with every
person of `identity.py`. An alarm is a score of 0.5 or more; the gap is between the persons with the
highest and the lowest mean.

{identity}

The remedies: listed identity terms are masked, in training and in use, so that a sentence has one
score whichever listed group it names; and harmless sentences about groups are
trained on. The price is in the table of quality. A gap between groups then comes from what is said
about them and not from their names. Where a listed word is itself the insult, masking hides it.

## Limits
{about.limits.format(dialect=_dialect(report.dialect))}"""


def _dialect(found: Dialect | None) -> str:
    if found is None:
        return ""
    return (
        f"On {found.pairs} pairs of harmless\n  statements that we wrote in both, the mean score "
        "is "
        f"{found.standard:.2f} in standard and {found.dialect:.2f} in\n  African American English."
    )
