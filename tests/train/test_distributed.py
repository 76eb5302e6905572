"""Several processes under torchrun do what one does: DDP and FSDP2, killed, stopped, by recipe.

The installed program is started by torchrun itself once; all others by what torchrun calls, which
here forks its processes: starting one costs more than what it does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from chatwright.build import build
from chatwright.recipe import load_recipe
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train
from chatwright.train.loop import Trainer
from chatwright.train.watch import Callback, Watcher
from chatwright.train.world import current_world
from chatwright.workspace import Workspace
from forked import start

from .conftest import make_conversations, make_documents, tiny_model
from .preference.conftest import make_preferences

STEPS = 12
MODES = ("ddp", "fsdp")
CASES: dict[str, dict[str, Any]] = {
    "pretrain": {"objective": "pretrain", "optimizer": "adamw", "learning_rate": 1e-3},
    "sft": {"optimizer": "adamw"},
    "lora": {"lora": LoraSettings(rank=2)},
    "reward": {"objective": "reward", "optimizer": "adamw", "learning_rate": 1e-3},
    "muon": {"objective": "pretrain", "optimizer": "muon"},
    "bf16": {"objective": "pretrain", "precision": "bf16", "optimizer": "adamw"},
    "dropout": {"optimizer": "adamw", "dropout": 0.1, "checkpoint_activations": True},
}
ROWS: dict[str, Any] = {
    "pretrain": make_documents,
    "sft": make_conversations,
    "reward": make_preferences,
}
EQUAL = ("pretrain", "sft", "lora", "reward")
# Muon orthogonalises in bfloat16: a gradient that differs in its last float32 digit can be rounded
# otherwise there. So do weights in bfloat16.
ABOUT = {"muon": 2e-3, "bf16": 2e-3}


def settings_of(case: str, **more: Any) -> TrainSettings:
    given: dict[str, Any] = {
        "length": 64,
        "batch_tokens": 256,
        "micro_batch_tokens": 64,
        "steps": STEPS,
        "precision": "fp32",
        "threads": 1,
        "checkpoint_seconds": 1e9,
    }
    return TrainSettings(**given | CASES[case] | more)


def run(
    case: str,
    tokenizer: Tokenizer,
    scratch: Path | None = None,
    callbacks: Sequence[Callback] = (),
    **more: Any,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of the steps, and the weights after the last."""
    wanted = settings_of(case, **more)
    rows = ROWS[wanted.objective](24)
    # An untied head and one that is the embedding; FSDP2 must keep them apart and together.
    model = tiny_model(tokenizer, tied=case != "sft")
    result = train(
        model,
        tokenizer,
        rows,
        wanted,
        validation=rows[:3],
        scratch=scratch,
        run=f"the {case}",
        callbacks=callbacks,
    )
    assert result.validation_loss is not None
    return [line["loss"] for line in result.metrics], dict(result.model.state_dict())


class Leave(Watcher):
    """Ends a run as Ctrl-C would that comes twice."""

    def __init__(self, after: int) -> None:
        self._after = after

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        if step == self._after:
            raise KeyboardInterrupt


# -- what the processes do -------------------------------------------------------------------------


def keep(root: Path, name: str, found: tuple[list[float], dict[str, torch.Tensor]]) -> None:
    if current_world().is_main:
        (root / f"{name}.json").write_text(json.dumps(found[0]))
        save_file({k: v.contiguous() for k, v in found[1].items()}, root / f"{name}.safetensors")


def slowly(seconds: float, at: int = 0, number: signal.Signals | None = None) -> None:
    """Let steps take longer, and rank 1 send itself a signal after `at` of them."""
    one_step = Trainer._step

    def step(self: Trainer) -> dict[str, float]:
        time.sleep(seconds)
        values = one_step(self)
        if number is not None and self.position.step == at and self.world.rank == 1:
            os.kill(os.getpid(), number)
        return values

    Trainer._step = step  # type: ignore[method-assign]


def main(what: str, root: Path) -> None:
    tokenizer = Tokenizer.load(root / "tokenizer")
    if what == "killed":  # by the parent
        slowly(0.1)
        run("muon", tokenizer, root / "muon", distributed="fsdp", checkpoint_every=3)
    elif what == "dies":
        slowly(0.0, 8, signal.SIGKILL)
        run("dropout", tokenizer, root / "dropout", distributed="ddp", checkpoint_every=3)
    else:
        for case in EQUAL:
            for mode in MODES:
                keep(root, f"{case}-{mode}", run(case, tokenizer, distributed=mode))
        keep(root, "muon-ddp", run("muon", tokenizer, distributed="ddp"))
        keep(root, "bf16-fsdp", run("bf16", tokenizer, distributed="fsdp"))
        for case, mode in (("muon", "fsdp"), ("dropout", "ddp")):
            keep(root, f"{case}-resumed", run(case, tokenizer, root / case, distributed=mode))
            keep(root, f"{case}-{mode}", run(case, tokenizer, distributed=mode))
        keep(root, "going-on", run("pretrain", tokenizer, root / "begun", distributed="fsdp"))
        slowly(0.0, 5, signal.SIGTERM)
        run("pretrain", tokenizer, root / "stopped", distributed="fsdp")


