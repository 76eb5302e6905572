"""`train`: from a model, rows and settings to a trained model, inside a recipe or without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from chatwright.model import Transformer, add_lora
from chatwright.model.heads import add_head
from chatwright.progress import Progress, Silent
from chatwright.records import LedgerEntry, fingerprint
from chatwright.tokenizer import Tokenizer
from chatwright.train.determinism import deterministic_algorithms
from chatwright.train.frozen import freeze
from chatwright.train.loop import Trainer
from chatwright.train.metrics import read_metrics
from chatwright.train.numbers import Numbers, decide
from chatwright.train.objectives import preparation
from chatwright.train.parallel import choose_mode
from chatwright.train.settings import TrainSettings
from chatwright.train.setup import (
    Data,
    Opener,
    Reward,
    Setup,
    digest_of_rows,
    digest_of_weights,
    weighted,
)
from chatwright.train.watch import Callback, default_callbacks
from chatwright.train.world import World, current_world


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
    models: Mapping[str, Transformer] | None = None,
    reward: Reward | None = None,
    seed: int = 0,
    scratch: Path | str | None = None,
    run: str | None = None,
    stage: str = "train",
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
) -> TrainResult:
    """Train `model` in place and return it with the run's numbers.

    >>> settings = TrainSettings(objective="sft", lora=LoraSettings(rank=16), epochs=2)
    >>> result = train(model, tokenizer, Dataset.open("…/questions"), settings, scratch="runs/mine")
    >>> merge_lora(result.model); save_model(result.model, tokenizer, "models/mine")

    `dataset` is a dataset or a list of rows, or several with their weights: `[(a, 1.0), (b, 0.5)]`.
    Rows are documents for "pretrain", conversations for "sft", preferences for "reward" and "dpo";
    "ppo" and "grpo" take the prompts of either of the last two. `models` are those that help, by
    role: "reward", "reference" or "teacher"; `reward` is a function that judges answers instead of
    a model.

    In `scratch` lie the tokenised rows, the state that an interrupted run goes on from,
    `metrics.jsonl` and a TensorBoard folder; without it nothing survives. Give `model` as it was at
    first when going on. `run` names what is trained (computed from everything when None); state of
    another run is not taken over.

    Resuming is exact: interrupted at any step and called again, the weights become bit for bit what
    they would have been. That holds for one number of torch threads, which is saved with the state
    and used again; on a GPU it takes `deterministic`.

    Under torchrun every process calls this with the same arguments, trains its share and gets the
    whole trained model; the main one writes and tells (docs/guides/distributed.md).

    Raises `TrainingError` (no supervised token, divergence, a conversation too long for every row),
    `DataError` (wrong rows, full disk) and `KeyboardInterrupt` once the step and its state are
    complete.
    """
    settings = settings or TrainSettings()
    world = current_world()
    progress = progress if progress and world.is_main else Silent()
    if scratch is None:
        with _temporary(world) as temporary:
            return train(
                model,
                tokenizer,
                dataset,
                settings.model_copy(update={"checkpoint_seconds": float("inf")}),
                validation=validation,
                models=models,
                reward=reward,
                seed=seed,
                scratch=temporary,
                run=run or "unnamed",
                stage=stage,
                callbacks=callbacks,
                progress=progress,
            )
    folder = Path(scratch)
    with world.main_first():
        folder.mkdir(parents=True, exist_ok=True)
    world.check_shared(folder)
    data = weighted(dataset)
    models = models or {}
    if run is None:
        used: list[Data] = [part for part, _ in data]
        used += [] if validation is None else [validation]
        made_of = [
            settings.model_dump(mode="json"),
            seed,
            [digest_of_rows(part) for part in used],
            digest_of_weights(model),
            {role: digest_of_weights(helper) for role, helper in models.items()},
        ]
        run = fingerprint("train", made_of)
    device = _device(model, world)
    with deterministic_algorithms(settings.deterministic, device):
        numbers = decide(settings, model.config, device)
        _choose_parameters(model, settings, seed)
        # FSDP2 moves the model block by block: whole, it need not fit onto one GPU.
        if choose_mode(settings, model, world) != "fsdp":
            model.to(device)
        for helper in models.values():
            helper.to(device)
        setup = Setup(
            model=model,
            tokenizer=tokenizer,
            settings=settings,
            numbers=numbers,
            data=data,
            validation=validation,
            seed=seed,
            stage=stage,
            folder=folder,
            progress=progress,
            opener=Opener(folder / "tokens", tokenizer, stage, progress),
            models=models,
            reward=reward,
        )
        with world.main_first():  # what is made on disk is made once
            prepared = preparation(settings.objective)(setup)
        ledger = prepared.source.ledger
        for entry in ledger[:10]:
            progress.line(f"{entry.action} {entry.row_id}: {entry.rule} ({entry.bound or ''})")
        trainer = Trainer(
            model=model,
            objective=prepared.objective,
            source=prepared.source,
            settings=settings,
            numbers=numbers,
            total=prepared.total,
            seed=seed,
            run=run,
            folder=folder,
            validation=prepared.validation,
            ceiling=prepared.ceiling,
            callbacks=[*default_callbacks(settings.samples, tokenizer), *callbacks],
            progress=progress,
            world=world,
        )
        trainer.fit()
        if prepared.finish is not None:
            prepared.finish()
    metrics = world.from_main(lambda: read_metrics(folder / "metrics.jsonl"))
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
        ledger=ledger,
    )


@contextmanager
def _temporary(world: World) -> Iterator[Path]:
    """A folder for one run, the same one for all processes."""
    if not world.is_main:
        yield world.from_main(Path)
        world.barrier()
        return
    with TemporaryDirectory(prefix="chatwright-train-") as temporary:
        yield world.from_main(lambda: Path(temporary))
        world.barrier()


def _device(model: Transformer, world: World) -> torch.device:
    """Where to train: on a GPU where there is one, unless the model is on a device of its own."""
    if world.size == 1 and model.device.type != "cpu":
        return model.device
    return torch.device(world.device)


def _choose_parameters(model: Transformer, settings: TrainSettings, seed: int) -> None:
    """Adapters or all weights, and the head that the objective needs: what is trained."""
    if settings.lora is not None:
        lora = settings.lora
        add_lora(model, lora.rank, lora.alpha, lora.targets, lora.dropout, seed=seed)
    else:
        model.requires_grad_(True)
    freeze(model, settings.freeze)
    if settings.objective == "reward":
        add_head(model, "score").requires_grad_(True)
    elif settings.objective == "ppo":
        add_head(model, "value").requires_grad_(True)
