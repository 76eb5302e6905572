"""From what a caller asks to a recipe: numbers where they said `auto`, and the stages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from chatwright.serve.jobs.rows import Method, TrainingRows

STAGE = "tuned"
TRAINING, VALIDATION = "training.jsonl", "validation.jsonl"

Auto = Literal["auto"]

_RATES = {"supervised": 5e-4, "dpo": 1e-4}  # the trainer's own for adapters
_AUTO_EPOCHS = 3
_AUTO_STEPS = 32  # of an epoch: a batch is chosen so that there are about so many
_AUTO_BATCH = 16
_CHARACTERS = 3.0  # of a token, about, in English and Chinese together
_LENGTHS = (128, 256, 512)  # the longest is the trainer's own: 1024
_LOOKS = 10  # at the validation file while training


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What the trainer is told. `beta` is dpo's."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float | None = None

    def to_json(self) -> dict[str, Any]:
        told = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return told if self.beta is None else {**told, "beta": self.beta}


def decide(
    method: Method,
    rows: int,
    *,
    n_epochs: int | Auto = "auto",
    batch_size: int | Auto = "auto",
    learning_rate_multiplier: float | Auto = "auto",
    beta: float | Auto = "auto",
) -> Hyperparameters:
    """Numbers for `auto`: three epochs, about 32 steps in each with at most 16 rows a step.

    >>> decide("supervised", 100).batch_size
    3
    """
    return Hyperparameters(
        _AUTO_EPOCHS if n_epochs == "auto" else n_epochs,
        max(1, min(_AUTO_BATCH, rows // _AUTO_STEPS)) if batch_size == "auto" else batch_size,
        1.0 if learning_rate_multiplier == "auto" else learning_rate_multiplier,
        None if method == "supervised" else 0.1 if beta == "auto" else beta,
    )


def make_recipe(
    job_id: str,
    base: str,
    method: Method,
    chosen: Hyperparameters,
    rows: TrainingRows,
    *,
    seed: int,
    validation: TrainingRows | None = None,
    context: int | None = None,
) -> dict[str, Any]:
    """The recipe of a job, as the YAML file holds it: collect the rows, train adapters on them.

    `context` is the base's window in tokens, where it is known. Conversations are laid end to end
    in rows of `length` tokens, and a step takes about `batch_size` conversations of the file's
    average length.
    """
    kind = "preferences" if method == "dpo" else "conversations"
    stages: dict[str, Any] = {"rows": _collect(TRAINING, kind)}
    train: dict[str, Any] = {
        "kind": "train",
        "objective": "dpo" if method == "dpo" else "sft",
        "model": base,
        "data": "rows",
        "lora": {"rank": 16, "alpha": 32},
        "epochs": chosen.n_epochs,
        "learning_rate": _RATES[method] * chosen.learning_rate_multiplier,
        "too_long": "cut",
        "checkpoint_seconds": 30,
    }
    length = next((size for size in _LENGTHS if size >= rows.longest), None)
    if length is not None and (context is None or length <= context):
        train["length"] = length
    steps = max(1, rows.count * chosen.n_epochs // chosen.batch_size)
    if method == "dpo":
        train["batch_size"] = chosen.batch_size
        train["preference"] = {"beta": chosen.beta, "held_out": 0}
    else:
        mean = rows.characters / rows.count / _CHARACTERS + _TEMPLATE_TOKENS
        train["batch_tokens"] = max(1, round(chosen.batch_size * mean))
        train["learn"] = "last" if rows.last_only else "all"
    if validation is not None:
        stages["held-out"] = _collect(VALIDATION, kind)
        train["validation"] = "held-out"
        train["validate_every"] = max(1, steps // _LOOKS)
    return {"name": job_id, "seed": seed, "stages": {**stages, STAGE: train}}


_TEMPLATE_TOKENS = 16


def _collect(file: str, kind: str) -> dict[str, Any]:
    return {"kind": "collect", "rows": kind, "sources": [{"source": file}]}


def model_name(base: str, suffix: str, job_id: str) -> str:
    """What the result is called, like `ft:smollm2-135m-instruct:harbour:1f0c22ab`.

    It is a folder's name too, so a base in a folder (`quickstart/sft`) loses its slash.
    """
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", base.removeprefix("ft:").replace(":", "-")).strip("-.")
    return f"ft:{short[-80:]}:{suffix}:{job_id.rpartition('_')[2][:8]}"
