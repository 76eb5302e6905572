"""Searches of a real stage: tiny models, trained for a few steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from chatwright.errors import TrainingError, UsageError
from chatwright.recipe import load_recipe
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.train.stages import TrainStage, fit
from chatwright.train.tune.run import (
    Tuned,
    check_metric,
    more_is_better,
    own_values,
    tune_stage,
)
from chatwright.train.tune.search import Plan, Run, TrialFailed
from chatwright.train.tune.space import Choices, Range, Space, parse_settings
from chatwright.train.tune.trials import Once, Reports, trainer_of

from ..conftest import make_documents
from ..test_stage import context, dataset
from ..test_watch import Heard, Recorder

RECIPE = """\
# 我的配方
name: small
seed: 7
stages:
  pages: {kind: collect, sources: [{source: site, license: CC0-1.0}]}
  held-out: {kind: split, input: pages, part: held_out}
  tok: {kind: tokenizer, input: pages}
  pretrain:
    kind: train
    objective: pretrain
    model: {depth: 1, tokenizer: tok, context: 128}
    data: pages
    validation: held-out
    length: 64
    batch_tokens: 256  # four rows
    epochs: 2
    precision: fp32
"""


class House:
    """A recipe's stage with everything before it made."""

    def __init__(self, root: Path, tokenizer: Tokenizer) -> None:
        self.root = root
        self.recipe = root / "small.yaml"
        self.recipe.write_text(RECIPE, encoding="utf-8")
        settings = load_recipe(self.recipe).stage("pretrain").settings
        assert isinstance(settings, TrainStage)
        self.stage = settings
        tokenizer.save(root / "tok")
        rows = make_documents(24)
        self.inputs = {
            "tok": root / "tok",
            "pages": dataset(root / "pages", rows[4:]),
            "held-out": dataset(root / "held-out", rows[:4]),
        }

    def context(self) -> StageContext:
        return context(self.root, "pretrain", **self.inputs)

    def tune(self, folder: str, space: Space, trials: int = 4, **options: Any) -> Tuned:
        plan = Plan(space, trials, first=options.pop("first", None), **options.pop("plan", {}))
        known: dict[str, Any] = {"metric": "validation_loss", "recipe": self.recipe}
        return tune_stage(
            self.stage, self.context(), plan, folder=self.root / folder, **{**known, **options}
        )


@pytest.fixture
def house(tmp_path: Path, tokenizer: Tokenizer) -> House:
    return House(tmp_path, tokenizer)


SPACE = parse_settings(["learning_rate=1e-4..1e-2:log", "steps=10", "schedule=wsd,linear"])


def without_time(found: Tuned) -> list[Any]:
    from dataclasses import replace

    return [replace(trial, seconds=0.0) for trial in found.trials]


