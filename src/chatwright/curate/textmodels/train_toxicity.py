"""Train the toxicity models that the package carries: `python -m …textmodels.train_toxicity`.

For maintainers: needs scikit-learn and the public data sets of `CHATWRIGHT_DATA`. The same data
give the same bytes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.textmodels.contrast import contrasts
from chatwright.curate.textmodels.hashed import Features, HashedModel
from chatwright.curate.textmodels.identity import (
    ABOUT_RIGHTS,
    DIALECT_PAIRS,
    HELD_OUT,
    neutral_sentences,
)
from chatwright.curate.textmodels.prepare import prepare
from chatwright.curate.textmodels.toxicity_card import Audit, Dialect, Report, Scores, card
from chatwright.curate.textmodels.toxicity_data import (
    Example,
    cold,
    davidson,
    held_out_prose,
    ordinary,
)
from chatwright.errors import ChatwrightError
from chatwright.records import write_atomic

# English: n-grams from within words did worse, and took "shoes" for an insult. Chinese: longer ones
# gained nothing.
_FEATURES = {
    "en": Features(18, (4, 5, 6), (1, 2), prefixes=True),
    "zh": Features(18, (1, 2, 3), ()),
}
_INVERSE_PENALTY = 4.0  # scikit-learn's C
_RARE = 3  # an n-gram seen in fewer texts is left out
_HELD_TEMPLATES = 3  # every third: false alarms are measured on these, not trained on
_CONTRAST_WEIGHT = 5
_CALIBRATION, _TEST = (7,), (8, 9)  # buckets of ten; 0…6 are trained on


@dataclass(frozen=True, slots=True)
class Remedies:
    """What is done against false alarms on identity terms; the audit switches them off.

    `unlisted`: terms treated as if nobody had thought of them.
    """

    mask: bool = True
    templates: bool = True
    unlisted: frozenset[str] = frozenset()

    def prepared(self, texts: Sequence[str], language: str) -> list[str]:
        return [prepare(t, language, mask=self.mask, unmasked=self.unlisted) for t in texts]


@dataclass(frozen=True, slots=True)
class Split:
    """The examples of one language, apart by hash (and, for COLD, by the authors' files)."""

    train: list[Example]
    calibration: list[Example]
    test: list[Example]


def load_split(language: str, data: Path) -> Split:
    """Labelled and ordinary texts; Chinese is tested on COLD's dev file."""
    plain = ordinary(data, language)
    if language == "en":
        labelled = list(davidson(data))
        test = [e for e in labelled if e.bucket in _TEST]
    else:
        test = list(cold(data, "dev"))
        seen = {prepare(e.text, language) for e in test}
        labelled = [e for e in cold(data, "train") if prepare(e.text, language) not in seen]
    usable = [*labelled, *plain]
    held = _TEST if language == "en" else ()
    return Split(
        [e for e in usable if e.bucket not in (*_CALIBRATION, *held)],
        [e for e in usable if e.bucket in _CALIBRATION],
        [*test, *(e for e in plain if e.bucket in _TEST)] if language == "en" else test,
    )


def train(
    language: str,
    train: Sequence[Example],
    calibration: Sequence[Example],
    remedies: Remedies | None = None,
) -> HashedModel:
    """A logistic regression, classes weighted alike, quantised to int8 and calibrated (Platt).

    The probabilities hold for a mix in which half of the texts are offensive.
    """
    from sklearn.linear_model import LogisticRegression

    remedies = remedies or Remedies()
    features = _FEATURES[language]
    texts = [e.text for e in train]
    labels = [e.offensive for e in train]
    if remedies.templates:
        added = [
            s.text
            for s in neutral_sentences(language)
            if (s.template + 1) % _HELD_TEMPLATES and not _names(s.person, remedies.unlisted)
        ]
        texts, labels = texts + added, labels + [False] * len(added)
    for text, offensive in list(contrasts(language)) * _CONTRAST_WEIGHT:
        texts.append(text)
        labels.append(offensive)
    rows = _matrix(features, remedies.prepared(texts, language))
    common = np.bincount(rows.indices, minlength=rows.shape[1]) >= _RARE
    rows.data[~common[rows.indices]] = 0
    rows.eliminate_zeros()
    fitted = LogisticRegression(
        C=_INVERSE_PENALTY, class_weight="balanced", solver="liblinear", random_state=0
    ).fit(rows, labels)
    weights = fitted.coef_[0]
    step = float(np.abs(weights).max()) / 127
    raw = HashedModel(
        features, np.rint(weights / step).astype(np.int8), step, float(fitted.intercept_[0])
    )
    slope, shift = _platt(raw, calibration, remedies, language)
    return HashedModel(features, raw.weights, step * slope, raw.bias * slope + shift)


def _names(person: str, terms: frozenset[str]) -> bool:
    return any(term in person.lower() for term in terms)


def _matrix(features: Features, texts: Sequence[str]) -> Any:
    from scipy.sparse import csr_matrix

    columns, starts = features.indices(texts)
    sizes = np.diff(starts)
    values = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    return csr_matrix((values, columns, starts), shape=(len(texts), 1 << features.bits))


def balanced(labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights with which both classes count alike."""
    share = labels.mean()
    weights: NDArray[np.float64] = np.where(labels, 0.5 / share, 0.5 / (1 - share))
    return weights


def _platt(
    model: HashedModel, examples: Sequence[Example], remedies: Remedies, language: str
) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    labels = np.array([e.offensive for e in examples])
    chance = model.probabilities(remedies.prepared([e.text for e in examples], language))
    logits = np.log(chance / (1 - chance)).reshape(-1, 1)
    fitted = LogisticRegression(C=1e6).fit(logits, labels, sample_weight=balanced(labels))
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def measure(
    model: HashedModel, examples: Sequence[Example], language: str, remedies: Remedies
) -> Scores:
    """Quality on held-out labelled texts, both classes counting alike."""
    from sklearn.metrics import f1_score, roc_auc_score

    labels = np.array([e.offensive for e in examples])
    chance = model.probabilities(remedies.prepared([e.text for e in examples], language))
    weight, said = balanced(labels), chance >= 0.5
    return Scores(
        texts=len(examples),
        offensive=int(labels.sum()),
        accuracy=float((said == labels).mean()),
        balanced_accuracy=float(weight[said == labels].sum() / weight.sum()),
        macro_f1=float(f1_score(labels, said, average="macro")),
        auc=float(roc_auc_score(labels, chance)),
        calibration_error=calibration_error(chance, labels, weight),
        at={bound: _precision_recall(chance, labels, bound) for bound in (0.5, 0.8, 0.9)},
    )


def _precision_recall(
    chance: NDArray[np.float64], labels: NDArray[np.bool_], bound: float
) -> tuple[float, float]:
    """In a mix of equal halves."""
    recall = float((chance[labels] >= bound).mean())
    alarms = float((chance[~labels] >= bound).mean())
    return (recall / (recall + alarms) if recall + alarms else 0.0), recall


def calibration_error(
    chance: NDArray[np.float64], labels: NDArray[np.bool_], weight: NDArray[np.float64]
) -> float:
    """Expected calibration error over ten equal bins (Guo et al. 2017), weighted."""
    bins = np.minimum((chance * 10).astype(int), 9)
    total = np.bincount(bins, weight, 10)
    gap = np.abs(np.bincount(bins, weight * chance, 10) - np.bincount(bins, weight * labels, 10))
    return float(gap[total > 0].sum() / weight.sum())


def audit(
    model: HashedModel, language: str, remedies: Remedies, only: frozenset[str] | None = None
) -> Audit:
    """False alarms on neutral identity sentences whose templates were not trained on.

    `only` keeps the people that one of these terms names.
    """
    sentences = [
        s
        for s in neutral_sentences(language)
        if (s.template + 1) % _HELD_TEMPLATES == 0 and (only is None or _names(s.person, only))
    ]
    chance = model.probabilities(remedies.prepared([s.text for s in sentences], language))
    rights = np.array([s.template >= ABOUT_RIGHTS for s in sentences])
    people = sorted({s.person for s in sentences})
    means = {
        p: float(np.mean([c for c, s in zip(chance, sentences, strict=True) if s.person == p]))
        for p in people
    }
    worst = max(means, key=lambda p: means[p])
    return Audit(
        sentences=len(sentences),
        alarms=float((chance[~rights] >= 0.5).mean()),
        alarms_on_rights=float((chance[rights] >= 0.5).mean()),
        mean=float(chance.mean()),
        gap=max(means.values()) - min(means.values()),
        worst=worst,
        worst_mean=means[worst],
    )


def report(language: str, data: Path, split: Split, model: HashedModel) -> Report:
    """Everything that the model card tells: quality, false alarms, and what the remedies change."""
    full, bare = Remedies(), Remedies(mask=False, templates=False)
    unlisted = HELD_OUT[language]
    blind = Remedies(unlisted=unlisted)
    plain_model = train(language, split.train, split.calibration, bare)
    blind_model = train(language, split.train, split.calibration, blind)
    labelled = [e for e in split.test if e.kind == "labelled"]
    prose = held_out_prose(data, language)
    chance = model.probabilities(full.prepared([e.text for e in prose], language))
    return Report(
        language=language,
        trained_on=len(split.train),
        scores=measure(model, labelled, language, full),
        scores_before=measure(plain_model, labelled, language, bare),
        prose=len(prose),
        prose_alarms={bound: float((chance >= bound).mean()) for bound in (0.5, 0.8, 0.9)},
        before=audit(plain_model, language, bare),
        after=audit(model, language, full),
        unlisted_before=audit(plain_model, language, bare, unlisted),
        unlisted_after=audit(blind_model, language, blind, unlisted),
        dialect=_dialect(model) if language == "en" else None,
    )


def _dialect(model: HashedModel) -> Dialect:
    standard, dialect = (
        model.probabilities([prepare(pair[side], "en") for pair in DIALECT_PAIRS])
        for side in (0, 1)
    )
    return Dialect(len(DIALECT_PAIRS), float(standard.mean()), float(dialect.mean()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, test and write `toxicity_LANGUAGE.npz` and `.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWRIGHT_DATA"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--language", choices=["en", "zh"], action="append")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("where the data sets are is not known: pass --data or set CHATWRIGHT_DATA")
    try:
        for language in options.language or ["en", "zh"]:
            split = load_split(language, options.data)
            model = train(language, split.train, split.calibration)
            text = card(report(language, options.data, split, model))
            model.save(options.out / f"toxicity_{language}.npz")
            write_atomic(options.out / f"toxicity_{language}.md", text)
            print(text)
    except ChatwrightError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
