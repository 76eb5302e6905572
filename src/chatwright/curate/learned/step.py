"""The step of a curation that scores rows with learned models and drops those out of bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from chatwright.curate.candidate import Candidate
from chatwright.curate.learned.settings import LearnedRule
from chatwright.errors import UsageError
from chatwright.workspace import Workspace

Score = Callable[[Sequence[str]], Sequence[float]]
"""Numbers of texts, one each, in order."""


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """Any scorer as a rule: rows whose score is below `least` or above `most` go.

    The score stands in the row's `meta["scores"][name]` whether the row stays or not; `rule` is
    what the ledger calls it. Curation comes before the rooms of the models: whoever scores with a
    Transformer hands its function in as `score`.
    """

    name: str
    rule: str
    score: Score
    least: float | None = None
    most: float | None = None
    languages: tuple[str, ...] | None = None

    def __call__(self, candidates: list[Candidate]) -> None:
        rows = [c for c in candidates if self._judges(c)]
        if not rows:
            return
        found = self.score([row.text for row in rows])
        for row, value in zip(rows, found, strict=True):
            row.meta.setdefault("scores", {})[self.name] = round(float(value), 4)
            if not self._holds(value):
                row.drop(self.rule, value, self.bound, detail=self.name)

    @property
    def bound(self) -> str:
        """The bounds as the ledger writes them."""
        parts = (("min", self.least), ("max", self.most))
        return ", ".join(f"{word} {value:.12g}" for word, value in parts if value is not None)

    def _judges(self, candidate: Candidate) -> bool:
        code = (candidate.language.code or "").partition("-")[0]
        return not candidate.dropped and (self.languages is None or code in self.languages)

    def _holds(self, value: float) -> bool:
        if self.least is None and self.most is None:
            return True
        low = self.least is None or value >= self.least
        return low and (self.most is None or value <= self.most) and isfinite(value)


@dataclass(frozen=True, slots=True)
class StoredScore:
    """The scores of a model on disk; every process reads the file once."""

    folder: str

    def __call__(self, texts: Sequence[str]) -> list[float]:
        from chatwright.curate.learned.stored import load_model

        return load_model(Path(self.folder)).score(texts)


@dataclass(frozen=True, slots=True)
class LearnedStep:
    """All learned rules, in order; a row that one drops is not scored by the next."""

    steps: tuple[ScoreStep, ...]

    def __call__(self, candidates: list[Candidate]) -> None:
        for step in self.steps:
            step(candidates)


def make_step(
    rules: Sequence[LearnedRule], find: Callable[[str], Path] = Path
) -> LearnedStep | None:
    """The step for a recipe's `learned`, or None where there is nothing to do.

    `find` turns a model's name into its folder (`model_folder`). Every model is read once here, so
    that a broken one stops the run before it starts. Raises `ModelError` and `UsageError`.
    """
    from chatwright.curate.learned.linear import QualityModel
    from chatwright.curate.learned.stored import load_model

    steps: list[ScoreStep] = []
    for rule in rules:
        folder = find(rule.model)
        kind = "quality-model" if isinstance(load_model(folder), QualityModel) else "perplexity"
        name = rule.name or rule.model.rstrip("/").rpartition("/")[2]
        if name in [step.name for step in steps]:
            raise UsageError(f"two learned scores are called {name!r}", hint="give one a `name`")
        steps.append(
            ScoreStep(name, kind, StoredScore(str(folder)), rule.min, rule.max, rule.languages)
        )
    return LearnedStep(tuple(steps)) if steps else None


def model_folder(name: str, workspace: Workspace, inputs: dict[str, Path]) -> Path:
    """The folder of a learned model: a stage's result, one of the workspace, or a path.

    Raises `UsageError` where there is none.
    """
    from chatwright.curate.learned.stored import DESCRIPTION

    for folder in (inputs.get(name), workspace.models / name, Path(name)):
        if folder is not None and (folder / DESCRIPTION).is_file():
            return folder
    known = sorted(
        p.parent.relative_to(workspace.models).as_posix()
        for p in workspace.models.rglob(DESCRIPTION)
    )
    raise UsageError(
        f"there is no learned model called {name!r}",
        where=str(workspace.models),
        hint=f"learned models here: {', '.join(known)}"
        if known
        else "train one: kind quality_model or perplexity_model",
    )
