from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chatwright.errors import UsageError
from chatwright.train.stages import TrainStage
from chatwright.train.tune.space import (
    Choices,
    Range,
    check_space,
    default_space,
    load_space,
    parse_settings,
    points_of,
    varied,
    with_values,
)


def stage(**values: Any) -> TrainStage:
    return TrainStage(**{"model": "m", "data": "d", "lora": {"rank": 4}, "epochs": 2, **values})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("warmup=0..0.2", Range(0.0, 0.2)),
        ("warmup=0..0.2:step=0.05", Range(0.0, 0.2, step=0.05)),
        ("weight_decay=.01...3", Range(0.01, 0.3)),
        ("length=32..128:step=32", Range(32, 128, step=32, whole=True)),
        ("lora.rank=4..64:log", Range(4, 64, log=True, whole=True)),
        ("schedule=wsd, cosine", Choices(("wsd", "cosine"))),
        ("batch_tokens=1024,2048,1024", Choices((1024, 2048))),
        ("clip=null,1.0", Choices((None, 1.0))),
        ("nesterov=true,false", Choices((True, False))),
        ("steps=20", Choices((20,))),
        ("threads=1", Choices((1,))),
        ("preference.beta=0.1..1", Range(0.1, 1.0)),
    ],
)
def test_settings_are_read_as_they_are_written(text: str, expected: Range | Choices) -> None:
    found = check_space(parse_settings([text]), stage())
    assert found == {text.partition("=")[0]: expected}
    (only,) = found.values()
    if isinstance(only, Range):
        assert all(isinstance(x, int) for x in (only.low, only.high)) == expected.whole  # type: ignore[union-attr]
    again = check_space(parse_settings([f"{text.partition('=')[0]}={only}"]), stage())
    assert again == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate", "names no setting"),
        ("=3", "names no setting"),
        ("learning_rate=a..b", "learning_rate: 'a' is not a number"),
        ("learning_rate=1..inf", "'inf' is not a number"),
        ("learning_rate=1e-3..1e-2:logarithmic", "unknown: logarithmic"),
        ("learning_rate=0..1:log", "begins above 0"),
        ("learning_rate=1..0.1", "range 1..0.1 is empty"),
        ("learning_rate=0..1", "learning_rate cannot be 0.0"),
        ("warmup=0..1:step=0", "`step` is above 0"),
        ("learning_rte=1..2", "did you mean `learning_rate`"),
        ("lora.rnk=1..2", "did you mean `rank`"),
        ("schedule=1..2", "it takes 'constant', 'cosine', 'linear', 'wsd'"),
        ("schedule=wsd,triangle", "schedule cannot be 'triangle'"),
        ("length=2.5..4", "2.5 is not"),
        ("clip=[1,2]", "not a single word or number"),
        ("data=a,b", "names what is trained"),
        ("objective=sft,pretrain", "another objective"),
        ("validate_every=2", "measured at each tenth"),
        ("threads=1,2", "does not change what is learnt"),
        ("clip={,", "cannot be read"),
        ("betas=0.1..0.2", "no number"),
    ],
)
def test_what_cannot_be_searched_is_said_with_its_key(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_space(parse_settings([text]), stage())
    error = raised.value
    assert said in f"{error.where}: {error.message} {error.hint}"


def test_no_block_no_search_in_it_and_nothing_twice() -> None:
    with pytest.raises(UsageError, match="no block `lora`"):
        check_space(parse_settings(["lora.rank=1..4"]), stage(lora=None))
    with pytest.raises(UsageError, match="given twice"):
        parse_settings(["warmup=0..1", "warmup=0..2"])
    with pytest.raises(UsageError, match="exclude each other"):
        check_space(parse_settings(["epochs=1,2", "steps=3,4"]), stage())
    with pytest.raises(UsageError, match="nothing to search"):
        check_space({}, stage())


def test_values_go_into_the_stage_and_take_the_place_of_what_they_exclude() -> None:
    base = stage(batch_size=4)
    found = with_values(base, {"lora.rank": 8, "steps": 7, "batch_tokens": 512, "clip": None})
    assert found.lora is not None and found.lora.rank == 8 and found.lora.alpha == 32
    assert (found.steps, found.epochs, found.batch_size) == (7, None, None)
    assert found.batch_tokens == 512 and found.clip is None
    assert base.lora is not None and base.lora.rank == 4
    # Settings that enter no fingerprint, and so no dump, are kept as well.
    quick = stage(checkpoint_every=3, data=["a", {"data": "b", "weight": 2}])
    assert with_values(quick, {"steps": 7, "lora.rank": 8}) == stage(
        checkpoint_every=3, data=["a", {"data": "b", "weight": 2}], epochs=None, steps=7,
        lora={"rank": 8},
    )  # fmt: skip
    with pytest.raises(ValidationError, match="muon"):
        with_values(stage(objective="pretrain"), {"optimizer": "muon"})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"lora": None},
        {"lora": None, "objective": "pretrain"},
        {"objective": "dpo"},
        {"objective": "reward", "batch_tokens": 4096},
        {"objective": "ppo", "learning_rate": 3e-6},
        {"objective": "grpo", "lora": None},
        {"objective": "pretrain", "lora": None, "model": {"depth": 4, "tokenizer": "t"}},
        {"batch_size": 1},
        {"batch_tokens": 8192},
    ],
)
def test_the_default_space_fits_every_objective(values: dict[str, Any]) -> None:
    own = stage(**values)
    space = check_space(default_space(own), own)
    assert set(space) >= {"learning_rate", "weight_decay", "warmup", "schedule"}
    rate = space["learning_rate"]
    assert isinstance(rate, Range) and rate.log
    if own.learning_rate is not None:
        assert rate.low < own.learning_rate < rate.high
    if own.batch_size is not None:
        assert space["batch_size"] == Choices((1, 2))
    if own.objective == "dpo":
        assert space["batch_size"] == Choices((8, 16, 32))
    if own.objective == "ppo":
        assert space["ppo.prompts"] == Choices((8, 16, 32))
    if not isinstance(own.model, str):
        assert space["batch_tokens"] == Choices((2048, 4096, 8192))
        assert (rate.low, rate.high) == pytest.approx((5e-3 / 8, 5e-3 * 8), rel=0.02)


