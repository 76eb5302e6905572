"""The recipe stage `train`: data and a model in, a checkpoint folder out."""

from __future__ import annotations

import shutil
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
)
from chatwright.stage import Settings, StageContext, StageKind, StageSettings
from chatwright.train.settings import TrainSettings
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.model import Transformer
    from chatwright.tokenizer import Tokenizer
    from chatwright.train.api import TrainResult


class NewModel(Settings):
    """A model with fresh weights: `depth` sets every size; `tokenizer` is a stage or a folder."""

    depth: int = Field(ge=1, le=64)
    tokenizer: str
    context: int = Field(default=1024, ge=2)
    tied: bool = True


class WeightedData(Settings):
    """One part of a mixture: 2 goes through it twice per epoch, 0.5 through a random half."""

    data: str
    weight: float = Field(default=1.0, gt=0)


class TrainStage(TrainSettings, StageSettings):
    """Settings of the stage: what to train on what, and how (`TrainSettings`).

    `model` is another stage, a model of the workspace, an alias, `hf:…`, a folder, or a new one
    (`{depth: 4, tokenizer: STAGE}`). `data` is one dataset or several, with weights where wanted.
    """

    references: ClassVar[tuple[str, ...]] = ("model", "data", "validation")

    model: str | NewModel
    data: str | tuple[str | WeightedData, ...] = Field(min_length=1)
    validation: str | None = None

    def referenced(self) -> list[str]:
        model = self.model.tokenizer if isinstance(self.model, NewModel) else self.model
        found = [model, *(part.data for part in self.mixture)]
        return [*found, self.validation] if self.validation else found

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
    from chatwright.train.api import train

    model, tokenizer = _model(settings, context)
    data = [
        (Dataset.open(context.dataset_path(part.data)), part.weight) for part in settings.mixture
    ]
    validation = settings.validation
    result = train(
        model,
        tokenizer,
        data,
        settings.training(),
        validation=Dataset.open(context.dataset_path(validation)) if validation else None,
        seed=context.seed,
        scratch=context.scratch,
        run=context.fingerprint,
        stage=context.stage,
        progress=context.progress,
    )
    _write(settings, context, result, tokenizer)
    shutil.rmtree(context.scratch / "state", ignore_errors=True)
    shutil.rmtree(context.scratch / "tokens", ignore_errors=True)


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
        return Transformer.random(config, context.seed), tokenizer
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "auto": best_dtype()}
    reference: Any = context.inputs.get(settings.model, settings.model)
    return load_model(
        reference,
        dtype=dtypes[settings.precision] if settings.lora else torch.float32,
        workspace=context.workspace,
        progress=context.progress,
    )


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
        shutil.copyfile(context.scratch / "metrics.jsonl", folder / "metrics.jsonl")
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


def external(settings: TrainStage, workspace: Workspace) -> dict[str, str]:
    """Digests of datasets and models that are named and are no stages of the recipe."""
    found = {}
    for name in dict.fromkeys(settings.referenced()):
        for folder in (workspace.datasets / name, workspace.models / name, Path(name)):
            digest = content_fingerprint(folder)
            if digest is not None:
                found[name] = digest
                break
    return found


STAGES = [StageKind("train", TrainStage, run, "models", external=external)]
