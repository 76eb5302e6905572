"""What an objective is made from, and what it makes of it: the two ends of its `prepare`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch

from chatwright.errors import DataError, UsageError
from chatwright.model import Transformer
from chatwright.progress import Progress
from chatwright.records import Dataset, Row, canonical_json, file_digest, fingerprint
from chatwright.tokenizer import Tokenizer
from chatwright.train.numbers import Numbers
from chatwright.train.objectives import Objective
from chatwright.train.settings import TrainSettings
from chatwright.train.source import HeldOut, Source
from chatwright.train.tokens import TokenFile, write_token_file

Data = Dataset | Sequence[Row]
Reward = Callable[..., Sequence[float]]
File = TypeVar("File")


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that a run was given, decided and opened.

    `model` has its adapters already and is in the type that it was loaded in. `models` are those
    that help, by role ("reference", "reward", "teacher"), `reward` a function that judges answers.
    `folder` is where what must survive an interruption lies.
    """

    model: Transformer
    tokenizer: Tokenizer
    settings: TrainSettings
    numbers: Numbers
    data: Sequence[tuple[Data, float]]
    validation: Data | None
    seed: int
    stage: str
    folder: Path
    progress: Progress
    opener: Opener
    models: Mapping[str, Transformer]
    reward: Reward | None = None

    def helper(self, role: str) -> Transformer:
        """The model of that role. Raises `UsageError` where none was named."""
        if role not in self.models:
            raise UsageError(
                f"objective {self.settings.objective} needs a {role} model",
                where=f"stage {self.stage}",
                hint=f"name it: `{role}: STAGE` in a recipe, models={{'{role}': …}} in Python",
            )
        return self.models[role]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the loop runs: `total` steps of `objective` on the batches of `source`.

    A loss above `ceiling` (nats per token) is no longer learning. `finish` is called once after the
    last step, with the model as it is then.
    """

    objective: Objective
    source: Source
    total: int
    validation: HeldOut | None = None
    ceiling: float = float("inf")
    finish: Callable[[], None] | None = None


class Opener:
    """Tokenised files by content: the same rows and tokenizer give the same file, made once."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, stage: str, progress: Progress) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.stage = stage
        self.progress = progress
        self.tokenizer_digest = digest_of_tokenizer(tokenizer)

    def name(self, data: Data, form: str) -> str:
        """The name of the file that holds `data` in that form (see `open_or_make`)."""
        return fingerprint("tokens", [form, self.tokenizer_digest, digest_of_rows(data)])

    def open(self, data: Data, form: str) -> TokenFile:
        """The token file of documents (`form` "pretrain") or conversations ("sft", "sft-last")."""
        return self.open_or_make(
            data, form, TokenFile.open, partial(write_token_file, objective=form)
        )

    def open_or_make(
        self, data: Data, form: str, opens: Callable[[Path], File], makes: Callable[..., File]
    ) -> File:
        """The file of `data` in that form, made where it is not there or `opens` finds it damaged.

        `makes` is called as `write_token_file` and `write_pair_file` are.
        """
        path = self.folder / self.name(data, form)
        if path.exists():
            try:
                return opens(path)
            except DataError:  # cut or changed by someone: it can always be made again
                self.progress.line(f"what is damaged of {path} is made again")
        return makes(
            path,
            data,
            self.tokenizer,
            stage=self.stage,
            total=len(data),
            progress=self.progress,
        )


def steps_of(settings: TrainSettings, numbers: Numbers, end_after: Callable[[float], int]) -> int:
    """How many steps the settings ask for; `end_after(epochs)` says what an epoch is."""
    if settings.steps is not None:
        return settings.steps
    if settings.tokens is not None:
        return max(1, -(-settings.tokens // numbers.batch_tokens))
    return end_after(settings.epochs or 1.0)


def digest_of_rows(data: Data) -> str:
    """A digest of the rows' content."""
    if isinstance(data, Dataset):
        return data.info.content_digest
    return fingerprint("rows", [row.to_arrow() for row in data])


def digest_of_tokenizer(tokenizer: Tokenizer) -> str:
    """A digest of the files that the tokenizer is made of."""
    with TemporaryDirectory() as folder:
        tokenizer.save(folder)
        return fingerprint("tokenizer", [file_digest(p) for p in sorted(Path(folder).iterdir())])


def digest_of_weights(model: Transformer) -> str:
    """A digest of every weight: two models with the same one compute the same."""
    digest = hashlib.blake2b(canonical_json(model.config.model_dump()).encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weighted(data: Any) -> list[tuple[Data, float]]:
    """One dataset, rows, or several with their weights, as the last of these."""
    if isinstance(data, Dataset):
        return [(data, 1.0)]
    parts: list[Any] = list(data)
    if not parts:
        raise DataError("there is no row to train on")
    return parts if isinstance(parts[0], tuple) else [(parts, 1.0)]
