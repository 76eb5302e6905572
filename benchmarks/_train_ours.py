"""Our side of `train.py`: one figure in one process.

`python _train_ours.py PART SETTINGS`, with PART `lora`, `pretrain` (rows and steps as the peer
takes them) or `overhead` (the whole of `chatwright.train.train`, as a user calls it). The last line
printed is JSON.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _train_data import ALPHA, LENGTH, RANK, ROWS_PER_STEP, conversations

from chatwright.train.source import Static


class Rows(Static):
    """Eight rows a step, in the order of the file: a `Source` of the trainer."""

    def __init__(self, path: Path) -> None:
        self.rows = json.loads(path.read_text())
        self.ledger: list[Any] = []

    def step(self, step: int, tokens_at_once: int) -> list[Any]:
        import numpy as np

        from chatwright.train.packing import make_batch

        rows = self.rows[step * ROWS_PER_STEP : (step + 1) * ROWS_PER_STEP]
        groups: list[list[Any]] = []
        room = 0
        for row in rows:
            tokens, labels = np.array(row["input_ids"]), np.array(row["labels"])
            if not groups or len(tokens) - 1 > room:
                groups.append([])
                room = tokens_at_once
            groups[-1].append((tokens[:-1], labels[1:]))
            room -= len(tokens) - 1
        return [make_batch(group, ["row"] * len(group)) for group in groups]


def settings_of(part: str, **more: Any) -> Any:
    """The numbers that the peers are given too."""
    from chatwright.train.settings import LoraSettings, TrainSettings

    common: dict[str, Any] = {
        "length": LENGTH, "batch_size": ROWS_PER_STEP, "schedule": "constant", "warmup": 0,
        "weight_decay": 0.0, "optimizer": "adamw", "clip": 1.0,
    }  # fmt: skip
    if part == "pretrain":
        # All rows of a step at once, as the peer takes them.
        own: dict[str, Any] = {
            "objective": "pretrain",
            "learning_rate": 1e-3,
            "micro_batch_tokens": ROWS_PER_STEP * LENGTH,
        }
    else:
        own = {
            "objective": "sft",
            "learning_rate": 5e-4,
            "lora": LoraSettings(rank=RANK, alpha=ALPHA),
            # Half the default: a little slower, a fifth less memory.
            "micro_batch_tokens": LENGTH,
        }
    return TrainSettings(**(common | own | more))


def fixed(part: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`steps` steps on the rows of the file, through the trainer."""
    import torch

    from chatwright.model import load_model
    from chatwright.model.lora import load_adapter
    from chatwright.train.loop import Trainer
    from chatwright.train.metrics import read_metrics
    from chatwright.train.numbers import decide
    from chatwright.train.objectives import NextToken

    folder, precision = Path(settings["folder"]), settings.get("precision", "bf16")
    wide = part == "pretrain" or precision == "fp32"
    model, _ = load_model(folder / "model", dtype=torch.float32 if wide else torch.bfloat16)
    if part == "lora":
        load_adapter(model, folder / "adapter")
    asked = settings_of(part, steps=settings["steps"], precision=precision)
    source = Rows(folder / "rows.json")
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            objective=NextToken(),
            source=source,
            settings=asked,
            numbers=decide(asked, model.config, model.device),
            total=settings["steps"],
            seed=0,
            run="bench",
            folder=Path(scratch),
        )
        trainer.fit()
        lines = read_metrics(Path(scratch) / "metrics.jsonl")
    return result(lines, settings["warm"])


def result(lines: list[dict[str, float]], warm: int) -> dict[str, Any]:
    """Tokens a second after `warm` steps, whose shapes the libraries compile for."""
    tokens = lines[-1]["tokens"] - lines[warm - 1]["tokens"]
    seconds = sum(line["step_seconds"] for line in lines[warm:])
    return {
        "tokens_per_second": tokens / seconds,
        "step_seconds": [line["step_seconds"] for line in lines],
        "step_tokens": [b - a for a, b in itertools.pairwise([0, *(x["tokens"] for x in lines)])],
        "losses": [line["loss"] for line in lines],
        "tokens": lines[-1]["tokens"],
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def overhead(settings: dict[str, Any]) -> dict[str, Any]:
    """What of a run's wall time goes into data, logging and checkpoints; rows of 512 are packed.

    All of `Trainer.fit` (optimizer made, last checkpoint written) less the steps, and the making of
    the batches, which is inside the steps.
    """
    import torch

    from chatwright.model import load_model
    from chatwright.train import train
    from chatwright.train.loop import Trainer
    from chatwright.train.plan import Plan

    model, tokenizer = load_model(Path(settings["folder"]) / "model", dtype=torch.bfloat16)
    asked = settings_of("lora", steps=settings["steps"], precision="bf16")
    spent: dict[str, float] = {}
    for owner, name in ((Trainer, "fit"), (Plan, "step")):
        setattr(owner, name, timed(getattr(owner, name), spent))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        done = train(model, tokenizer, conversations(), asked, run="bench", scratch=scratch)
    whole = time.perf_counter() - started
    steps = sum(line["step_seconds"] for line in done.metrics)
    outside = spent["fit"] - steps
    return {
        "seconds": spent["fit"],
        "in_the_model": steps - spent["step"],
        "data": spent["step"],
        "logging_and_checkpoints": outside,
        "share": (outside + spent["step"]) / spent["fit"],
        "tokenising_before": whole - spent["fit"],
        "tokens_per_second": result(done.metrics, 1)["tokens_per_second"],
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def timed(function: Any, spent: dict[str, float]) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            name = function.__name__
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

    return run


def main() -> None:
    part, settings = sys.argv[1], json.loads(sys.argv[2])
    import torch

    torch.set_num_threads(settings["threads"])
    found = overhead(settings) if part == "overhead" else fixed(part, settings)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
