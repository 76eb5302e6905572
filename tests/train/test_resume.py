"""SIGKILL in the middle of a step or of a checkpoint, for every optimizer and way of training.

One process for all: it imports once, forks a child per case, and each child kills itself at a
random moment. `test_kill.py` has the cases that are killed from outside.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train
from chatwright.train import checkpoint as checkpoint_module
from chatwright.train import parallel as parallel_module
from chatwright.train import scaling as scaling_module
from chatwright.train.optim import Optimizers
from forked import start

from .conftest import make_conversations, make_documents, tiny_model

STEPS = 13
EVERY = 3
OPTIMIZERS = ("adamw", "muon", "sgd", "rmsprop", "adagrad", "radam", "lamb")
CASES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name, "weight_decay": 0.1} for name in OPTIMIZERS},
    "sgd-nesterov": {"optimizer": "sgd", "nesterov": True},
    "fp16": {"precision": "fp16", "optimizer": "adamw"},
    "dropout": {"dropout": 0.2},
    "dropout-checkpointed": {"dropout": 0.2, "checkpoint_activations": True},
    "adapters": {
        "objective": "sft", "lora": LoraSettings(rank=2, dropout=0.1), "precision": "bf16",
        "checkpoint_activations": True,
    },
    "frozen": {"freeze": ("embed_tokens", "layers.0")},
    "padded": {"objective": "sft", "packing": "padded", "learn": "last"},
}  # fmt: skip


def run(case: str, tokenizer: Tokenizer, scratch: Path | None) -> dict[str, torch.Tensor]:
    known = {"objective": "pretrain", "precision": "fp32", "length": 128, "batch_tokens": 128}
    wanted = TrainSettings(
        **{**known, "steps": STEPS, "checkpoint_every": EVERY, "threads": 1, **CASES[case]}
    )
    rows: Any = make_documents(12) if wanted.objective == "pretrain" else make_conversations(12)
    # In float16 some steps are skipped, early and late, and the scale has to be remembered.
    with (
        mock.patch.object(scaling_module, "_START", 2.0**25),
        mock.patch.object(scaling_module.LossScaler.__init__, "__kwdefaults__", {
            "batch_tokens": 1, "grow_after": 2,
        }),
    ):  # fmt: skip
        model = train(tiny_model(tokenizer), tokenizer, rows, wanted, scratch=scratch).model
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def killed(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per case, each left behind by a process that was killed while it trained."""
    root = tmp_path_factory.mktemp("resume")
    tokenizer.save(root / "tokenizer")
    moments = {
        # After the first checkpoint and before the last: a step's gradients are there, or a part of
        # a checkpoint's files, or new weights (of which float16 has none in the steps it skips).
        case: random.choice(
            [
                ("gradients", random.randint(EVERY + 1, STEPS - 1)),
                ("checkpoint", random.randint(5, 4 * (STEPS // EVERY))),
                ("weights", random.randint(EVERY + 1, STEPS - 1)),
            ][: 2 if case == "fp16" else 3]
        )
        for case in CASES
    }
    (root / "moments.json").write_text(json.dumps(moments))
    process = start(kill_all, root)
    process.join(300)
    assert process.exitcode == 0
    ends = json.loads((root / "ends.json").read_text())
    assert ends == dict.fromkeys(CASES, -signal.SIGKILL), moments
    return root


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case: str, tokenizer: Tokenizer, killed: Path) -> None:
    kept = {p.name for p in (killed / case / "state").glob("step-*")}
    assert kept and f"step-{STEPS:08d}" not in kept
    resumed = run(case, tokenizer, killed / case)
    undisturbed = run(case, tokenizer, None)
    assert resumed.keys() == undisturbed.keys()
    moment = json.loads((killed / "moments.json").read_text())[case]
    for name in undisturbed:
        assert torch.equal(resumed[name], undisturbed[name]), (name, moment)
    lines = (killed / case / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    if case == "fp16":
        assert 0 < json.loads(lines[-1])["skipped_steps"] < STEPS


# -- in the process that is killed -----------------------------------------------------------------


def die_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, but the process is gone right after its call number `call`."""
    calls = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        found = function(*arguments, **named)
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return wrapped


def die(case: str, root: Path) -> None:
    kind, number = json.loads((root / "moments.json").read_text())[case]
    owner: Any
    owner, name = {
        "gradients": (parallel_module, "finish_gradients"),
        "weights": (Optimizers, "step"),
        "checkpoint": (checkpoint_module, "save_file"),
    }[kind]
    setattr(owner, name, die_at(number, getattr(owner, name)))
    run(case, Tokenizer.load(root / "tokenizer"), root / case)


def kill_all(folder: Path) -> None:
    torch.set_num_threads(1)
    # What is imported only when it is needed comes before the children, which then need not do it.
    run("sgd", Tokenizer.load(folder / "tokenizer"), folder / "first")
    ends = {}
    for one in CASES:
        child = os.fork()
        if not child:
            die(one, folder)
            os._exit(0)
        ends[one] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (folder / "ends.json").write_text(json.dumps(ends))
