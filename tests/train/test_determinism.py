"""`deterministic`: what it turns on, where, for how long, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.deterministic

from chatwright.errors import UsageError
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings, api, train
from chatwright.train.determinism import deterministic_algorithms
from chatwright.train.loop import Trainer
from chatwright.train.stages import TrainStage
from chatwright.train.watch import Watcher

from .conftest import make_conversations, tiny_model

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


def state() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = state()
    yield
    after = state()
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.utils.deterministic.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]
    assert after == before


class Looks(Watcher):
    """Notes torch's state after each step."""

    def __init__(self, broken: bool = False) -> None:
        self.seen: list[tuple[bool, bool, bool]] = []
        self.broken = broken

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        self.seen.append(state())
        if self.broken:
            raise RuntimeError("it broke")


def run(tokenizer: Tokenizer, deterministic: bool, *callbacks: Any, **more: Any) -> Any:
    wanted = TrainSettings(
        length=128, batch_tokens=256, steps=4, threads=1, precision="fp32",
        deterministic=deterministic,
    )  # fmt: skip
    rows = make_conversations(12)
    return train(tiny_model(tokenizer), tokenizer, rows, wanted, callbacks=callbacks, **more)


# -- what it turns on ------------------------------------------------------------------------------


@pytest.mark.parametrize("workspace", [":4096:8", ":16:8"])
def test_it_holds_within_and_no_longer(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, workspace)
    before = state()
    with deterministic_algorithms(True, GPU):
        assert state() == (True, False, False)
    assert state() == before
    with pytest.raises(RuntimeError, match="it broke"), deterministic_algorithms(True, GPU):
        raise RuntimeError("it broke")
    assert state() == before


def test_what_somebody_else_turned_on_stays_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic_algorithms(True, GPU):
            assert state()[:2] == (True, False)
        assert state()[:2] == (True, True)
        with deterministic_algorithms(False, GPU):
            assert state()[:2] == (True, True)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("wanted", "device"), [(True, CPU), (False, CPU), (False, GPU)])
def test_otherwise_nothing_is_done_or_asked(
    wanted: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    before = state()
    with deterministic_algorithms(wanted, device):
        assert state() == before


@pytest.mark.parametrize("workspace", [None, "", ":8:1", "4096:8"])
def test_without_the_variable_it_says_what_to_do(
    workspace: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if workspace is not None:
        monkeypatch.setenv(VARIABLE, workspace)
    with pytest.raises(UsageError) as caught, deterministic_algorithms(True, GPU):
        raise AssertionError("it went on")
    said = "is not set" if workspace is None else f"is '{workspace}'"
    assert caught.value.message.startswith(f"{VARIABLE} {said}")
    assert caught.value.where == "deterministic: true"
    assert f"{VARIABLE}=:4096:8" in (caught.value.hint or "")


# -- a whole run -----------------------------------------------------------------------------------


def test_on_a_cpu_a_run_is_what_it_was(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(api, "_device", lambda *_: CPU)
    looks = Looks()
    one, other = run(tokenizer, True, looks), run(tokenizer, False)
    assert [seen[0] for seen in looks.seen] == [False] * 4
    for (name, weight), same in zip(
        one.model.named_parameters(), other.model.parameters(), strict=True
    ):
        assert torch.equal(weight, same), name


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_on_a_gpu_it_holds_for_the_whole_run(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """Computed on a CPU here, with the settings of a GPU: these are what is looked at."""

    def as_on_a_gpu(wanted: bool, device: torch.device) -> AbstractContextManager[None]:
        return deterministic_algorithms(wanted, GPU)

    prepare, prepared_under = api.preparation, []

    def preparation(objective: Any) -> Any:
        prepared_under.append(state())
        return prepare(objective)

    monkeypatch.setenv(VARIABLE, ":4096:8")
    monkeypatch.setattr(api, "_device", lambda *_: CPU)
    monkeypatch.setattr(api, "deterministic_algorithms", as_on_a_gpu)
    monkeypatch.setattr(api, "preparation", preparation)
    before, looks = state(), Looks(broken)
    if broken:
        with pytest.raises(RuntimeError, match="it broke"):
            run(tokenizer, True, looks)
    else:
        run(tokenizer, True, looks)
    assert prepared_under == [(True, False, False)]
    assert looks.seen == [(True, False, False)] * (1 if broken else 4)
    assert state() == before
    off = Looks()
    run(tokenizer, False, off)
    assert off.seen == [before] * 4


def test_on_a_gpu_nothing_is_begun_without_the_variable(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(api, "_device", lambda *_: GPU)  # before anything is moved there
    with pytest.raises(UsageError, match=f"{VARIABLE} is not set"):
        run(tokenizer, True, scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- the fingerprint -------------------------------------------------------------------------------


def test_it_enters_what_a_run_is_known_by_where_it_is_on() -> None:
    stage = {"name": "t", "kind": "train", "model": "m", "data": "d", "epochs": 2}
    for kind, values in ((TrainSettings, {"epochs": 2}), (TrainStage, stage)):
        known = {k: v for k, v in values.items() if k in kind.model_fields}
        usual, off, on = (
            kind.model_validate(known | more).model_dump(mode="json")
            for more in ({}, {"deterministic": False}, {"deterministic": True})
        )
        assert usual == off
        assert on == usual | {"deterministic": True}
        assert "deterministic" not in usual  # as before the setting came
        assert kind.model_validate(on).deterministic
        assert not kind.model_validate(usual).deterministic