# -- starting them ---------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def telling(target: Callable[..., None], *arguments: Any) -> None:
    """`target(*arguments)`; what it raises is printed, as at the end of a program."""
    try:
        target(*arguments)
    except Exception:
        traceback.print_exc()
        raise


def in_two(target: Callable[..., None], arguments: tuple[Any, ...], said: Path) -> None:
    """What torchrun does, in a session of its own, but its processes are forked from it."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="static",
        rdzv_endpoint=f"127.0.0.1:{free_port()}",
        rdzv_configs={"rank": 0, "timeout": 120},
        max_restarts=0,
        monitor_interval=0.05,
        start_method="fork",
    )
    elastic_launch(config, telling)(target, *arguments)


def in_two_processes(target: Callable[..., None], *arguments: Any, said: Path) -> ForkServerProcess:
    """`target(*arguments)` in two processes; what they say goes to the file `said`."""
    return start(in_two, target, arguments, said)


def torchrun(words: list[str]) -> None:
    """The program `torchrun`."""
    from torch.distributed.run import main

    os.setsid()
    main(words)


def do(what: str, root: Path) -> ForkServerProcess:
    return in_two_processes(main, what, root, said=root / f"{what}.log")


def end_of(process: ForkServerProcess, seconds: float = 240) -> None:
    """Wait for its end; it and its children are killed when it takes too long."""
    try:
        process.join(seconds)
        assert process.exitcode is not None, "it took too long"
    finally:
        kill_all(process)


def kill_all(process: ForkServerProcess) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def root(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    tokenizer.save(folder / "tokenizer")
    return folder


def kept(root: Path, name: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    return json.loads((root / f"{name}.json").read_text()), load_file(root / f"{name}.safetensors")


@pytest.fixture(scope="module")
def disturbed(root: Path) -> Iterator[tuple[Path, str]]:
    """One run killed from outside, and one whose second process dies. What that one said."""
    killed, dying = do("killed", root), do("dies", root)
    try:
        metrics, end = root / "muon" / "metrics.jsonl", time.monotonic() + 120
        while not metrics.exists() or metrics.read_text().count("\n") < 7:
            assert killed.is_alive() and time.monotonic() < end, (root / "killed.log").read_text()
            time.sleep(0.02)
        for one in (
            *psutil.Process(killed.pid).children(recursive=True),
            psutil.Process(killed.pid),
        ):
            one.kill()
        end_of(killed)
        end_of(dying)
        (root / "kept").write_text("\n".join(p.name for p in (root / "dropout/state").iterdir()))
        yield root, (root / "dies.log").read_text()
    finally:
        for process in (killed, dying):
            kill_all(process)


@pytest.fixture(scope="module")
def trained(disturbed: tuple[Path, str], tokenizer: Tokenizer) -> tuple[Path, str]:
    """Every case in both ways, those two runs gone on with, one that a process began alone gone on
    with by two; at last one that a signal stops.
    """
    with pytest.raises(KeyboardInterrupt):
        run("pretrain", tokenizer, disturbed[0] / "begun", [Leave(8)], checkpoint_every=6)
    process = do("rest", disturbed[0])
    end_of(process)
    said = (disturbed[0] / "rest.log").read_text()
    assert process.exitcode != 0, said  # stopped by SIGTERM
    assert "Warning" not in said, said
    return disturbed[0], said


# -- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", EQUAL)
def test_two_processes_learn_what_one_learns(
    case: str, trained: tuple[Path, str], tokenizer: Tokenizer
) -> None:
    losses, weights = run(case, tokenizer)
    for mode in MODES:
        their_losses, their_weights = kept(trained[0], f"{case}-{mode}")
        assert len(losses) == len(their_losses) == STEPS
        assert their_losses == pytest.approx(losses, abs=1e-5)
        assert weights.keys() == their_weights.keys()
        for name, weight in weights.items():
            assert torch.allclose(weight, their_weights[name], rtol=0, atol=1e-5), name


@pytest.mark.parametrize("name", ["muon-ddp", "muon-fsdp", "bf16-fsdp"])
def test_short_types_agree_as_far_as_they_can(
    name: str, trained: tuple[Path, str], tokenizer: Tokenizer
) -> None:
    case = name.partition("-")[0]
    losses, weights = run(case, tokenizer)
    their_losses, their_weights = kept(trained[0], name)
    assert their_losses == pytest.approx(losses, abs=ABOUT[case])
    assert losses[-1] < losses[0] - 1
    assert {k: v.dtype for k, v in weights.items()} == {
        k: v.dtype for k, v in their_weights.items()
    }


def test_a_dead_process_ends_the_others_with_a_message(
    disturbed: tuple[Path, str],
) -> None:
    root, said = disturbed
    assert "another process of this run ended" in said
    assert "goes on from the last checkpoint" in said
    assert sorted((root / "kept").read_text().split()) == ["step-00000003", "step-00000006"]


@pytest.mark.parametrize(("case", "mode"), [("muon", "fsdp"), ("dropout", "ddp")])
def test_killed_and_resumed_is_undisturbed(case: str, mode: str, trained: tuple[Path, str]) -> None:
    root, said = trained
    losses, weights = kept(root, f"{case}-resumed")
    expected_losses, expected = kept(root, f"{case}-{mode}")
    assert losses == expected_losses, said
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, expected[name]), name


def test_a_signal_to_one_process_stops_all_after_the_same_step(
    trained: tuple[Path, str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    root, said = trained
    state = root / "stopped" / "state"
    names = [p.name for p in state.glob("step-*")]
    assert names == ["step-00000005"] or names == ["step-00000006"], said
    assert sorted(p.name for p in (state / names[0] / "shards").iterdir()) == [
        "shard-00001-model-00001-of-00001.safetensors",
        "shard-00002-model-00001-of-00001.safetensors",
    ]
    # One process goes on from what two have written in shares.
    losses, weights = run("pretrain", tokenizer, root / "stopped")
    expected_losses, expected = run("pretrain", tokenizer)
    assert len(losses) == STEPS
    assert losses == pytest.approx(expected_losses, abs=1e-5)
    for name, weight in weights.items():
        assert torch.allclose(weight, expected[name], rtol=0, atol=1e-5), name


def test_two_processes_go_on_from_what_one_began(
    trained: tuple[Path, str], tokenizer: Tokenizer
) -> None:
    losses, weights = kept(trained[0], "going-on")
    expected_losses, expected = run("pretrain", tokenizer)
    assert losses == pytest.approx(expected_losses, abs=1e-5)
    for name, weight in weights.items():
        assert torch.allclose(weight, expected[name], rtol=0, atol=1e-5), name


RECIPE = """
name: small
title: Small
description: A test.
seed: 3
stages:
  pages: {kind: collect, sources: [{source: "file:PAGES"}]}
  tokenizer: {kind: tokenizer, input: pages, vocab_size: 300}
  pretrain:
    {kind: train, objective: pretrain, model: {depth: 1, tokenizer: tokenizer, context: 64},
     data: pages, length: 32, batch_tokens: 128, steps: 6, optimizer: adamw, learning_rate: 0.001,
     precision: fp32, distributed: fsdp}
  further:
    {kind: train, objective: pretrain, model: pretrain, data: pages, validation: pages, length: 32,
     batch_tokens: 128, steps: 6, lora: {rank: 2}, precision: fp32}
