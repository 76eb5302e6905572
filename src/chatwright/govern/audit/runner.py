"""Audits a model: loads it once, runs the parts that were asked for, keeps what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.journal import Journal
from chatwright.govern.audit import counterfactual, parts
from chatwright.govern.audit.results import PARTS, Audit, Part
from chatwright.govern.audit.rows import TrainingData, base_of, training_data
from chatwright.progress import Progress, Silent
from chatwright.records import Dataset, fingerprint, result_fingerprint
from chatwright.records.results import read_result
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.generate import Engine

_PROMPT = 256  # tokens that hold any bias prompt, a byte of Chinese being a token at worst


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How to audit.

    `only`: which parts. `limit`: so many training rows and held-out rows, drawn by `seed`.
    Extraction: `prefixes` tokens are given and `suffix` tokens must come back; `examples` of what
    came back are kept (none unless asked: they are training data). Membership: the first `window`
    tokens of each row. Canaries: each is ranked among `candidates` others. Bias: prompts in
    `bias_languages`, each with `bias_samples` seeds, continued by `bias_tokens` tokens.
    """

    only: tuple[Part, ...] = PARTS
    limit: int = 32
    prefixes: tuple[int, ...] = (16, 50, 100)
    suffix: int = 50
    window: int = 512
    candidates: int = 127
    examples: int = 0
    bias_languages: tuple[str, ...] = counterfactual.LANGUAGES
    bias_samples: int = 2
    bias_tokens: int = 20
    max_batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for part in self.only:
            if part not in PARTS:
                raise UsageError(
                    f"{part!r} is no part of an audit",
                    where="only",
                    hint=f"the parts: {', '.join(PARTS)}",
                )
        least = {"limit": 2, "suffix": 1, "candidates": 1, "bias_samples": 1, "bias_tokens": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name} is {getattr(self, name)}; {low} or more", where=name)
        if not self.prefixes or min(self.prefixes) < 1:
            raise UsageError("prefixes are lengths of 1 token or more", where="prefixes")
        if self.window < max(self.prefixes) + self.suffix + 1:
            raise UsageError(
                f"a window of {self.window} tokens does not hold a prefix of "
                f"{max(self.prefixes)} and a target of {self.suffix}",
                where="window",
                hint=f"raise it to {max(self.prefixes) + self.suffix + 1} or more",
            )


def audit_model(
    model: str | Path,
    *,
    train: Sequence[str | Path] = (),
    held_out: str | Path | None = None,
    reference: str | Path | None = None,
    workspace: Workspace | None = None,
    scratch: Path | None = None,
    run: str | None = None,
    progress: Progress | None = None,
    scorers: Mapping[str, counterfactual.Scorer] | None = None,
    label: str | None = None,
    **options: Any,
) -> Audit:
    """Measure what `model` (a checkpoint's name or folder, an alias, `hf:…`) gives away, and bias.

    >>> audit = audit_model("quickstart/sft", held_out="quickstart/held-out-questions")

    Training rows are found through the checkpoint's lineage, held-out rows are its `validation`;
    `train` and `held_out` (datasets' names or folders) say otherwise. `reference` is a model that
    was not trained on the rows (default: what the checkpoint was trained from). A part that cannot
    be measured is None in the result and `why` says why. `scorers` (text → number) stand in for
    sentiment and toxicity. Further keywords are those of `AuditOptions`.

    With `scratch`, what was measured is kept there under the name `run`, and an audit that was
    killed goes on from it. Raises `DataError` for a dataset that cannot be used, `ModelError` for
    a model that cannot be loaded.
    """
    how = AuditOptions(**options)
    place = workspace or Workspace()
    progress = progress or Silent()
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(how).items()}
    audit = Audit(model=label or str(model), settings=settings)
    data = _find_data(str(model), place, train, held_out, audit)
    folder = place.model(str(model)) or Path(model)
    known = result_fingerprint(folder) if folder.is_dir() else None
    made_of = {"model": [str(model), known], "data": str(data), "settings": asdict(how)}
    journal = Journal(scratch, run or fingerprint("audit", made_of))
    if data is not None:
        audit.training = [_name(path, place) for path in data.datasets]
        audit.held_out = _name(data.held_out, place) if data.held_out else None
    wanted = [part for part in how.only if part not in audit.why]
    if not wanted:
        return audit
    observed: parts.Observation | None = None
    with _loaded(str(model), place, how, progress) as engine:
        run_ = parts.Run(how, engine, data, journal, progress, audit)
        if "memorisation" in wanted:
            parts.memorisation(run_)
        if "membership" in wanted:
            observed = parts.observe(run_)
        if "canaries" in wanted:
            parts.canaries(run_)
        if "bias" in wanted:
            parts.bias(run_, scorers or counterfactual.default_scorers())
    if observed is not None:
        other = None if reference is None else str(reference)
        if other is None and data is not None and observed.own:
            other = data.base  # of an earlier training's rows, the base has seen them too
        if other is not None:
            with _loaded(other, place, how, progress) as engine:
                if not parts.add_reference(observed, run_, engine):
                    other = None
        shown = None if other is None else _short(other)
        parts.membership(observed, audit, shown, how.seed)
    return audit


def _find_data(
    model: str,
    place: Workspace,
    train: Sequence[str | Path],
    held_out: str | Path | None,
    audit: Audit,
) -> TrainingData | None:
    """The rows to audit with, or None with the reason in `audit.why` of each part that needs them.

    A dataset that somebody named must be there; one that lineage names may be gone.
    """
    folder = place.model(model) or Path(model)
    data: TrainingData | None = None
    reason = "no training data is known: the model has no lineage; name it with --train"
    if train:
        paths = tuple(place.dataset(str(name)) for name in train)
        base = base_of(read_result(folder)) if (folder / "lineage.json").exists() else None
        data = TrainingData(paths, (), None, base)
    elif (folder / "lineage.json").exists():
        try:
            data = training_data(folder, place)
        except DataError as error:
            reason = f"{error.message}; {error.hint}" if error.hint else error.message
    if data is None:
        for part in ("memorisation", "membership", "canaries"):
            audit.why[part] = reason
        return None
    if held_out is not None:
        data = TrainingData(data.own, data.earlier, place.dataset(str(held_out)), data.base)
    return data


def _name(path: Path, place: Workspace) -> str:
    """A dataset as a person calls it, which is also the same on every machine."""
    absolute = path.absolute()
    if absolute.is_relative_to(place.datasets):
        return absolute.relative_to(place.datasets).as_posix()
    return Dataset.open(path).info.stage or path.name


def _short(reference: str) -> str:
    path = Path(reference)
    return path.name if path.is_absolute() else reference


@contextmanager
def _loaded(
    reference: str, place: Workspace, how: AuditOptions, progress: Progress
) -> Iterator[Engine]:
    """A model behind an engine; both are gone from memory afterwards.

    The engine's window is as short as the audit's sequences allow: its cache grows with it.
    """
    from chatwright.generate.load import engine_of
    from chatwright.model import load_model

    model, tokenizer = load_model(reference, workspace=place, progress=progress)
    context = min(model.config.context, max(how.window + 1, _PROMPT + how.bias_tokens))
    with engine_of(model, tokenizer, max_batch=how.max_batch, context=context) as engine:
        yield engine
