"""The prompt computed once for both answers gives what both sequences give alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.model import Transformer, add_lora
from chatwright.progress import Silent
from chatwright.tokenizer import Tokenizer
from chatwright.train.blocks import training_blocks
from chatwright.train.packing import Batch, make_batch
from chatwright.train.preference.pairs import write_pair_file
from chatwright.train.preference.plan import MixedPairs, PairPlan
from chatwright.train.preference.sharing import common_length, pair_hidden

from .conftest import make_preferences, tiny_model


@pytest.fixture
def batch(tokenizer: Tokenizer, tmp_path: Path) -> Batch:
    file = write_pair_file(
        tmp_path / "p", make_preferences(6), tokenizer, stage="s", total=None, progress=Silent()
    )
    plan = PairPlan([MixedPairs(file)], length=128, pairs_per_step=6, seed=0)
    return plan.step(0, 10**6)[0]


def adapted(tokenizer: Tokenizer, dtype: torch.dtype) -> Transformer:
    model = tiny_model(tokenizer).to(dtype)
    generator = torch.Generator().manual_seed(0)
    add_lora(model, rank=3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("lora_B"):
                p.normal_(0, 0.2, generator=generator)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fused", [True, False])
def test_hidden_states_and_gradients(
    dtype: torch.dtype, fused: bool, batch: Batch, tokenizer: Tokenizer
) -> None:
    shared = batch.extra["shared"]
    assert 0.3 < float(shared[0::2].sum()) / batch.tokens.shape[1] < 0.5
    weights = torch.randn(batch.tokens.shape[1], generator=torch.Generator().manual_seed(1))

    def both(wanted: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        model = adapted(tokenizer, dtype)
        if fused:
            with training_blocks(model):
                hidden = pair_hidden(model, wanted)
                (hidden[0].float().sin().sum(-1) * weights).sum().backward()
        else:
            hidden = pair_hidden(model, wanted)
            (hidden[0].float().sin().sum(-1) * weights).sum().backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return hidden.detach().float(), torch.cat(grads)

    alone = both(replace(batch, extra={}))
    once = both(batch)
    near = 1e-4 if dtype == torch.float32 else 0.08
    for a, b in zip(once, alone, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) < near * float(b.abs().max())


TOKENS = st.lists(st.integers(5, 8), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_any_two_sequences(pairs: list[tuple[list[int], list[int]]], tokenizer: Tokenizer) -> None:
    model = tiny_model(tokenizer).eval()
    arrays = [np.asarray(side) for pair in pairs for side in pair]
    plain = make_batch([(a, a) for a in arrays], ())
    common = [common_length(a, b) for a, b in pairs]
    once = replace(plain, extra={"shared": torch.tensor(np.repeat(common, 2))})
    with torch.no_grad():
        torch.testing.assert_close(
            pair_hidden(model, once), pair_hidden(model, plain), rtol=1e-4, atol=1e-5
        )


def test_common_length_leaves_each_a_token() -> None:
    lengths = [
        ([1, 2, 3], [1, 2, 4]),
        ([1, 2], [1, 2, 3]),
        ([1, 2], [1, 2]),
        ([1], [2]),
        ([3], [3]),
    ]
    found = [common_length(a, b) for a, b in lengths]
    assert found == [2, 1, 1, 0, 0]