"""


def test_a_recipe_runs_unchanged(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    for number, row in enumerate(make_documents(12)):
        (pages / f"{number}.txt").write_text(row.text * 3)
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.replace("PAGES", str(pages)))
    words = ["--nproc-per-node", "2", "--master-port", str(free_port()), "-m", "chatwright"]
    words += ["build", str(recipe), "--workspace", str(tmp_path / "two")]
    (tmp_path / "said").touch()
    process = start(
        torchrun,
        words,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        streams=(None, *(str(tmp_path / "said"),) * 2),
    )
    end_of(process)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 0, said
    assert said.count("[4/4] further: done") == 1, said  # the other process is silent
    alone = build(load_recipe(recipe), Workspace(tmp_path / "one"))
    again = build(load_recipe(recipe), Workspace(tmp_path / "two"))
    assert again.skipped == ["pages", "tokenizer", "pretrain", "further"]
    assert again.fingerprints == alone.fingerprints
    for name in ("pretrain", "further"):
        one, two = alone.outputs[name], again.outputs[name]
        assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
        expected, weights = (load_file(path / "model.safetensors") for path in (one, two))
        assert weights.keys() == expected.keys()
        for key, weight in weights.items():
            assert torch.allclose(weight, expected[key], rtol=0, atol=1e-5), key
    assert not list((tmp_path / "two").rglob(".seen-*"))
