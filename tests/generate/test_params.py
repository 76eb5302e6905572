"""What can be asked of the engine, and what is refused at once, naming the field."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from chatwright.errors import UsageError
from chatwright.generate import SamplingParams
from chatwright.generate.params import Constraint


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": math.nan},
        {"temperature": -0.1},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"min_p": math.nan},
        {"typical_p": 0.0},
        {"typical_p": 1.5},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"repetition_penalty": math.inf},
        {"frequency_penalty": math.nan},
        {"presence_penalty": math.inf},
        {"no_repeat_ngram": -1},
        {"logit_bias": {3: math.nan}},
        {"logit_bias": {3: math.inf}},
        {"logit_bias": {-3: 1.0}},
        {"logit_bias": {"3": 1.0}},
        {"logit_bias": {3: "much"}},
        {"min_tokens": -1},
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"stop": ("fine", "")},
        {"stop_tokens": (-1,)},
        {"stop_tokens": ("END",)},
        {"n": 0},
        {"beams": 0},
        {"length_penalty": math.nan, "beams": 2, "temperature": 0.0},
        {"early_stopping": "soon", "beams": 2, "temperature": 0.0},
        {"top_logprobs": 21, "logprobs": True},
        {"guidance": 0.5},
        {"guidance": math.inf},
        {"negative_prompt": (-1,), "guidance": 2.0},
        {"constraint": "[0-9]+"},
        {"lookup": -1},
        {"window_end": "truncate"},
        {"sinks": -1},
        {"timeout": 0.0},
        {"timeout": math.inf},
        {"timeout": math.nan},
    ],
)
def test_impossible_values_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**wrong)
    assert caught.value.where == next(iter(wrong))


@pytest.mark.parametrize(
    ("field", "together"),
    [
        ("min_tokens", {"min_tokens": 11, "max_tokens": 10}),
        ("best_of", {"n": 3, "best_of": 2}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("negative_prompt", {"negative_prompt": (1,)}),
        ("lookup", {"lookup": 4, "guidance": 2.0}),
        ("length_penalty", {"length_penalty": 2.0}),
        ("early_stopping", {"early_stopping": True}),
        ("temperature", {"beams": 2}),
        ("n", {"beams": 2, "temperature": 0.0, "n": 3}),
        ("best_of", {"beams": 2, "temperature": 0.0, "best_of": 3}),
        ("guidance", {"beams": 2, "temperature": 0.0, "guidance": 2.0}),
        ("lookup", {"beams": 2, "temperature": 0.0, "lookup": 3}),
        ("window_end", {"beams": 2, "temperature": 0.0, "window_end": "slide"}),
    ],
)
def test_what_cannot_be_together_is_refused(field: str, together: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**together)
    assert caught.value.where == field


def test_one_stop_string_or_a_list_is_taken_too() -> None:
    assert SamplingParams(stop="END").stop == ("END",)  # type: ignore[arg-type]
    assert SamplingParams(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]


def test_parameters_with_everything_are_a_key_and_can_be_varied() -> None:
    params = SamplingParams(
        logit_bias={7: 1, 2: -math.inf},
        stop_tokens=[4],  # type: ignore[arg-type]
        constraint=Constraint.json_schema({"type": "object"}),
        logprobs=True,
        top_logprobs=3,
    )
    assert params.logit_bias == ((2, -math.inf), (7, 1.0))
    assert params.stop_tokens == (4,)
    varied = replace(params, max_tokens=9)
    assert {params: "one", varied: "other"}[replace(varied, max_tokens=256)] == "one"


def test_answers_counts_what_is_made() -> None:
    assert SamplingParams(n=3).answers == 3
    assert SamplingParams(n=3, best_of=5).answers == 5


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    schema = {"type": "object", "properties": {"z": {}, "a": {}, "名": {}}}
    constraint = Constraint.json_schema(schema)
    assert list(json.loads(constraint.text)["properties"]) == ["z", "a", "名"]
    assert Constraint.json_schema(json.dumps(schema)) == constraint
    assert Constraint.json().kind == "json_schema"


@pytest.mark.parametrize("schema", ["{", "[1]", '"text"', {"const": math.nan}, {"const": {1, 2}}])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(UsageError, match="schema") as caught:
        Constraint.json_schema(schema)
    assert caught.value.where == "constraint"


def test_a_schema_that_contains_itself_is_refused() -> None:
    schema: dict[str, Any] = {}
    schema["properties"] = {"again": schema}
    with pytest.raises(UsageError, match="schema"):
        Constraint.json_schema(schema)
