"""The recipe stage `train`: data and a model in, a checkpoint folder out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from chatwright.machine import describe_machine
from chatwright.records import (
    Dataset,
    LedgerEntry,
    atomic_folder,
    content_fingerprint,
    disk_errors,
    file_digest,
)
from chatwright.stage import Settings, StageContext, StageKind, StageSettings
from chatwright.train.settings import TrainSettings
from chatwright.train.world import current_world
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.model import Transformer
    from chatwright.tokenizer import Tokenizer
    from chatwright.train.api import TrainResult
    from chatwright.train.setup import Reward
    from chatwright.train.watch import Callback


class NewModel(Settings):
    """A model with fresh weights: `depth` sets every size; `tokenizer` is a stage or a folder.

    It begins as the identity (`zero_outputs` of `Transformer.random`), and its embedding and head
    get rates of their own where the stage leaves them open (`for_fresh_weights`). `tied` uses the
    embedding as the head: a smaller model.
    """

    depth: int = Field(ge=1, le=64)
    tokenizer: str
    context: int = Field(default=1024, ge=2)
    tied: bool = False


class WeightedData(Settings):
    """One part of a mixture: 2 goes through it twice per epoch, 0.5 through a random half."""

    data: str
    weight: float = Field(default=1.0, gt=0)


class TrainStage(TrainSettings, StageSettings):
    """Settings of the stage: what to train on what, and how (`TrainSettings`).

    `model` is another stage, a model of the workspace, an alias, `hf:…`, a folder, or a new one
    (`{depth: 4, tokenizer: STAGE}`). `data` is one dataset or several, with weights where wanted.

    Models that help are named in the same ways: `reward` judges answers (ppo, grpo), `reference`
    is what the model may not move far from (dpo, ppo, grpo; the model itself as it was when None),
    `teacher` is learnt from (distil). `reward_function` (`package.module:function` or
    `file.py:function`) judges answers in Python.
    """

    references: ClassVar[tuple[str, ...]] = (
        "model",
        "data",
        "validation",
        "reward",
        "reference",
        "teacher",
    )

    model: str | NewModel
    data: str | tuple[str | WeightedData, ...] = Field(min_length=1)
    validation: str | None = None
    reward: str | None = None
    reward_function: str | None = None
    reference: str | None = None
    teacher: str | None = None

    def referenced(self) -> list[str]:
        model = self.model.tokenizer if isinstance(self.model, NewModel) else self.model
        found = [model, *(part.data for part in self.mixture)]
        others = (self.validation, self.reward, self.reference, self.teacher)
        return [*found, *(name for name in others if name)]

    @property
    def helpers(self) -> dict[str, str]:
        """The models that help, by role."""
        roles = {"reward": self.reward, "reference": self.reference, "teacher": self.teacher}
        return {role: name for role, name in roles.items() if name}

    @property
    def mixture(self) -> list[WeightedData]:
        parts = (self.data,) if isinstance(self.data, str) else self.data
        return [WeightedData(data=p) if isinstance(p, str) else p for p in parts]

    def training(self) -> TrainSettings:
        """The part that `train` takes."""
        names = TrainSettings.model_fields
        return TrainSettings.model_validate({name: getattr(self, name) for name in names})


def run(settings: TrainStage, context: StageContext) -> None:
    """Train, then write the checkpoint folder.

    Interrupted at any point, it goes on from the last checkpoint in `context.scratch`.
    """
    result, tokenizer = fit(settings, context)
    if not current_world().is_main:
        return
    _write(settings, context, result, tokenizer)
    shutil.rmtree(context.scratch / "state", ignore_errors=True)
    shutil.rmtree(context.scratch / "tokens", ignore_errors=True)


def fit(
    settings: TrainStage, context: StageContext, callbacks: Sequence[Callback] = ()
) -> tuple[TrainResult, Tokenizer]:
    """Train as the stage says, in `context.scratch`, and write no checkpoint folder."""
    from chatwright.train.api import train
    from chatwright.train.numbers import for_fresh_weights

    with current_world().main_first():  # what is fetched is fetched once
        model, tokenizer = _model(settings, context)
        helpers = {role: _helper(n, settings, context) for role, n in settings.helpers.items()}
    asked = settings.training()
    if isinstance(settings.model, NewModel):
        asked = for_fresh_weights(asked, model.config)
    data = [
        (Dataset.open(context.dataset_path(part.data)), part.weight) for part in settings.mixture
    ]
    validation = settings.validation
    result = train(
        model,
        tokenizer,
        data,
        asked,
        validation=Dataset.open(context.dataset_path(validation)) if validation else None,
        models=helpers,
        reward=_reward_function(settings, context),
        seed=context.seed,
        scratch=context.scratch,
        run=context.fingerprint,
        stage=context.stage,
        callbacks=callbacks,
        progress=context.progress,
    )
    return result, tokenizer


def _model(settings: TrainStage, context: StageContext) -> tuple[Transformer, Tokenizer]:
    """The model to start from, in float32 where its weights will be trained."""
    import torch

    from chatwright.model import ModelConfig, Transformer, best_dtype, load_model
    from chatwright.tokenizer import Tokenizer

    if isinstance(settings.model, NewModel):
        new = settings.model
        tokenizer = Tokenizer.load(context.inputs.get(new.tokenizer) or Path(new.tokenizer))
        config = ModelConfig.from_depth(
            new.depth, _rounded(tokenizer.vocab_size), context=new.context, tied=new.tied
        )
        return Transformer.random(config, context.seed, zero_outputs=True), tokenizer
    dtypes = {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "auto": best_dtype(),
    }
    reference: Any = context.inputs.get(settings.model, settings.model)
    return load_model(
        reference,
        dtype=dtypes[settings.precision] if settings.lora else torch.float32,
        workspace=context.workspace,
        progress=context.progress,
    )


def _helper(name: str, settings: TrainStage, context: StageContext) -> Transformer:
    """A model that is read only, in the type that training computes in."""
    import torch

    from chatwright.model import best_dtype, load_model

    dtype = torch.float32 if settings.precision == "fp32" else best_dtype()
    reference: Any = context.inputs.get(name, name)
    model, _ = load_model(
        reference, dtype=dtype, workspace=context.workspace, progress=context.progress
    )
    return model.eval().requires_grad_(False)


def _reward_function(settings: TrainStage, context: StageContext) -> Reward | None:
    if settings.reward_function is None:
        return None
    from chatwright.train.rl.rewards import load_reward_function

    return load_reward_function(settings.reward_function, where=f"stage {context.stage}")


def _rounded(vocab_size: int) -> int:
    """Up to a multiple of 64, which matrix units like; the rows beyond are never learnt."""
    return -(-vocab_size // 64) * 64


def _write(
    settings: TrainStage, context: StageContext, result: TrainResult, tokenizer: Tokenizer
) -> None:
    """The folder: model, adapter, card, lineage, metrics, and what was left out."""
    from chatwright.model import merge_lora, save_adapter, save_model
    from chatwright.train.card import model_card

    base = settings.model if isinstance(settings.model, str) else "random weights"
    staged = context.scratch / "result"
    lineage = context.lineage(settings, base_model=base, machine=describe_machine())
    card = model_card(settings, context, result)
    adapter = context.scratch / "adapter"
    if settings.lora is not None:
        save_adapter(result.model, adapter, base=base)
        merge_lora(result.model)
    save_model(result.model, tokenizer, staged, card=card, lineage=lineage)
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        for file in sorted(staged.iterdir()):
            file.rename(folder / file.name)
        if settings.lora is not None:
            adapter.rename(folder / "adapter")
        for name in ("metrics.jsonl", "samples.jsonl", "rollouts.jsonl"):
            if (context.scratch / name).exists():
                shutil.copyfile(context.scratch / name, folder / name)
        if result.ledger:
            _write_ledger(result.ledger, folder / "ledger")
    shutil.rmtree(staged, ignore_errors=True)


def _write_ledger(entries: list[LedgerEntry], folder: Path) -> None:
    """In the form of a dataset's ledger, so that the same reader serves (`records.Ledger`)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    table = pa.Table.from_pylist([e.to_arrow() for e in entries], schema=LedgerEntry.schema)
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd")


def external(settings: StageSettings, workspace: Workspace) -> dict[str, str]:
    """Digests of what is named and is no stage of the recipe: datasets, models, a reward's file."""
    found = {}
    file = Path(str(getattr(settings, "reward_function", None) or "").rpartition(":")[0])
    if file.is_file():
        found["reward_function"] = file_digest(file)
    for name in dict.fromkeys(settings.referenced()):
        for folder in (workspace.datasets / name, workspace.models / name, Path(name)):
            digest = content_fingerprint(folder)
            if digest is not None:
                found[name] = digest
                break
    return found


STAGES = [
    StageKind("train", TrainStage, run, "models", revision=2, external=external, together=True)
]
