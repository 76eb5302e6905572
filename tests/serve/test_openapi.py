"""The OpenAPI document against the application: every operation, with valid and invalid requests.

Schemathesis makes requests from the document and compares what comes back with it. A few for each
operation here; `CHATWRIGHT_FUZZ=200 pytest tests/serve/test_openapi.py` makes many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_house import HTTP, plain, tiny_engine
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from chat_server import running
from chatwright.serve import Limits, Registry, Served, create_app
from chatwright.serve.access import access_of, api_routes

EXAMPLES = int(os.environ.get("CHATWRIGHT_FUZZ", "1"))
# Not checked: that whatever the document allows is taken. Fields that cannot be together, or that
# are over a limit of this server, are refused, and a schema cannot say so.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


@pytest.fixture(scope="module")
def app() -> Iterator[FastAPI]:
    with tiny_engine() as engine:
        assistant = plain(engine)
        registry = Registry(lambda: [Served("tiny", "model", "Tiny")], lambda _: assistant)
        yield create_app(registry, limits=Limits(max_tokens=250))


@pytest.fixture(scope="module")
def address(app: FastAPI) -> Iterator[str]:
    with running(app) as address:
        yield address


def test_the_document_is_whole(app: FastAPI, address: str) -> None:
    """Every route is in it, says who may come, and tells what goes wrong."""
    document = HTTP.get(f"{address}/openapi.json").json()
    for route in api_routes(app.routes):
        if not route.include_in_schema:
            continue
        for method in route.methods - {"HEAD"}:
            operation = document["paths"][route.path_format][method.lower()]
            access = access_of(route)
            assert access is not None
            assert bool(operation["security"]) == (access.role is not None)
            assert operation.get("description") or operation.get("summary")
            assert {"4XX", "5XX"} <= operation["responses"].keys()
            assert "422" not in operation["responses"]
            if method in ("POST", "PUT", "PATCH") and "requestBody" in operation:
                assert all("schema" in c for c in operation["requestBody"]["content"].values())


def test_nothing_is_found(address: str) -> None:
    """No 500 and no answer that the document does not tell, and nothing invalid is taken."""
    # Whatever refuses a request will do for an invalid one, such as its size or its type.
    refusals = ["4XX", "5XX"]
    config = schemathesis.Config.from_dict(
        {"checks": {"negative_data_rejection": {"expected-statuses": refusals}}}
    )
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", config=config)
    problems: list[str] = []
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        count += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _ask(operation, mode)
            except Exception as error:  # told together: one run shows them all
                problems.append(f"{operation.label} ({mode.value}): {error}")
    assert count > 5
    assert not problems, "\n\n".join(problems)


def _ask(operation: Any, mode: GenerationMode) -> None:
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        return  # whatever comes is valid

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            _mend(case.body, _example(operation), data)
        case.call_and_validate(checks=CHECKS, timeout=20)

    ask()


def _example(operation: Any) -> dict[str, Any]:
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    found: dict[str, Any] = content.get("application/json", {}).get("example", {})
    return found


def _mend(body: dict[str, Any], example: dict[str, Any], data: st.DataObject) -> None:
    """A body that is valid but for what a schema cannot say is mostly refused for that. So the
    document's own example is sent, with a few fields of the generated one in it.
    """
    if example:
        names = sorted({*body} - {"model"})
        kept = data.draw(st.sets(st.sampled_from(names), max_size=2)) if names else set()
        mended = example | {name: body[name] for name in kept}
        body.clear()
        body.update(mended)
    if "model" in body:
        body["model"] = "tiny"
