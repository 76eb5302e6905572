from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.errors import TrainingError
from chatwright.progress import Silent
from chatwright.records import Document
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings, read_metrics, train
from chatwright.train.divergence import Divergence
from chatwright.train.loop import Trainer
from chatwright.train.watch import Pace, Watcher, clock, status_line

from .conftest import tiny_model


def settings(**values: Any) -> TrainSettings:
    known = {
        "objective": "pretrain", "length": 64, "batch_tokens": 256, "steps": 6, "precision": "fp32",
    }  # fmt: skip
    return TrainSettings(**{**known, **values})


class Heard(Silent):
    """A `Progress` that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


class Recorder(Watcher):
    def __init__(self, stop_at: int | None = None) -> None:
        self.calls: list[Any] = []
        self.stop_at = stop_at

    def begin(self, trainer: Trainer) -> None:
        self.calls.append(("begin", trainer.position.step))

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        self.calls.append(step)
        self.seen = dict(values)
        values["mine"] = step * 10.0
        if step == self.stop_at:
            raise RuntimeError("enough")

    def end(self, trainer: Trainer) -> None:
        self.calls.append("end")


def test_status_line() -> None:
    line = status_line({"loss": 2.5, "mfu": 0.123}, tokens_per_second=12345.6, seconds_left=3723)
    assert line == "loss 2.500 · 12,346 tok/s · MFU 12 % · ETA 1:02:03"
    assert status_line({"loss": 1.0}, tokens_per_second=9, seconds_left=5) == (
        "loss 1.000 · 9 tok/s · ETA 0:05"
    )
    assert "reward 0.250" in status_line(
        {"loss": 1.0, "reward": 0.25}, tokens_per_second=9, seconds_left=5
    )


def test_speed_is_that_of_the_last_steps() -> None:
    pace = Pace(tokens=500, steps=2)  # resumed after 500 tokens
    assert pace.add(600, 2.0) == 50
    assert pace.add(700, 0.5) == 200 / 2.5
    assert pace.add(900, 0.5) == 300 / 1.0
    assert Pace().add(5, 0.0) > 0


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (-3, "0:00")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_callbacks_see_each_step_and_add_to_its_line(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    recorder = Recorder()
    result = train(
        tiny_model(tokenizer), tokenizer, documents, settings(), validation=documents[:2],
        scratch=tmp_path, callbacks=[recorder],
    )  # fmt: skip
    assert recorder.calls == [("begin", 0), 1, 2, 3, 4, 5, 6, "end"]
    assert {"loss", "lr", "gradient_norm", "validation_loss", "step_seconds"} <= set(recorder.seen)
    assert [line["mine"] for line in result.metrics] == [10, 20, 30, 40, 50, 60]
    assert all(0 < line["mfu"] < 5 for line in result.metrics)


def test_a_callback_that_raises_ends_the_run_and_is_told_so(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    recorder = Recorder(stop_at=3)
    with pytest.raises(RuntimeError, match="enough"):
        train(
            tiny_model(tokenizer), tokenizer, documents, settings(), scratch=tmp_path,
            callbacks=[recorder],
        )  # fmt: skip
    assert recorder.calls[-1] == "end"
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


# -- divergence ------------------------------------------------------------------------------------


def test_no_number_no_bound_and_the_ceiling_are_divergence() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        assert Divergence().add(bad) is not None
    assert Divergence().add(1e30) is None
    assert Divergence(18.0).add(18.0) == "the loss is 18"
    assert Divergence(18.0).add(17.9) is None


def test_a_lasting_rise_is_divergence_and_a_spike_is_not() -> None:
    falling = [6.0 - 0.05 * i for i in range(60)]  # down to 3
    watched = Divergence(18.0)
    assert all(watched.add(loss) is None for loss in falling)
    assert watched.add(14.0) is None  # one step
    assert all(watched.add(3.0) is None for _ in range(30))
    found = [watched.add(6.2) for _ in range(20)]
    # A sixth of 18 above the lowest mean: only once nearly all of the last 20 steps are that bad.
    assert found[:17] == [None] * 17
    assert found[-1] is not None and "last 20 steps is 6.2" in found[-1]
    # Resumed: the same losses, given as those before, lead to the same.
    resumed = Divergence(18.0, [*falling, 14.0, *[3.0] * 30, *[6.2] * 10])
    assert [resumed.add(6.2) for _ in range(10)] == found[10:]
    # Losses that have no scale may rise.
    unbounded = Divergence()
    assert all(unbounded.add(x) is None for x in [*falling, *[50.0] * 40])


def test_divergence_names_step_rows_and_the_last_good_checkpoint(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    class Spoil(Watcher):
        """Makes the weights useless after the fourth step."""

        def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
            if step == 4:
                with torch.no_grad():
                    for parameter in trainer.model.parameters():
                        parameter.fill_(math.nan)

    with pytest.raises(TrainingError) as raised:
        train(
            tiny_model(tokenizer), tokenizer, documents, settings(checkpoint_every=2),
            scratch=tmp_path, callbacks=[Spoil()],
        )  # fmt: skip
    error = raised.value
    assert error.message.startswith("training diverged at step 5: the loss is nan")
    rows = {row.id for row in documents}
    assert any(row in error.message for row in rows)
    assert str(tmp_path / "state") in error.message
    assert Path(error.message.rpartition("checkpoint: ")[2]).is_dir()
    assert error.hint is not None and "learning rate" in error.hint


# -- metrics ---------------------------------------------------------------------------------------


def test_tensorboard_reads_what_was_written_and_forgets_what_was_redone(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from chatwright.train.metrics import MetricsLog

    log = MetricsLog(tmp_path, 0)
    for step in range(1, 6):
        log.write(step, {"loss": 10.0 - step, "lr": 0.5})
    log.close()
    os.utime(next((tmp_path / "tensorboard").iterdir()), (1, 1))
    again = MetricsLog(tmp_path, 3)
    assert again.losses == [9.0, 8.0, 7.0]
    for step in (4, 5):
        again.write(step, {"loss": 100.0 + step, "odd": math.inf})
    again.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    points = [(e.step, e.value) for e in read.Scalars("train/loss")]
    assert points == [(1, 9.0), (2, 8.0), (3, 7.0), (4, 104.0), (5, 105.0)]
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["loss"] for line in lines] == [9.0, 8.0, 7.0, 104.0, 105.0]
    # JSON has no infinity: every line can be read by any reader.
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["odd"] is None
    # The events of one step share one record: 5 + 2 records, version and purge beside.
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = (tmp_path / "tensorboard").iterdir()
    records = [event for file in files for event in EventFileLoader(str(file)).Load()]
    assert len([r for r in records if r.HasField("summary")]) == 7


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo', encoding="utf-8")
    assert read_metrics(file) == [{"step": 1, "loss": 2}]
