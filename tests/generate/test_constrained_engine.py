"""Constraints through the whole engine: in a batch, with several answers, beams and guesses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chatwright.errors import UsageError
from chatwright.generate import Engine, SamplingParams
from chatwright.generate.params import Constraint
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer

PATTERN = "(是|否)，[0-9]{3}-[a-z]{2,5}!"
SCHEMA = {
    "type": "object",
    "properties": {"城市": {"enum": ["北京", "上海"]}, "n": {"type": "integer", "maximum": 999}},
    "required": ["城市", "n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(model: Transformer, tokenizer: Tokenizer) -> Iterator[Engine]:
    with Engine(model, tokenizer, max_batch=4) as one:
        yield one


def asked(**setting: Any) -> SamplingParams:
    return SamplingParams(
        **{"constraint": Constraint.regex(PATTERN), "max_tokens": 60, "seed": 1, **setting}
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"temperature": 0.0},
        {"temperature": 2.0},
        {"temperature": 0.0, "lookup": 4},
        {"temperature": 1.0, "lookup": 4},
        {"temperature": 0.0, "beams": 3, "n": 2},
        {"temperature": 1.0, "n": 3},
        {"temperature": 1.0, "n": 2, "best_of": 4},
        {"temperature": 1.0, "guidance": 1.5},
        {"temperature": 1.0, "logprobs": True, "top_logprobs": 2},
        {"temperature": 1.0, "repetition_penalty": 1.3, "min_tokens": 60},
    ],
)
def test_every_way_of_decoding_keeps_the_form(engine: Engine, setting: dict[str, Any]) -> None:
    prompt = engine.tokenizer.encode("引擎读取提示，123-abc!")
    completions = engine.submit(prompt, asked(**setting)).results()
    assert len(completions) == setting.get("n", 1)
    for completion in completions:
        assert re.fullmatch(PATTERN, completion.text), completion
        assert completion.finish_reason == "stop"


@pytest.mark.parametrize("pattern", ["a", "ab", "是的[0-9]?"])
def test_beams_where_there_are_fewer_texts_than_beams(engine: Engine, pattern: str) -> None:
    params = asked(constraint=Constraint.regex(pattern), temperature=0.0, beams=4)
    completion = engine.submit([1, 2], params).result()
    assert re.fullmatch(pattern, completion.text), completion


def test_a_batch_of_different_forms(engine: Engine) -> None:
    prompt = engine.tokenizer.encode("The engine reads")
    schema = asked(constraint=Constraint.json_schema(SCHEMA), temperature=1.5)
    requests = [
        engine.submit(prompt, params)
        for params in (schema, asked(temperature=1.5), asked(constraint=None), schema)
    ]
    one, two, _, again = (request.result() for request in requests)
    assert json.loads(one.text)["城市"] in SCHEMA["properties"]["城市"]["enum"]  # type: ignore[index]
    assert re.fullmatch(PATTERN, two.text)
    assert again.text == one.text  # whoever else is in the batch


def test_a_wrong_form_is_refused_at_submit(engine: Engine) -> None:
    with pytest.raises(UsageError, match="look-around"):
        engine.submit([1, 2], asked(constraint=Constraint.regex("(?=a)b")))
    assert engine.submit([1, 2], asked()).result().finish_reason == "stop"


def test_a_form_that_max_tokens_cuts_short_says_so(engine: Engine) -> None:
    completion = engine.submit([1, 2], asked(max_tokens=3)).result()
    assert completion.finish_reason == "length"
    assert not re.fullmatch(PATTERN, completion.text)


def test_pieces_of_a_stream_join_to_the_form(engine: Engine) -> None:
    text = "".join(piece.text for piece in engine.submit([1, 2], asked(temperature=1.0)))
    assert re.fullmatch(PATTERN, text)
