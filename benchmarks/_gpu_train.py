"""How fast `pretrain` is on a GPU: one process that measures one way of computing after another.

`python _gpu_train.py SETTINGS`; every line that begins with `{` is one measurement, made as
`chatwright.train.train` makes a run (its token file, plan, trainer and callbacks), without
checkpoints. Tokens are random: speed does not depend on them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.progress import Silent
from chatwright.records import Document, content_id
from chatwright.train import compiled, flex, objectives, parallel
from chatwright.train.flops import peak_of, training_cost
from chatwright.train.loop import Trainer
from chatwright.train.numbers import decide
from chatwright.train.objectives import NextToken
from chatwright.train.optim import Masters
from chatwright.train.plan import Mixed, Plan
from chatwright.train.settings import TrainSettings
from chatwright.train.tokens import TokenFile, write_token_file
from chatwright.train.watch import Watcher

_DOCUMENT = 4096


class Noise:
    """A tokenizer whose texts are random tokens."""

    bos_id = None
    end_of_text_id = 0

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def token_id(self, token: str) -> int | None:
        return None

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        rng = np.random.default_rng(len(texts[0]))
        return [rng.integers(1, self.vocab_size, _DOCUMENT).tolist() for _ in texts]

    def chat_with_mask(self, *_: Any, **__: Any) -> tuple[list[int], list[bool]]:
        raise NotImplementedError


def token_file(folder: Path, vocab_size: int, tokens: int) -> TokenFile:
    rows = [
        Document(content_id("noise", str(i)), f"{i}", f"noise:{i}", "noise")
        for i in range(-(-tokens // _DOCUMENT))
    ]
    return write_token_file(
        folder, rows, Noise(vocab_size), objective="pretrain", stage="bench", total=len(rows),
        progress=Silent(),
    )  # fmt: skip


class Enough(Exception):  # noqa: N818 - no error
    """Ends a run once its speed is known."""


class Speed(Watcher):
    """Times steps after the first `warm`, which compile and settle.

    The device is waited for at the beginning and at the end only, as nobody waits in training.
    """

    def __init__(self, seconds: float, warm: int, profile: bool) -> None:
        self._seconds, self._warm, self._profile = seconds, warm, profile
        self.first = 0.0
        self.steps = 0
        self.losses: list[float] = []
        self.operations = 0.0
        self.tokens = 0
        self.table = ""
        self._profiler: Any = None
        self._begun = 0.0

    def begin(self, trainer: Trainer) -> None:
        self._cost = training_cost(trainer.model)
        self._cuda = trainer.parallel.device.type == "cuda"
        self._start = self._now()

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        self.losses.append(values["loss"])
        if step == 1:
            self.first = self._now() - self._start
        if step <= self._warm:
            self._begun = self._now()
            return
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)
            self.table = self._profiler.key_averages().table(
                sort_by="self_cuda_time_total", row_limit=26, max_name_column_width=70
            )
            raise Enough
        self.steps += 1
        self.tokens += sum(batch.tokens.numel() for batch in trainer.batches)
        self.operations += self._cost.of_batches(trainer.batches)
        if self.steps >= 3 and time.perf_counter() - self._begun >= self._seconds:
            self.taken = self._now() - self._begun
            if not self._profile:
                raise Enough
            self._profiler = torch.profiler.profile()
            self._profiler.__enter__()


class FusedLoss:
    """Stands for `train.native` in the objective: the GPU's kernel in place of the CPU's."""

    ready = staticmethod(compiled.fuses)
    cross_entropy = staticmethod(compiled.cross_entropy)


@contextlib.contextmanager
def the_way(way: dict[str, Any]) -> Iterator[None]:
    """Within, what the code would choose itself is chosen by `way`."""
    with contextlib.ExitStack() as stack:

        def put(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        attention = way.get("attention", "auto")
        if attention in ("flash", "flex"):
            put(flex, "_prefers_cudnn", lambda q: False)
        if attention == "flex":
            put(flex, "can_flash", lambda q: False)
        if way.get("loss") == "fused":
            put(objectives, "native", FusedLoss)
        elif way.get("loss") == "plain":
            put(compiled, "fuses", lambda *_: False)
        if "at_once" in way:
            put(objectives, "_LOGITS_AT_ONCE", {"cpu": 1 << 20, "cuda": way["at_once"]})
            put(objectives, "_GRADIENTS_AT_ONCE", {"cpu": 1 << 23, "cuda": way["at_once"]})
        if "dynamic" in way:
            put(compiled, "_DYNAMIC", way["dynamic"])
        if way.get("masters") == "plain":
            put(parallel, "MastersOnGpu", Masters)
        if way.get("deterministic"):
            # While it is set, torch 2.11 reads it anew for every product: 50 µs.
            stack.enter_context(mock.patch.dict(os.environ, CUBLAS_WORKSPACE_CONFIG=":4096:8"))
            torch.use_deterministic_algorithms(True)
            torch.utils.deterministic.fill_uninitialized_memory = False
            stack.callback(torch.use_deterministic_algorithms, False)
        yield


def measure(way: dict[str, Any], settings: dict[str, Any], file: TokenFile) -> dict[str, Any]:
    """Tokens a second and MFU of one way of computing."""
    device = torch.device(settings["device"])
    config = ModelConfig.from_depth(
        way["depth"], settings["vocab_size"], context=settings["length"]
    )
    model = Transformer.empty(config).to_empty(device=device)
    model.reset_parameters(torch.Generator(device).manual_seed(1), zero_outputs=True)
    # The batch is the dial's own where nothing is said.
    asked = TrainSettings(
        objective="pretrain",
        length=settings["length"],
        steps=100_000,
        schedule="constant",
        precision=way.get("precision", "bf16"),
        batch_tokens=way.get("batch"),
        micro_batch_tokens=way.get("micro"),
        compile=way.get("compile", True),
        optimizer=way.get("optimizer", "auto"),
        learning_rate=1e-4,
        checkpoint_activations=way.get("checkpoint", False),
    )
    numbers = decide(asked, config, device)
    speed = Speed(way.get("seconds", settings["seconds"]), way.get("warm", 2), "profile" in way)
    plan = Plan(
        [Mixed(file)], length=numbers.length, rows_per_step=numbers.rows_per_step, seed=0,
        chat=False,
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        objective=NextToken(),
        source=plan,
        settings=asked,
        numbers=numbers,
        total=100_000,
        seed=0,
        run="bench",
        callbacks=[speed],
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with the_way(way), contextlib.suppress(Enough):
        trainer.fit()
    rate = speed.operations / speed.taken
    peak = peak_of(device, numbers.dtype)
    found = {
        "parameters": config.n_parameters,
        "batch_tokens": numbers.batch_tokens,
        "micro_batch_tokens": min(numbers.micro_batch_tokens, numbers.batch_tokens),
        "tokens_per_second": round(speed.tokens / speed.taken),
        "tflops": round(rate / 1e12, 1),
        "mfu": round(rate / peak.flops, 4),
        "step_ms": round(1000 * speed.taken / speed.steps, 1),
        "steps": speed.steps,
        "first_step_seconds": round(speed.first, 1),
        "losses": [round(loss, 4) for loss in (speed.losses[0], speed.losses[-1])],
        "peak": peak.source,
    }
    if device.type == "cuda":
        found["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    if speed.table:
        print(speed.table, flush=True)
    return found


def main() -> None:
    settings = json.loads(sys.argv[1])
    # A scratch folder's file is reread by every variant.
    with tempfile.TemporaryDirectory() as folder:
        file = token_file(Path(folder) / "tokens", settings["vocab_size"], settings["tokens"])
        for way in settings["ways"]:
            begun = time.perf_counter()
            try:
                found = measure(way, settings, file)
            except Exception as error:  # one way that fails does not cost the others
                found = {"error": f"{type(error).__name__}: {error}"[:600]}
            print(
                json.dumps(way | found | {"took": round(time.perf_counter() - begun, 1)}),
                flush=True,
            )
            gc.collect()
            torch._dynamo.reset()
            compiled._cross_entropy.cache_clear()
            if settings["device"] == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
