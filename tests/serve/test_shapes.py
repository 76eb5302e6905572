"""From a request's JSON to what the engine is asked, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatwright.generate import SamplingParams
from chatwright.generate.params import Constraint
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits
from chatwright.serve.openai.chat_request import ChatRequest, parse_chat_request

OWN = SamplingParams(temperature=0.7, max_tokens=99, top_k=3)


def asked(limits: Limits | None = None, **fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return parse_chat_request(json.dumps(body).encode(), limits or Limits())


def refused(limits: Limits | None = None, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asked(limits, **fields).sampling(OWN)
    assert caught.value.status == 400
    return caught.value


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_what_is_not_asked_stays_the_assistants() -> None:
    assert asked().sampling(OWN) == OWN
    nothing = {"temperature": None, "logit_bias": None, "response_format": None, "num_beams": None}
    assert asked(**nothing).sampling(OWN) == OWN
    assert asked(response_format={"type": "text"}, logit_bias={}, num_beams=1).sampling(OWN) == OWN


def test_json_of_any_object_and_of_a_schema() -> None:
    params = asked(response_format={"type": "json_object"}).sampling(OWN)
    assert params.constraint == Constraint.json_schema({"type": "object"})
    schema = {"type": "object", "properties": {"z": {"enum": ["北京"]}, "a": {"type": "number"}}}
    params = asked(response_format=schema_format(schema)).sampling(OWN)
    assert params.constraint is not None
    told = json.loads(params.constraint.text)
    assert told == schema
    assert list(told["properties"]) == ["z", "a"]


def test_a_schema_has_a_size() -> None:
    limits = Limits(schema_bytes=200)
    asked(limits, response_format=schema_format({"enum": ["值"] * 20}))
    error = refused(limits, response_format=schema_format({"enum": ["值"] * 60}))
    assert (error.param, error.code) == ("response_format", "limit_exceeded")


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "json_schema", "json_schema": {}}, "response_format.json_schema.name"),
        (
            {"type": "json_schema", "json_schema": {"name": "a"}},
            "response_format.json_schema.schema",
        ),
        (schema_format([1]), "response_format.json_schema.schema"),
        (schema_format(True), "response_format.json_schema.schema"),
        ({}, "response_format.type"),
    ],
)
def test_a_wrong_form_names_its_field(form: dict[str, Any], param: str) -> None:
    assert refused(response_format=form).param == param


def test_token_ids_are_text_in_json() -> None:
    params = asked(logit_bias={"50": 1, "3": -100}).sampling(OWN)
    assert params.logit_bias == ((3, -100.0), (50, 1.0))
    for key in ("-1", "1.5", " 1", "", "9" * 40, "一"):
        assert str(refused(logit_bias={key: 1}).param).startswith("logit_bias")


def test_beams_take_no_chance() -> None:
    params = asked(num_beams=3, early_stopping=True).sampling(OWN)
    assert (params.beams, params.early_stopping, params.temperature) == (3, True, 0.0)
    assert asked(num_beams=3, temperature=0).sampling(OWN).temperature == 0
    assert refused(num_beams=3, temperature=1).param == "temperature"
    assert refused(Limits(beams=2), num_beams=3).param == "num_beams"


def test_limits_of_two_fields_together_name_one() -> None:
    assert refused(min_tokens=100).param == "min_tokens"  # the assistant makes 99 at most
    assert refused(early_stopping=True).param == "early_stopping"
    assert refused(num_beams=2, early_stopping="always").param == "early_stopping"
    assert refused(num_beams=2, early_stopping=1).param == "early_stopping"  # no boolean in JSON
    assert asked(num_beams=2, early_stopping=True).sampling(OWN).early_stopping is True
