"""A step's sequences among ranks, and what a world of one does."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from chatwright.errors import DataError, TrainingError, UsageError
from chatwright.train import TrainSettings
from chatwright.train.packing import IGNORED, Batch, make_batch
from chatwright.train.parallel import choose_mode
from chatwright.train.sharing import Part, join, share
from chatwright.train.sums import Sums
from chatwright.train.world import World, _from_environment, alone, current_world, peers_named

from .conftest import tiny_model


def batch_of(lengths: list[int], first: int = 0, together: int = 1) -> Batch:
    """A batch whose tokens are all different, with extras by token and by sequence."""
    made = []
    for length in lengths:
        tokens = torch.arange(first, first + length).numpy()
        made.append((tokens, tokens + 1))
        first += length
    batch = make_batch(made, [f"row-{first}"])
    extra = {"by_token": batch.tokens.double(), "by_sequence": batch.tokens[0, batch.ends]}
    return Batch(
        batch.tokens, batch.targets, batch.positions, batch.lengths, batch.row_ids, extra, together
    )


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(1, 2),
    st.integers(1, 20),
)
def test_every_sequence_goes_to_one_rank_with_what_belongs_to_it(
    shapes: list[list[int]], size: int, together: int, at_once: int
) -> None:
    if together == 2:
        shapes = [[n for n in lengths for _ in range(2)] for lengths in shapes]
    batches = [batch_of(n, 100 * i, together) for i, n in enumerate(shapes)]
    ranks = [share(batches, rank, size, at_once) for rank in range(size)]
    assert len({len(parts) for parts in ranks}) == 1
    seen: list[tuple[int, ...]] = []
    loads = []
    for parts in ranks:
        counting = [part.batch for part in parts if part.counts]
        loads.append(sum(batch.tokens.numel() for batch in counting))
        for batch in counting:
            starts = [0, *(int(end) + 1 for end in batch.ends)]
            groups = [tuple(batch.tokens[0, a:b].tolist()) for a, b in pairwise(starts)]
            seen += groups
            assert len(groups) % together == 0
            assert all(int(batch.positions[0, start]) == 0 for start in starts[:-1])
            assert torch.equal(batch.targets, batch.tokens + 1)
            assert torch.equal(batch.extra["by_token"], batch.tokens.double())
            assert torch.equal(batch.extra["by_sequence"], batch.tokens[0, batch.ends])
            if size > 1 and len(groups) > together:
                assert batch.tokens.numel() <= at_once
    expected = [
        tuple(tokens.tolist()) for b in batches for tokens in b.tokens[0].split(list(b.lengths))
    ]
    assert sorted(seen) == sorted(expected)
    # The longest unit is the most that a greedy division can be out of balance.
    longest = together * max(n for b in batches for n in b.lengths)
    assert max(loads) - min(loads) <= longest


def test_a_rank_without_work_computes_something_that_does_not_count() -> None:
    batch = batch_of([5])
    first, second = (share([batch], rank, 2, 8) for rank in range(2))
    assert [part.counts for part in first + second] == [True, False]
    assert torch.equal(second[0].batch.tokens, batch.tokens)
    assert (batch.targets != IGNORED).all()


def test_one_process_takes_the_batches_as_they_are() -> None:
    batches = [batch_of([3, 4]), batch_of([2])]
    assert share(batches, 0, 1, 4) == [Part(batches[0]), Part(batches[1])]
    assert join([batches[0]]) is batches[0]


def test_sums_of_several_processes_are_one_sum() -> None:
    one = Sums(1.0, 2.0, {"a": (1.0, 2.0)})
    two = Sums(3.0, 4.0, {"a": (5.0, 4.0), "b": (1.0, 1.0)})
    both = Sums.of([one, two])
    assert (both.total, both.weight) == (4.0, 6.0)
    assert both.metrics() == {"a": 1.0, "b": 1.0}
    assert (one.total, one.others) == (1.0, {"a": (1.0, 2.0)})


def test_a_world_of_one_only_calls(tmp_path: Path) -> None:
    world = World()
    with world.main_first():
        assert world.from_main(lambda: 3) == 3
    assert world.gather("x") == ["x"]
    world.check_shared(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TrainingError, match="its own"):
        world.agree(TrainingError("its own"))


def test_the_world_is_read_from_torchruns_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_world().size == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert _from_environment().size == 1  # somebody else's variable: torchrun names an address
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(UsageError, match="several processes"):
        _from_environment()
    for name, value in (("RANK", "3"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    world = _from_environment()
    assert (world.rank, world.size, world.local_rank, world.is_main) == (3, 4, 1, False)
    before = current_world()
    with alone() as inner:
        assert current_world() is inner and inner.is_main
    assert current_world() is before


def test_errors_of_collectives_name_the_cause() -> None:
    stopped = pytest.raises(TrainingError, match=r"rank 1 of 2 stopped: another process")
    with stopped, peers_named(World(1, 2)):
        raise RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:4242")
    with pytest.raises(RuntimeError, match="shapes"), peers_named(World(1, 2)):
        raise RuntimeError("shapes do not fit")


def test_ddp_where_it_fits_and_fsdp_where_it_does_not(
    tokenizer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tokenizer)  # type: ignore[arg-type]
    world = World(0, 2)
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    parameters = sum(p.numel() for p in model.parameters())

    def chosen(memory: float, **given: object) -> str:
        monkeypatch.setattr("chatwright.train.parallel._memory", lambda world: memory)
        return choose_mode(TrainSettings(**given), model, world)  # type: ignore[arg-type]

    assert chosen(27 * parameters) == "ddp"
    assert chosen(26 * parameters) == "fsdp"
    assert chosen(1, distributed="ddp") == "ddp"
    assert chosen(1e12, distributed="fsdp") == "fsdp"
    assert chosen(1, objective="ppo") == "ddp"
    with pytest.raises(UsageError, match="FSDP2 cuts up"):
        chosen(1, objective="grpo", distributed="fsdp")
    assert choose_mode(TrainSettings(distributed="fsdp"), model, World()) == "local"


def test_tensors_go_through_files_that_several_ranks_could_have_written(tmp_path: Path) -> None:
    from chatwright.train.shard_files import load_shards, load_whole, save_shards, shapes_of

    tensors = {
        "weights/a": torch.arange(6.0).view(2, 3),
        "optimizer/adamw/a/step": torch.tensor(7.0),
        "optimizer/muon/b/momentum_buffer": torch.ones(2, dtype=torch.bfloat16),
    }
    save_shards(tmp_path, tensors)
    assert shapes_of(tmp_path) == {n: (t.shape, t.dtype) for n, t in tensors.items()}
    found = load_whole(tmp_path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    part = {"weights/a": torch.zeros(2, 3)}
    load_shards(tmp_path, part)
    assert torch.equal(part["weights/a"], tensors["weights/a"])
    assert {file.suffix for file in tmp_path.iterdir()} == {".safetensors"}  # nothing pickled
    with pytest.raises(DataError, match="cannot be used"):
        load_shards(tmp_path, {"weights/z": torch.zeros(1)})
    next(tmp_path.iterdir()).write_bytes(b"cut short")
    with pytest.raises((DataError, SafetensorError)):
        load_whole(tmp_path)


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chatwright.train.shard_files import save_shards

    def full(*_: object, **__: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_shards(tmp_path, {"weights/a": torch.zeros(2)})
    assert caught.value.errno == errno.ENOSPC