def test_a_search_leaves_table_picture_and_recipe(house: House) -> None:
    told: list[tuple[int, int | None]] = []
    found = house.tune(
        "tune", SPACE, tell=lambda trial, best: told.append((trial.number, best and best.number))
    )
    assert [number for number, _ in told] == [1, 2, 3, 4]
    assert told[-1][1] == found.best.number
    assert all(t.state == "complete" and len(t.measured) == 9 for t in found.trials)
    assert found.best.result == min(t.result or 9.0 for t in found.trials)
    # What a trial measured is what its own metrics say, and nothing but those is left of it.
    folder = house.root / "tune"
    assert {p.name for p in (folder / "trials").iterdir()} == {"0001", "0002", "0003", "0004"}
    assert {p.name for p in (folder / "trials" / "0002").iterdir()} == {
        "metrics.jsonl", "tensorboard",
    }  # fmt: skip
    lines = (folder / "trials" / "0002" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["validation_loss"] == found.trials[1].result
    assert json.loads(lines[4])["validation_loss"] == found.trials[1].measured[5]
    table = list(csv.DictReader(found.files["trials.csv"].open()))
    assert [float(row["validation_loss"]) for row in table] == [t.result for t in found.trials]
    assert [float(row["learning_rate"]) for row in table] == [
        t.values["learning_rate"] for t in found.trials
    ]
    summary = json.loads(found.files["search.json"].read_text())
    assert summary["best"]["values"] == found.best.values
    assert summary["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert found.files["search.png"].read_bytes().startswith(b"\x89PNG")

    # The recipe as it was written, comments and all, with the best settings; its length is its own.
    text = found.files["best.yaml"].read_text(encoding="utf-8")
    assert text.startswith(f"# Found by chatwright tune: trial {found.best.number} of 4")
    assert "# 我的配方" in text and "# four rows" in text
    best = load_recipe(found.files["best.yaml"]).stage("pretrain").settings
    assert isinstance(best, TrainStage)
    assert best.learning_rate == found.best.values["learning_rate"]
    assert best.schedule == found.best.values["schedule"]
    assert (best.epochs, best.steps) == (2, None)


def test_the_best_settings_train_to_the_same_bits(house: House) -> None:
    found = house.tune("tune", SPACE, trials=2)
    settings = house.stage.model_copy(update={**found.best.values, "epochs": None})
    result, _ = fit(settings, house.context())
    assert result.validation_loss == found.best.result


def test_interrupted_within_a_trial_it_goes_on_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = house.tune("whole", SPACE, trials=2)
    house.stage = house.stage.model_copy(update={"checkpoint_every": 1})
    left = [7, 4]

    def stopping(settings: TrainStage, context: StageContext, callbacks: Any = ()) -> Any:
        class Stop(Recorder):
            def after_step(self, trainer: Any, step: int, values: dict[str, float]) -> None:
                if left and step == left[0]:
                    left.pop(0)
                    raise KeyboardInterrupt

        return fit(settings, context, [*callbacks, Stop()])

    monkeypatch.setattr("chatwright.train.stages.fit", stopping)
    for trial in ("0001", "0002"):
        with pytest.raises(KeyboardInterrupt):
            house.tune("parts", SPACE, trials=2)
        assert (house.root / "parts" / "trials" / trial / "state").exists()
    # What is said of a stage's rows is said once, not by every trial.
    heard = Heard()
    once = Once(heard)
    for _ in range(3):
        once.line("drop a: too long")
    assert heard.lines == ["drop a: too long"]
    own = house.context()
    own.progress = heard
    monkeypatch.setattr(house, "context", lambda: own)
    parts = house.tune("parts", SPACE, trials=2)
    assert "going on after step 3 of 10" in heard.lines
    assert without_time(parts) == without_time(whole)


def test_trials_that_diverge_are_kept_with_the_reason(house: House) -> None:
    # The second rate makes weights that overflow.
    space: dict[str, Range | Choices] = {
        "learning_rate": Choices((1e-3, 1e30)), "schedule": Choices(("constant",)),
        "warmup": Choices((0.0,)), "optimizer": Choices(("adamw",)),
    }  # fmt: skip
    found = house.tune("tune", space)
    assert [t.state for t in found.trials] == ["complete", "failed"]
    reason = found.trials[1].reason
    assert reason is not None and reason.startswith("training diverged at step")
    assert "failed" in found.files["trials.csv"].read_text()
    with pytest.raises(TrainingError, match="none of 1 trials came to its end: training diverged"):
        house.tune("none", {**space, "learning_rate": Choices((1e30,))})


def test_settings_that_do_not_go_together_fail_alone(house: House) -> None:
    space = parse_settings(["length=32,64,4096", "steps=2"])
    found = house.tune("tune", space)
    assert {(t.values["length"], t.state) for t in found.trials} == {
        (32, "complete"), (64, "complete"), (4096, "failed"),
    }  # fmt: skip
    failed = next(t for t in found.trials if t.state == "failed")
    assert failed.reason is not None and "do not fit the model's context" in failed.reason


def test_a_metric_that_is_not_measured_names_those_that_are(house: House) -> None:
    with pytest.raises(UsageError, match="measures no 'accuracy'") as raised:
        house.tune("tune", SPACE, metric="accuracy")
    assert raised.value.hint is not None and "validation_loss" in raised.value.hint
    check_metric(house.stage, "validation_loss", "here")
    bare = house.stage.model_copy(update={"validation": None})
    check_metric(bare, "loss", "here")
    check_metric(bare.model_copy(update={"objective": "reward"}), "validation_accuracy", "here")
    with pytest.raises(UsageError, match="no `validation`"):
        check_metric(bare, "validation_loss", "here")
    assert more_is_better("validation_accuracy") and not more_is_better("validation_loss")


def test_changed_options_are_refused_and_fresh_forgets(house: House) -> None:
    house.tune("tune", SPACE, trials=1)
    with pytest.raises(UsageError, match="differs in: seed"):
        house.tune("tune", SPACE, trials=1, plan={"seed": 9})
    found = house.tune("tune", SPACE, trials=1, plan={"seed": 9}, fresh=True)
    assert len(found.trials) == 1


def test_what_the_recipe_says_is_tried_first(house: House) -> None:
    space = parse_settings(["batch_tokens=128..512", "warmup=0..0.2", "learning_rate=1e-4..1e-3"])
    assert own_values(house.stage, space) == {"batch_tokens": 256, "warmup": 0.05}
    space |= parse_settings(["steps=2"])
    found = house.tune("tune", space, trials=1, first=own_values(house.stage, space))
    assert (found.best.values["batch_tokens"], found.best.values["warmup"]) == (256, 0.05)


def test_other_metrics_are_means_since_the_tenth_before() -> None:
    class Trial:
        def __init__(self) -> None:
            self.reported: dict[int, float] = {}

        def report(self, value: float, step: int) -> None:
            self.reported[step] = value

        def should_prune(self) -> bool:
            return False

    for metric, expected, final in (
        ("loss", {t: 2.0 * t - 0.5 for t in range(1, 10)}, 19.5),
        ("validation_loss", {t: 2.0 * t for t in range(1, 10)}, 20.0),
    ):
        trial = Trial()
        reports = Reports(metric, Run(1, {}, trial))  # type: ignore[arg-type]
        trainer: Any = type("T", (), {"total": 20})
        for step in range(1, 21):
            reports.after_step(trainer, step, {metric: float(step)})
        assert trial.reported == expected
        assert reports.value() == final


def test_too_little_memory_fails_the_trial_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("chatwright.train.stages.fit", full)
    train = trainer_of(house.stage, house.context(), "loss", house.root / "trials")
    with pytest.raises(TrialFailed, match="not enough memory"):
        train(Run(1, {"steps": 3}, None))  # type: ignore[arg-type]


def test_a_block_of_settings_is_written_into_the_recipe(tmp_path: Path) -> None:
    from chatwright.train.tune.results import write_best

    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\nstages:\n  sft: {kind: train, lora: {rank: 4}, batch_size: 2, model: 'm'}\n"
    )
    values = {"lora.rank": 8, "batch_tokens": 512, "ppo.kl.coefficient": 0.1, "clip": None}
    write_best(tmp_path / "best.yaml", recipe, "sft", values, "one\ntwo")
    text = (tmp_path / "best.yaml").read_text()
    assert text.startswith("# one\n# two\nname: r\n")
    assert YAML(typ="safe").load(text)["stages"]["sft"] == {
        "kind": "train", "lora": {"rank": 8}, "batch_tokens": 512, "model": "m",
        "ppo": {"kl": {"coefficient": 0.1}}, "clip": None,
    }  # fmt: skip
