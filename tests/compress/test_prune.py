"""Zeros in the right places and in the right number."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_compress import random_model, token_rows
from torch import Tensor

from chatwright.compress.layerwise import linears, walk_blocks
from chatwright.compress.prune import (
    Pattern,
    apply_masks,
    lowest,
    pattern_mask,
    prune,
    sparsity_of,
    zero_masks,
)
from chatwright.errors import DataError, UsageError


def plainly_lowest(row: list[float], removed: int) -> list[bool]:
    order = sorted(range(len(row)), key=lambda i: (row[i], i))
    return [i not in order[:removed] for i in range(len(row))]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_lowest_scores_go_and_ties_are_broken_by_place(row: list[int], share: float) -> None:
    scores = torch.tensor([row], dtype=torch.float32)
    wanted = plainly_lowest([float(x) for x in row], round(share * len(row)))
    assert lowest(scores, share).tolist() == [wanted]


@given(st.lists(st.lists(st.integers(0, 3), min_size=8, max_size=8), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_pattern_keeps_the_two_highest_of_each_four(rows: list[list[int]]) -> None:
    mask = pattern_mask(torch.tensor(rows, dtype=torch.float32), Pattern(2, 4)).tolist()
    for row, kept in zip(rows, mask, strict=True):
        for at in (0, 4):
            assert kept[at : at + 4] == plainly_lowest([float(x) for x in row[at : at + 4]], 2)


def test_magnitude_keeps_the_largest_of_each_matrix() -> None:
    model, before = random_model(), random_model()
    masks = prune(model, sparsity=0.3, criterion="magnitude")
    assert len(masks) == 4 * 7
    old = before.layers[1].mlp.up_proj.weight
    new = model.layers[1].mlp.up_proj.weight
    cut = sorted(old.detach().abs().flatten().tolist())[round(0.3 * old.numel())]
    assert torch.equal(new, torch.where(old.abs() >= cut, old, torch.zeros(())))
    for name, mask in masks.items():
        assert int((~mask).sum()) == round(0.3 * mask.numel()), name
    assert torch.equal(model.embed_tokens.weight, before.embed_tokens.weight)
    assert sparsity_of(model) == pytest.approx(0.3, abs=1e-3)


def test_wanda_by_hand_in_the_first_layer() -> None:
    """|W| · ‖x‖₂, compared within an output row; x are the inputs of the layer as it was."""
    model, rows = random_model(), token_rows()
    block = copy.deepcopy(model.layers[0])
    seen: list[list[float]] = []
    with torch.no_grad():
        for row in rows:
            seen += block.input_layernorm(model.embed_tokens(torch.tensor(row))).tolist()
    norms = [math.sqrt(sum(x[i] ** 2 for x in seen)) for i in range(48)]
    prune(model, sparsity=0.5, criterion="wanda", calibration=rows)
    old = block.self_attn.q_proj.weight.tolist()
    new = model.layers[0].self_attn.q_proj.weight.tolist()
    for before, after in zip(old, new, strict=True):
        scores = [abs(w) * n for w, n in zip(before, norms, strict=True)]
        assert [w != 0 for w in after] == plainly_lowest(scores, 24)


def test_wanda_sees_the_inputs_that_pruned_layers_make() -> None:
    model, rows = random_model(), token_rows()
    untouched = copy.deepcopy(model)
    masks = prune(model, sparsity=0.5, calibration=rows)
    block = untouched.layers[2]

    def inputs_of(source: torch.nn.Module) -> Tensor:
        caught: list[Tensor] = []
        for run in walk_blocks(source, rows):  # type: ignore[arg-type]
            if run.index == 2:
                run.observe({run.block.mlp.gate_proj: caught.append})
        return torch.cat(caught).float().square().sum(0).sqrt()

    # What layer 2 was given behind the pruned layers 0 and 1, before it was pruned itself.
    behind = copy.deepcopy(model)
    behind.layers[2] = copy.deepcopy(block)
    weight = block.mlp.gate_proj.weight.detach().abs()
    name = "layers.2.mlp.gate_proj.weight"
    assert torch.equal(masks[name], lowest(weight * inputs_of(behind), 0.5))
    assert not torch.equal(masks[name], lowest(weight * inputs_of(untouched), 0.5))


def test_wanda_disturbs_the_outputs_less_than_magnitude() -> None:
    model, rows = random_model(3), token_rows(12, 48)
    with torch.no_grad():
        for block in model.layers:  # inputs of very different sizes, as trained models have them
            for norm in (block.input_layernorm, block.post_attention_layernorm):
                norm.weight.mul_(torch.logspace(-1, 1, 48))
    tokens = torch.tensor(rows)
    with torch.no_grad():
        wanted = model(tokens)
    error = {}
    for criterion in ("magnitude", "wanda"):
        pruned = copy.deepcopy(model)
        prune(pruned, sparsity=0.5, criterion=criterion, calibration=rows)
        with torch.no_grad():
            error[criterion] = float((pruned(tokens) - wanted).square().mean())
    assert error["wanda"] < 0.9 * error["magnitude"]


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
def test_two_of_four(criterion: str) -> None:
    model = random_model()
    prune(model, pattern=Pattern.parse("2:4"), criterion=criterion, calibration=token_rows())
    for module in linears(model.layers).values():
        kept = (module.weight.detach().view(-1, 4) != 0).sum(1)
        assert int(kept.min()) == int(kept.max()) == 2
    assert sparsity_of(model) == 0.5


def test_the_same_input_gives_the_same_masks_and_zeros_are_found_again() -> None:
    one, two = random_model(), random_model()
    first = prune(one, sparsity=0.6, calibration=token_rows())
    second = prune(two, sparsity=0.6, calibration=token_rows())
    assert all(torch.equal(first[name], second[name]) for name in first)
    found = zero_masks(one)
    assert set(found) == set(first)
    assert all(torch.equal(found[name], first[name]) for name in first)
    assert zero_masks(random_model()) == {}
    fresh = random_model()
    apply_masks(fresh, first)
    assert int((fresh.layers[0].mlp.up_proj.weight == 0).sum()) == int(
        (~first["layers.0.mlp.up_proj.weight"]).sum()
    )


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="--sparsity"):
        prune(random_model(), sparsity=1.0, criterion="magnitude")
    with pytest.raises(DataError, match="calibration"):
        prune(random_model(), sparsity=0.5)
    for text in ("4:2", "2", "0:4", "2:4:8", "zwei:vier"):
        with pytest.raises(UsageError, match="--pattern"):
            Pattern.parse(text)
    with pytest.raises(UsageError, match="groups of 5"):
        prune(random_model(), pattern=Pattern(2, 5), criterion="magnitude")
