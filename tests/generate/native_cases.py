"""What tests of the compiled kernels share: small models, and random steps with an oracle."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from chatwright.errors import UsageError
from chatwright.generate.native.library import why_not
from chatwright.generate.native_runner import NativeRunner
from chatwright.generate.runner import Run
from chatwright.model import ModelConfig, Transformer

needs_kernels = pytest.mark.skipif(
    why_not() is not None, reason=f"the compiled kernels are {why_not()}"
)

# No size is a multiple of 32, nor width and MLP of 16.
VOCAB, CONTEXT, SIZE = 517, 200, NativeRunner.block_size
N_BLOCKS = 60
SHAPE = {
    "vocab_size": VOCAB, "width": 72, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2,
    "head_dim": 16, "mlp_width": 100, "context": CONTEXT,
}  # fmt: skip


def make_model(seed: int = 2, **options: Any) -> Transformer:
    """Norms and biases are random too: ones and zeros would hide a mistake."""
    model = Transformer.random(ModelConfig(**(SHAPE | options)), seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name else 0.0, 0.3, generator=generator)
            else:
                deviation = 1.3 / weight.shape[1] ** 0.5
                weight.normal_(0.0, deviation, generator=generator)
    return model.eval()


def make_runner(model: Transformer, **options: Any) -> NativeRunner:
    settings = {"n_blocks": N_BLOCKS, "context": CONTEXT, "weights": "float32", "threads": 1}
    return NativeRunner.of(model, **(settings | options))


def kernel_sets() -> list[str]:
    """The instruction sets that this machine can run."""
    if why_not() is not None:
        return []
    model, found = make_model(), []
    for name in ("avx512", "avx2", "portable"):
        try:
            make_runner(model, kernels=name).close()
        except UsageError:
            continue
        found.append(name)
    return found


def plain(model: Transformer, tokens: list[int]) -> np.ndarray:
    """Logits after each token, without a cache."""
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([tokens]), rope_length=CONTEXT)
        result: np.ndarray = model.logits(hidden)[0].numpy()
    return result


class Pool:
    """Sequences that grow and fork in blocks handed out in random order, and what they gave."""

    def __init__(self, runner: NativeRunner, chance: random.Random) -> None:
        self.runner, self.chance = runner, chance
        self.free = list(range(runner.n_blocks))
        chance.shuffle(self.free)
        self.tokens: list[list[int]] = []
        self.tables: list[list[int]] = []
        self.seen: list[tuple[int, int, np.ndarray]] = []  # sequence, position, logits
        self.states: list[tuple[int, int, np.ndarray]] = []  # sequence, first position, states

    def add(self, like: int | None = None) -> int:
        """A new sequence, empty or with all of another's tokens: whole blocks are shared."""
        self.tokens.append([] if like is None else list(self.tokens[like]))
        self.tables.append([] if like is None else list(self.tables[like]))
        if like is not None and len(self.tokens[like]) % SIZE:
            own = self.free.pop()
            self.runner.copy(self.tables[-1][-1], own)
            self.tables[-1][-1] = own
        return len(self.tokens) - 1

    def run(self, index: int, new: list[int], outputs: int, states: bool = False) -> Run:
        start, table = len(self.tokens[index]), self.tables[index]
        self.tokens[index] += new
        while len(table) * SIZE < len(self.tokens[index]):
            table.append(self.free.pop())
        return Run(new, start, tuple(table), outputs, states)

    def step(self, whose: list[int], runs: list[Run]) -> None:
        result = self.runner.step(runs)
        assert len(result.logits) == sum(run.outputs for run in runs)
        assert result.logits.finite.all()
        row = 0
        for index, run, states in zip(whose, runs, result.states, strict=True):
            end = run.start + len(run.tokens)
            for position in range(end - run.outputs, end):
                logits = result.logits.row(row)
                assert result.logits.likeliest[row] == logits.argmax()
                self.seen.append((index, position, logits.copy()))
                row += 1
            assert (states is not None) == run.states
            if states is not None:
                self.states.append((index, run.start, states))

    def wander(self, steps: int, most: int = 6) -> None:
        """Random steps of prefill chunks, single tokens, and a few at a time as in speculation."""
        chance = self.chance
        for _ in range(steps):
            if len(self.tokens) < most:
                self.add(chance.choice([None, None, *range(len(self.tokens))]))
            whose = chance.sample(range(len(self.tokens)), chance.randint(1, len(self.tokens)))
            alone = chance.random() < 0.3  # a step of single tokens takes another way
            runs, taken = [], []
            for index in whose:
                room = CONTEXT - len(self.tokens[index])
                count = min(room, 1 if alone else chance.choice([1, 1, 3, 5, 24, 70]))
                if count:
                    new = [chance.randrange(self.runner.config.vocab_size) for _ in range(count)]
                    outputs = chance.choice([0, 1, count])
                    runs.append(self.run(index, new, outputs, states=chance.random() < 0.2))
                    taken.append(index)
            self.step(taken, runs)

    def errors(self, model: Transformer) -> np.ndarray:
        """How far each logit and state is from a plain pass over the whole sequence."""
        whole = [plain(model, tokens) if tokens else None for tokens in self.tokens]
        found = [np.abs(row - whole[index][at]) for index, at, row in self.seen]
        for index, start, states in self.states:
            with torch.inference_mode():
                hidden = model.hidden(torch.tensor([self.tokens[index]]), rope_length=CONTEXT)
            found += list(np.abs(states - hidden[0, start : start + len(states)].numpy()))
        return np.concatenate(found)
