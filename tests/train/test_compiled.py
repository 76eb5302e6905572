"""Compiled blocks compute what the plain ones do, with as many graphs for ten layers as for one."""

from __future__ import annotations

import pytest
import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.train.blocks import dropout_in
from chatwright.train.compiled import compiled_blocks, worth_compiling
from chatwright.train.objectives import NextToken
from chatwright.train.packing import Batch, make_batch


def batch_of(*lengths: int) -> Batch:
    generator = torch.Generator().manual_seed(sum(lengths))
    rows = [torch.randint(0, 97, (2, n), generator=generator).numpy() for n in lengths]
    return make_batch([(tokens, targets) for tokens, targets in rows], ["row"])


def losses_and_gradients(model: Transformer, batches: list[Batch]) -> list[torch.Tensor]:
    found = []
    for batch in batches:
        model.zero_grad()
        loss = NextToken().loss(model, batch).sum
        loss.backward()  # type: ignore[no-untyped-call]
        found += [
            loss.detach(),
            *(p.grad.clone() for p in model.parameters() if p.grad is not None),
        ]
    return found


def test_compiled_is_plain() -> None:
    config = ModelConfig(
        vocab_size=97, width=32, n_layers=10, n_heads=4, n_kv_heads=2, head_dim=8, mlp_width=64,
        context=128, tied=True, qk_norm=True,
    )  # fmt: skip
    model = Transformer.random(config, 1)
    batches = [batch_of(20, 20), batch_of(33), batch_of(7, 64, 3)]
    expected = losses_and_gradients(model, batches)
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)  # instead of compiling it, which takes minutes on a CPU
        return graph

    torch._dynamo.reset()
    with compiled_blocks(model, keep):
        found = losses_and_gradients(model, batches)
    assert len(graphs) <= 8
    for one, two in zip(expected, found, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-4)
    assert "forward" not in vars(model.layers[0])
    again = losses_and_gradients(model, batches[:1])
    assert again[0] == pytest.approx(float(expected[0]))


def test_compiled_with_dropout_is_plain() -> None:
    """Which draws from the same generator at the same places."""
    config = ModelConfig(
        vocab_size=97, width=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, mlp_width=64,
        context=128, tied=True,
    )  # fmt: skip
    model = Transformer.random(config, 1).train()
    torch._dynamo.reset()
    found = []
    with dropout_in(model, 0.3):
        torch.manual_seed(5)
        expected = losses_and_gradients(model, [batch_of(20, 20)])
        with compiled_blocks(model, "eager"):
            torch.manual_seed(5)
            found = losses_and_gradients(model, [batch_of(20, 20)])
    for one, two in zip(expected, found, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-4)


def test_long_runs_on_a_gpu_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import _triton

    gpu = torch.device("cuda")
    assert not worth_compiling(torch.device("cpu"), 1e20)
    assert not worth_compiling(gpu, 1e15)
    monkeypatch.setattr(_triton, "has_triton", lambda: True)
    assert worth_compiling(gpu, 1e17)
    monkeypatch.setattr(_triton, "has_triton", lambda: False)
    assert not worth_compiling(gpu, 1e17)
