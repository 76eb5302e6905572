from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from chatwright.model import Transformer
from chatwright.train.attention import PackedAttention, causal
from chatwright.train.bins import pack
from chatwright.train.objectives import NextToken, cross_entropy_sum
from chatwright.train.packing import IGNORED, make_batch

OBJECTIVE = NextToken()


@given(st.lists(st.integers(1, 100), max_size=200), st.integers(100, 300))
def test_pack_takes_every_item_once_and_wastes_little(lengths: list[int], capacity: int) -> None:
    rows = [row.tolist() for row in pack(lengths, capacity)]
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    filled = [sum(lengths[i] for i in row) for row in rows]
    assert all(0 < total <= capacity for total in filled)
    # A new row is opened only where nothing fits, so no two rows could have been one.
    assert len(filled) < 2 or sum(sorted(filled)[:2]) > capacity


def one_by_one(lengths: list[int], capacity: int) -> list[int]:
    """How full the rows of best-fit decreasing are, by its definition."""
    filled: list[int] = []
    for size in sorted(lengths, reverse=True):
        fits = [row for row, total in enumerate(filled) if total + size <= capacity]
        if fits:
            filled[max(fits, key=lambda row: filled[row])] += size
        else:
            filled.append(size)
    return sorted(filled)


@given(st.lists(st.integers(1, 60), max_size=150), st.integers(60, 200))
def test_pack_is_best_fit(lengths: list[int], capacity: int) -> None:
    rows = pack(lengths, capacity)
    assert sorted(sum(lengths[i] for i in row) for row in rows) == one_by_one(lengths, capacity)
    assert len(rows) == len(list(rows)) and len(rows.items) == len(lengths)


def test_packed_rows() -> None:
    assert sorted(r.tolist() for r in pack([6, 5, 4, 3, 2], 10)) == [[0, 2], [1, 3, 4]]
    assert sorted(r.tolist() for r in pack([7, 6, 4, 3], 10)) == [[0, 3], [1, 2]]
    assert sorted(r.tolist() for r in pack([3] * 7, 10)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_million_items_are_packed_at_once() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(5, 1, 1_000_000), 1, 2048).astype(int)
    rows = pack(lengths, 2048)
    assert np.array_equal(np.sort(rows.items), np.arange(len(lengths)))
    filled = np.add.reduceat(lengths[rows.items], rows.starts[:-1])
    assert filled.max() <= 2048 and filled.mean() > 0.999 * 2048


def test_pack_refuses_what_cannot_fit() -> None:
    with pytest.raises(ValueError, match="length 11 does not fit"):
        pack([3, 11], 10)


def pairs(lengths: list[int], vocab: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    found = []
    for length in lengths:
        tokens = random.integers(0, vocab, length + 1)
        targets = np.where(random.random(length) < 0.5, tokens[1:], IGNORED)
        targets[-1] = tokens[-1]
        found.append((tokens[:-1], targets))
    return found


def test_batch_restarts_positions_and_names_segments() -> None:
    batch = make_batch(pairs([3, 2], 50), ["a", "b"])
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.segment_ids.tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize("lengths", [[7, 30, 1, 12], [9, 9, 9], [40]])
def test_packed_equals_unpacked(model: Transformer, lengths: list[int]) -> None:
    """Loss, and the gradient of every parameter."""
    sequences = pairs(lengths, model.config.vocab_size)
    packed = OBJECTIVE.loss(model, make_batch(sequences, ["a"]))
    packed.sum.backward()
    together = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    alone = 0.0
    for inputs, targets in sequences:
        logits = model(torch.from_numpy(inputs)[None])  # the model's own plain causal attention
        loss = F.cross_entropy(
            logits[0], torch.from_numpy(targets), ignore_index=IGNORED, reduction="sum"
        )
        loss.backward()
        alone += float(loss.detach())
    assert float(packed.sum.detach()) == pytest.approx(alone, rel=1e-5)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_a_sequence_does_not_see_its_neighbour(model: Transformer) -> None:
    first, second, other = pairs([10, 10, 10], model.config.vocab_size)
    supervise_second = [(first[0], np.full(10, IGNORED)), second]
    other_first = [(other[0], np.full(10, IGNORED)), second]
    a = OBJECTIVE.loss(model, make_batch(supervise_second, ["a"]))
    b = OBJECTIVE.loss(model, make_batch(other_first, ["a"]))
    assert float(a.sum.detach()) == float(b.sum.detach())


@pytest.mark.parametrize("length", [1, 5, 256, 257, 600])
@pytest.mark.parametrize(("heads", "shared"), [(3, 1), (6, 2)])
def test_block_attention_is_attention(length: int, heads: int, shared: int) -> None:
    """The bfloat16 path against float32 reference values of the same (rounded) inputs."""
    torch.manual_seed(0)
    q = torch.randn(2, heads, length, 16).bfloat16().requires_grad_()
    k, v = (torch.randn(2, shared, length, 16).bfloat16().requires_grad_() for _ in range(2))
    out_grad = torch.randn(2, heads, length, 16).bfloat16()
    mixed = causal(q, k, v)
    got = [mixed, *torch.autograd.grad(mixed, (q, k, v), out_grad)]
    wide = [x.detach().float().requires_grad_() for x in (q, k, v)]
    reference = F.scaled_dot_product_attention(*wide, is_causal=True, enable_gqa=True)
    wanted = [reference, *torch.autograd.grad(reference, wide, out_grad.float())]
    for a, b in zip(got, wanted, strict=True):
        error = (a.float() - b).norm() / b.norm()
        assert a.dtype == torch.bfloat16
        assert error < 0.01 or b.norm() < 1e-3  # one rounding is 0.004


def test_packed_attention_refuses_another_length() -> None:
    x = torch.zeros(1, 2, 5, 4)
    with pytest.raises(ValueError, match="4 packed tokens"):
        PackedAttention([3, 1])(0, x, x, x)


@pytest.mark.parametrize("count", [0, 1, 130, 1000])
def test_cross_entropy_in_chunks_equals_torch(count: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(count, 8, requires_grad=True)
    head = torch.randn(33, 8, requires_grad=True)
    targets = torch.randint(0, 33, (count,))
    ours = cross_entropy_sum(hidden, head, targets)
    wanted = F.cross_entropy(hidden @ head.T, targets, reduction="sum")
    assert float(ours.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    got = torch.autograd.grad(ours * 0.5, (hidden, head))
    reference = torch.autograd.grad(wanted * 0.5, (hidden, head))
    for a, b in zip(got, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_cross_entropy_of_a_hopeless_guess_is_finite() -> None:
    """Where the probability underflows float32, the loss must not be infinite."""
    hidden = torch.tensor([[1.0]], requires_grad=True)
    head = torch.tensor([[200.0], [-200.0]])
    loss = cross_entropy_sum(hidden, head, torch.tensor([1]))
    loss.backward()
    assert float(loss) == pytest.approx(400.0)
    assert hidden.grad is not None
    assert float(hidden.grad) == pytest.approx(400.0)


def test_padding_to_few_shapes_changes_no_loss(model: Transformer) -> None:
    batch = make_batch(pairs([30, 41], model.config.vocab_size), ["a"])
    padded = batch.padded(64)
    assert padded.tokens.shape == (1, 128) and padded.lengths == (30, 41, 57)
    assert padded.supervised == batch.supervised and padded.row_ids == batch.row_ids
    assert batch.padded(71) is batch
    a, b = (float(OBJECTIVE.loss(model, x).sum.detach()) for x in (batch, padded))
    assert a == pytest.approx(b, rel=1e-6)
