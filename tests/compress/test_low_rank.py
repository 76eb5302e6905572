"""Products of two thin matrices: the best there are, smaller on disk, read back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_compress import random_model, token_rows, tokenizer

from chatwright.compress.layerwise import walk_blocks
from chatwright.compress.low_rank import factorise, factorise_model, rank_for
from chatwright.errors import ModelError, UsageError
from chatwright.model import Transformer, load_model, save_model
from chatwright.model.compact import Compact, densify
from chatwright.model.low_rank import LowRankLinear

TOKENS = torch.tensor(token_rows(3, 20, seed=9))


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS % model.config.vocab_size)


def test_plain_is_the_best_approximation_of_the_matrix() -> None:
    """Eckart–Young: the squared error is the sum of the squared singular values left out."""
    weight = np.random.default_rng(0).normal(size=(20, 30))
    values = np.linalg.svd(weight, compute_uv=False)
    for rank in (1, 7, 19, 20):
        outer, inner = factorise(torch.from_numpy(weight), rank)
        assert (outer.shape, inner.shape) == ((20, rank), (rank, 30))
        error = np.square(weight - (outer @ inner).numpy()).sum()
        assert error == pytest.approx(np.square(values[rank:]).sum(), rel=1e-4, abs=1e-9)


def test_weighted_is_the_best_approximation_of_the_outputs() -> None:
    """‖X Wᵀ − X W′ᵀ‖² is the sum of squares left out of the singular values of X Wᵀ itself."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(12, 16))
    inputs = rng.normal(size=(200, 16)) * np.logspace(-2, 1, 16)
    gram = torch.from_numpy(inputs.T @ inputs)
    values = np.linalg.svd(inputs @ weight.T, compute_uv=False)
    for rank in (2, 5, 11):
        outer, inner = factorise(torch.from_numpy(weight), rank, gram=gram)
        error = np.square(inputs @ (weight - (outer @ inner).numpy()).T).sum()
        assert error == pytest.approx(np.square(values[rank:]).sum(), rel=1e-3)
        plain = [x.numpy() for x in factorise(torch.from_numpy(weight), rank)]
        assert error < np.square(inputs @ (weight - plain[0] @ plain[1]).T).sum()


