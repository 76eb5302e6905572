"""`train`: from a model, rows and settings to a trained model, inside a recipe or without one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from chatwright.errors import DataError
from chatwright.model import Transformer, add_lora
from chatwright.progress import Progress, Silent
from chatwright.records import Dataset, LedgerEntry, Row, canonical_json, file_digest, fingerprint
from chatwright.tokenizer import Tokenizer
from chatwright.train.loop import Trainer
from chatwright.train.metrics import read_metrics
from chatwright.train.numbers import Numbers, decide
from chatwright.train.objectives import OBJECTIVES
from chatwright.train.plan import Mixed, Plan
from chatwright.train.settings import TrainSettings
from chatwright.train.tokens import TokenFile, write_token_file

Data = Dataset | Sequence[Row]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The trained model (adapters not merged) and what can be said about the run.

    `metrics` are the lines of `metrics.jsonl`; `ledger` names the rows that were left out or cut.
    """

    model: Transformer
    numbers: Numbers
    steps: int
    tokens: int
    supervised_tokens: int
    seconds: float
    loss: float
    validation_loss: float | None
    metrics: list[dict[str, float]]
    ledger: list[LedgerEntry]


def train(
    model: Transformer,
    tokenizer: Tokenizer,
    dataset: Data | Iterable[tuple[Data, float]],
    settings: TrainSettings | None = None,
    *,
    validation: Data | None = None,
    seed: int = 0,
    scratch: Path | str | None = None,
    run: str | None = None,
    stage: str = "train",
    progress: Progress | None = None,
) -> TrainResult:
    """Train `model` in place and return it with the run's numbers.

    >>> settings = TrainSettings(objective="sft", lora=LoraSettings(rank=16), epochs=2)
    >>> result = train(model, tokenizer, Dataset.open("…/questions"), settings, scratch="runs/mine")
    >>> merge_lora(result.model); save_model(result.model, tokenizer, "models/mine")

    `dataset` is a dataset or a list of rows (documents for "pretrain", conversations for "sft"), or
    several with their weights: `[(a, 1.0), (b, 0.5)]`. In `scratch` lie the tokenised rows, the
    state that an interrupted run goes on from, `metrics.jsonl` and a TensorBoard folder; without
    it nothing survives. Give `model` as it was at first when going on. `run` names what is trained
    (computed from everything when None); state of another run is not taken over.

    Resuming is exact: interrupted at any step and called again, the weights become bit for bit what
    they would have been. That holds for one number of torch threads, which is saved with the state
    and used again.

    Raises `TrainingError` (no supervised token, divergence, a conversation too long for every row),
    `DataError` (wrong rows, full disk) and `KeyboardInterrupt` once the step and its state are
    complete.
    """
    settings = settings or TrainSettings()
    progress = progress or Silent()
    if scratch is None:
        with TemporaryDirectory(prefix="chatwright-train-") as temporary:
            return train(
                model,
                tokenizer,
                dataset,
                settings.model_copy(update={"checkpoint_seconds": float("inf")}),
                validation=validation,
                seed=seed,
                scratch=temporary,
                run=run or "unnamed",
                stage=stage,
                progress=progress,
            )
    folder = Path(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = decide(settings, model.config, model.device)
    opener = _Opener(folder / "tokens", tokenizer, settings.objective, stage, progress)
    mixture = [Mixed(opener.open(data), weight) for data, weight in _weighted(dataset)]
    make_plan = _planner(settings, numbers, seed, stage)
    plan = make_plan(mixture)
    held_out = make_plan([Mixed(opener.open(validation))]) if validation is not None else None
    if run is None:
        made_of = [settings.model_dump(mode="json"), seed, opener.used, _weights_digest(model)]
        run = fingerprint("train", made_of)
    if settings.lora is not None:
        lora = settings.lora
        add_lora(model, lora.rank, lora.alpha, lora.targets, lora.dropout, seed=seed)
    else:
        model.requires_grad_(True)
    for entry in plan.ledger[:10]:
        progress.line(f"{entry.action} {entry.row_id}: {entry.rule} ({entry.bound or ''})")
    trainer = Trainer(
        model=model,
        objective=OBJECTIVES[settings.objective],
        plan=plan,
        settings=settings,
        numbers=numbers,
        total=_steps(settings, numbers, plan),
        seed=seed,
        run=run,
        folder=folder,
        validation=held_out,
        progress=progress,
    )
    trainer.fit()
    metrics = read_metrics(folder / "metrics.jsonl")
    position = trainer.position
    return TrainResult(
        model=model,
        numbers=numbers,
        steps=position.step,
        tokens=position.tokens,
        supervised_tokens=position.supervised,
        seconds=position.seconds,
        loss=float(metrics[-1]["loss"]) if metrics else trainer.last_loss,
        validation_loss=next(
            (float(m["validation_loss"]) for m in reversed(metrics) if "validation_loss" in m), None
        ),
        metrics=metrics,
        ledger=plan.ledger,
    )


def _steps(settings: TrainSettings, numbers: Numbers, plan: Plan) -> int:
    if settings.steps is not None:
        return settings.steps
    if settings.tokens is not None:
        return max(1, -(-settings.tokens // numbers.batch_tokens))
    return plan.end_after(settings.epochs or 1.0)


def _planner(
    settings: TrainSettings, numbers: Numbers, seed: int, stage: str
) -> Callable[[Sequence[Mixed]], Plan]:
    def make(mixture: Sequence[Mixed]) -> Plan:
        return Plan(
            mixture,
            length=numbers.length,
            rows_per_step=numbers.rows_per_step,
            seed=seed,
            chat=settings.objective == "sft",
            too_long=settings.too_long,
            stage=stage,
        )

    return make


def _weighted(dataset: Data | Iterable[tuple[Data, float]]) -> list[tuple[Data, float]]:
    if isinstance(dataset, Dataset):
        return [(dataset, 1.0)]
    parts: list[Any] = list(dataset)
    if not parts:
        raise DataError("there is no row to train on")
    return parts if isinstance(parts[0], tuple) else [(parts, 1.0)]


class _Opener:
    """Token files by content: the same rows and tokenizer give the same file, made once."""

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, objective: str, stage: str, progress: Progress
    ) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._objective = objective
        self._stage = stage
        self._progress = progress
        self._tokenizer_digest = _tokenizer_digest(tokenizer)
        self.used: list[str] = []

    def open(self, data: Data) -> TokenFile:
        if isinstance(data, Dataset):
            content = data.info.content_digest
        else:
            content = fingerprint("rows", [row.to_arrow() for row in data])
        name = fingerprint("tokens", [self._objective, self._tokenizer_digest, content])
        self.used.append(name)
        path = self._folder / name
        if path.exists():
            try:
                return TokenFile.open(path)
            except DataError:  # cut or changed by someone: it can always be made again
                self._progress.line(f"the token file {path} is damaged and is made again")
        return write_token_file(
            path,
            data,
            self._tokenizer,
            objective=self._objective,
            stage=self._stage,
            total=len(data),
            progress=self._progress,
        )


def _tokenizer_digest(tokenizer: Tokenizer) -> str:
    with TemporaryDirectory() as folder:
        tokenizer.save(folder)
        return fingerprint("tokenizer", [file_digest(p) for p in sorted(Path(folder).iterdir())])


def _weights_digest(model: Transformer) -> str:
    digest = hashlib.blake2b(canonical_json(model.config.model_dump()).encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