def test_a_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "空间.yaml"
    file.write_text(
        "learning_rate: 1e-4..1e-2:log\n"
        "lora.rank: {low: 4, high: 64, log: true}\n"
        "schedule: [wsd, cosine]\n"
        "steps: 20\n",
        encoding="utf-8",
    )
    written = parse_settings(
        ["learning_rate=1e-4..1e-2:log", "lora.rank=4..64:log", "schedule=wsd,cosine", "steps=20"]
    )
    assert check_space(load_space(file), stage()) == check_space(written, stage())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "maps settings"),
        ("- a\n", "maps settings"),
        ("a: [1\n", "cannot be read"),
        ("warmup: {low: 0}\n", "warmup: a range has `low` and `high`"),
        ("warmup: {low: 0, high: 1, log: maybe}\n", "`log` is true or false"),
        ("warmup: []\n", "list of choices is empty"),
    ],
)
def test_a_file_that_is_no_space(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        load_space(file)
    assert said in str(raised.value) and str(file) in str(raised.value)
    with pytest.raises(UsageError, match="cannot be read"):
        load_space(tmp_path / "none.yaml")


def test_points_are_counted_where_they_have_an_end() -> None:
    space = {
        "a": Choices((1, 2, 3)), "b": Range(1, 9, step=4, whole=True), "c": Range(0, 0.3, step=0.1),
        "d": Choices(("only",)),
    }  # fmt: skip
    assert points_of(space) == 3 * 3 * 4
    assert list(varied(space)) == ["a", "b", "c"]
    assert points_of({**space, "e": Range(0, 1)}) is None