def test_inputs_that_never_vary_are_no_obstacle() -> None:
    """Fewer calibration tokens than inputs: the Gram matrix is singular."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 16, generator=generator)
    inputs = torch.randn(5, 16, generator=generator)
    outer, inner = factorise(weight, 5, gram=inputs.T @ inputs)
    torch.testing.assert_close(inputs @ (outer @ inner).T, inputs @ weight.T, atol=1e-2, rtol=1e-2)
    assert torch.isfinite(inner).all()
    outer, inner = factorise(weight, 3, gram=torch.zeros(16, 16))
    assert torch.isfinite(outer).all() and torch.isfinite(inner).all()


def test_the_rank_that_keeps_a_share_of_the_energy() -> None:
    values = torch.tensor([3.0, 2.0, 1.0, 0.0])  # squares 9, 4, 1, 0 of 14
    wanted = {0.5: 1, 9 / 14: 1, 0.65: 2, 13 / 14: 2, 0.95: 3, 1.0: 3}
    assert {share: rank_for(values, share) for share in wanted} == wanted


def test_full_rank_would_not_pay_and_is_refused() -> None:
    with pytest.raises(UsageError, match="no matrix would become smaller"):
        factorise_model(random_model(), rank=48)
    for options in ({}, {"rank": 4, "keep": 0.5}, {"keep": 1.5}, {"energy": 0.0}):
        with pytest.raises(UsageError):
            factorise_model(random_model(), **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no projection is called gate"):
        factorise_model(random_model(), rank=2, targets=["gate"])


@pytest.mark.parametrize("weighted", [False, True])
def test_a_model_computes_with_the_products(weighted: bool) -> None:
    options = {"attention_bias": True, "output_bias": True}
    model = random_model(2, **options)
    ranks = factorise_model(model, keep=0.5, calibration=token_rows() if weighted else ())
    assert len(ranks) == 4 * 7
    assert ranks["layers.3.mlp.up_proj"] == int(0.5 * 96 * 48 / (96 + 48))
    layer = model.layers[1].self_attn.q_proj
    assert isinstance(layer, LowRankLinear) and layer.bias is not None
    dense = densify(model)
    assert not Compact.of(dense) and type(dense.layers[1].self_attn.q_proj) is torch.nn.Linear
    torch.testing.assert_close(logits(dense), logits(model), atol=1e-4, rtol=1e-4)
    numbers = sum(p.numel() for p in model.layers.parameters())
    assert numbers < 0.55 * sum(p.numel() for p in dense.layers.parameters())


def test_each_layer_is_weighted_by_what_the_factorised_ones_before_it_give_it() -> None:
    model, rows = random_model(3), token_rows()
    original = model.layers[2].mlp.gate_proj.weight.detach().clone()
    ranks = factorise_model(model, rank=6, calibration=rows, targets=["gate_proj"])
    assert sorted(ranks) == [f"layers.{i}.mlp.gate_proj" for i in range(4)]
    grams: list[torch.Tensor] = []
    for run in walk_blocks(model, rows):
        if run.index == 2:
            run.observe({run.block.mlp.gate_proj.inner: lambda x: grams.append(x.T @ x)})
    outer, inner = factorise(original, 6, gram=torch.stack(grams).sum(0))
    found = model.layers[2].mlp.gate_proj.weight
    torch.testing.assert_close(found, outer @ inner, atol=1e-3, rtol=1e-3)


def test_the_checkpoint_is_small_and_comes_back(tmp_path: Path) -> None:
    model = random_model(4, vocab_size=tokenizer().vocab_size)
    whole = save_model(model, tokenizer(), tmp_path / "whole") / "model.safetensors"
    ranks = factorise_model(model, keep=0.4, calibration=token_rows())
    folder = save_model(model, tokenizer(), tmp_path / "thin")
    layers = sum(t.numel() for n, t in load_file(whole).items() if ".layers." in n)
    saved = whole.stat().st_size - (folder / "model.safetensors").stat().st_size
    assert saved > 0.5 * 4 * layers
    again, _ = load_model(folder, dtype=torch.float32, device="cpu")
    assert Compact.of(again).ranks == ranks
    assert torch.equal(logits(again), logits(model))
    half, _ = load_model(folder, dtype=torch.bfloat16, device="cpu")
    assert half.layers[0].mlp.up_proj.inner.weight.dtype == torch.bfloat16
    # Dense, it is an ordinary checkpoint.
    plain, _ = load_model(save_model(densify(model), tokenizer(), tmp_path / "dense"))
    assert not Compact.of(plain)


def test_other_programs_refuse_it_and_do_not_guess(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = random_model(vocab_size=tokenizer().vocab_size)
    factorise_model(model, rank=4)
    folder = save_model(model, tokenizer(), tmp_path / "thin")
    with pytest.raises(ValueError, match="chatwright"):
        transformers.AutoModelForCausalLM.from_pretrained(folder)


def _spoil_config(folder: Path, change: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("chatwright"), "without a 'chatwright' part"),
        (lambda c: c["chatwright"].update(family="chatwright"), "not supported"),
        (lambda c: c["chatwright"]["low_rank"].update({"layers.0.mlp.up_proj": 0}), "rank 0"),
        (lambda c: c["chatwright"]["low_rank"].update({"layers.9.mlp.up_proj": 2}), "layers.9"),
        (lambda c: c["chatwright"]["low_rank"].update({"norm": 2}), "'norm'"),
        (lambda c: c["chatwright"].update(low_rank=[1]), "not what it should be"),
        (lambda c: c["chatwright"].update(shared_layers=[0, 0]), "each of 4 layers"),
        (lambda c: c["chatwright"].update(shared_layers=[0, 0, 1, 3]), "weights of its own"),
        (lambda c: c["chatwright"].update(shared_layers=[0, 2, 2, 3]), "earlier layer"),
        (lambda c: c["chatwright"]["low_rank"].pop("layers.0.mlp.up_proj"), "is missing"),
        (lambda c: c["chatwright"]["low_rank"].update({"layers.0.mlp.up_proj": 5}), "shape"),
    ],
)
def test_a_spoilt_configuration_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    model = random_model(vocab_size=tokenizer().vocab_size)
    factorise_model(model, rank=4)
    folder = save_model(model, tokenizer(), tmp_path / "thin")
    _spoil_config(folder, change)
    with pytest.raises(ModelError, match=said):
        load_model(folder)


def test_a_tensor_too_many_is_refused(tmp_path: Path) -> None:
    model = random_model(vocab_size=tokenizer().vocab_size)
    factorise_model(model, rank=4)
    folder = save_model(model, tokenizer(), tmp_path / "thin")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match="has no place"):
        load_model(folder)


def test_training_goes_through_the_factors() -> None:
    from chatwright.train.fused import fused_blocks

    model = random_model(5)
    factorise_model(model, rank=4, targets=["up_proj", "q_proj"])
    wanted = logits(model)
    with fused_blocks(model):
        torch.testing.assert_close(logits(model), wanted)
        model(TOKENS).sum().backward()
    assert model.layers[0].mlp.up_proj.inner.weight.grad is not None
