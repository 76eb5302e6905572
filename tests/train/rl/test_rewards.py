"""Reward functions: found, refused, checked, and what those that come with us say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chatwright.errors import TrainingError, UsageError
from chatwright.records import Message
from chatwright.train.rl import rewards
from chatwright.train.rl.rewards import Sample, judge, load_reward_function, weighted


def sample(text: str, reference: str | None = None, reason: str = "stop") -> Sample:
    return Sample([Message("user", "?")], text, reason, f"row-{text[:8]}", reference)


def test_found_by_module_and_by_file(tmp_path: Path) -> None:
    assert load_reward_function("chatwright.train.rl.rewards:length") is rewards.length
    file = tmp_path / "json.py"  # the name of a module that is there already
    file.write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Mine:\n    value: float\n"
        "def reward(samples):\n    return [Mine(len(s.text)).value for s in samples]\n"
    )
    assert judge(load_reward_function(f"{file}:reward"), [sample("four"), sample("")]) == [4.0, 0.0]
    import json

    assert hasattr(json, "dumps")


@pytest.mark.parametrize(
    "name",
    ["nothing", ":x", "a.b:", "no.such.module:f", "chatwright.errors:nothing", "no/such.py:f",
     "chatwright.version:__version__"],
)  # fmt: skip
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_reward_function(name)
    assert caught.value.where == "reward_function"


def test_a_file_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        load_reward_function(f"{tmp_path / 'bad.py'}:reward")


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "high"])
def test_what_is_no_number_names_function_and_row(value: Any) -> None:
    def odd(samples: Sequence[Sample]) -> list[Any]:
        return [1.0, value]

    with pytest.raises(TrainingError) as caught:
        judge(odd, [sample("one"), sample("two")])
    assert "row-two" in str(caught.value.where) and "odd" in str(caught.value.where)


def test_a_function_that_fails_or_miscounts_is_named() -> None:
    def fails(samples: Sequence[Sample]) -> list[float]:
        raise KeyError("x")

    with pytest.raises(TrainingError, match=r"KeyError.*row-one") as caught:
        judge(fails, [sample("one")])
    assert "fails" in str(caught.value.where)
    with pytest.raises(TrainingError, match="1 rewards for 2 samples"):
        judge(lambda samples: [1.0], [sample("one"), sample("two")])


def test_several_with_weights() -> None:
    both = weighted([(rewards.ended, 2.0), (rewards.length, 1.0)])
    assert judge(both, [sample("x" * 50), sample("", reason="length")]) == [1.5, 0.0]


@pytest.mark.parametrize(
    ("text", "reference", "right"),
    [
        ("So 6 · 7 = 42.", "6 times 7.\n#### 42", True),
        ("#### 42", "#### 42", True),
        ("#### 1,000.0", "#### 1000", True),
        ("#### $1,000", "#### 1000", True),
        ("the answer is \\boxed{0.50}", "#### 0.5", True),
        ("一共有 42 个", "#### 42", True),
        ("#### −3", "#### -3", True),
        ("#### Paris.", "#### paris", True),
        ("#### 北京", "#### 北京。", True),
        ("42, no: 43", "#### 42", False),
        ("I do not know.", "#### 42", False),
        ("", "#### 42", False),
        ("#### 42 then #### 41", "#### 42", False),
        ("#### nan", "#### 0", False),
    ],
)
def test_exact_answer(text: str, reference: str, right: bool) -> None:
    assert rewards.exact_answer([sample(text, reference)]) == [float(right)]


@pytest.mark.parametrize("reference", [None, "", "no number here"])
def test_exact_answer_needs_one(reference: str | None) -> None:
    with pytest.raises(TrainingError) as caught:
        rewards.exact_answer([sample("42", reference)])
    assert caught.value.where == "row row-42"
