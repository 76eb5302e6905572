"""Numbers that are none, or no number for this place: every numeric field of the OpenAPI document.

A field that is added later is tried too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from attack_house import Things, attacked, raw, survives, things

from accounts_server import Browser, House

OURS = "/v1/chatwright"
MESSAGES = [{"role": "user", "content": "When?"}]

# Fields that are lists, or keys of a dictionary, on the way to the number.
KEYS = {"retention": "conversations"}

# What else the request needs, so that it would be taken with a good number.
NEEDED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "harbour", "messages": MESSAGES},
    "/v1/completions": {"model": "harbour", "prompt": "When"},
    "/v1/responses": {"model": "harbour", "input": "When?"},
    "/v1/embeddings": {"model": "harbour", "input": "When?"},
    f"{OURS}/answers": {"model": "harbour", "text": "When?"},
    f"{OURS}/personas": {"name": "P", "instructions": "Be."},
    f"{OURS}/me/keys": {"name": "k", "scopes": ["chat"]},
    f"{OURS}/admin/invitations": {"role": "user"},
    f"{OURS}/arena/studies/{{name}}/votes": {"judge": "j", "comparison": "c", "choice": "tie"},
    f"{OURS}/arena/studies/{{name}}/ratings": {"judge": "j", "rating": "r", "scores": {"a": 1}},
    "/v1/fine_tuning/jobs": {"model": "harbour", "training_file": "FILE"},
}

NONE = ["NaN", "-Infinity", "1e999"]
WRONG = [*NONE, str(2**63), str(-(2**63) - 1), "1" + "0" * 5000, '"5"', "true"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with attacked(tmp_path_factory.mktemp("numbers")) as one:
        yield one


@pytest.fixture(scope="module")
def anna(here: House) -> Things:
    return things(here, "admin")


@pytest.fixture(autouse=True)
def _still_serving(here: House) -> Iterator[None]:
    with survives(here):
        yield


Field = tuple[str, ...]


def numbers(schema: dict[str, Any], document: dict[str, Any], at: Field = ()) -> Any:
    """Where a schema holds numbers: the way to each, and its own schema."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    kinds = schema.get("type")
    if {"integer", "number"} & set([kinds] if isinstance(kinds, str) else kinds or []):
        yield at, schema
    for word in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(word, []):
            yield from numbers(one, document, at)
    for name, one in schema.get("properties", {}).items():
        yield from numbers(one, document, (*at, name))
    if isinstance(schema.get("items"), dict):
        yield from numbers(schema["items"], document, (*at, "[]"))
    if isinstance(schema.get("additionalProperties"), dict):
        key = KEYS.get(at[-1] if at else "", "1")
        yield from numbers(schema["additionalProperties"], document, (*at, key))


def body_text(needed: dict[str, Any], at: Field, number: str) -> str:
    """JSON with `number`, as it is written, at that place."""

    def put(value: Any, rest: Field) -> Any:
        if not rest:
            return "NUMBER"
        if rest[0] == "[]":
            return [put(None, rest[1:])]
        told = dict(value) if isinstance(value, dict) else {}
        return {**told, rest[0]: put(told.get(rest[0]), rest[1:])}

    told = put(needed, at)
    if at[:1] == ("method",):
        told["method"]["type"] = at[1]
    return json.dumps(told).replace('"NUMBER"', number)


def send(browser: Browser, method: str, path: str, text: str) -> tuple[int, dict[str, Any]]:
    reply = raw(browser, method, path, text.encode())
    return reply.status_code, reply.json().get("error", {})


def test_numbers_in_bodies(here: House, anna: Things) -> None:
    document = here.app.openapi()
    count = 0
    taken = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            for at, own in numbers(schema, document):
                needed = dict(NEEDED.get(path, {}))
                if "training_file" in needed:
                    needed["training_file"] = anna.ids["file_id"]
                where = re.sub(r"\{(\w+)\}", lambda m: anna.ids.get(m[1], anna.person_id), path)
                bad = WRONG if own.get("minimum", -1) < 0 else [*WRONG, "-1"]
                if at[0] in ("input", "prompt"):  # which may hold texts too
                    bad = [b for b in bad if b != '"5"']
                for number in bad:
                    text = body_text(needed, at, number)
                    status, error = send(anna.browser, method.upper(), where, text)
                    count += 1
                    if status != 400 or not error.get("message"):
                        taken.append((method, path, at, number[:30], status, error))
                    elif (
                        number not in NONE
                        and len(number) < 100
                        and at[0] not in ("input", "prompt")
                    ):
                        assert at[0] in (error["param"] or error["message"]), (path, at, error)
    assert not taken, "\n".join(map(str, taken))
    assert count > 500


def test_numbers_in_queries(here: House, anna: Things) -> None:
    document = here.app.openapi()
    count = 0
    taken = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" or not list(numbers(parameter["schema"], document)):
                    continue
                where = re.sub(r"\{(\w+)\}", lambda m: anna.ids[m[1]], path)
                for number in ("NaN", "Infinity", "-1", str(2**63), str(2**64), "1e9", "1" * 5000,
                               "%00", "", "0x10", "\u0663"):  # fmt: skip
                    reply = anna.browser.send(
                        method.upper(), f"{where}?{parameter['name']}={number}"
                    )
                    count += 1
                    if reply.status_code != 400 or reply.json()["error"]["param"] is None:
                        taken.append((method, path, parameter["name"], number[:20], reply.text))
    assert not taken, "\n".join(map(str, taken))
    assert count > 100


@pytest.mark.parametrize(
    "text",
    [
        '{"model": "harbour", "messages": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        '{"model": "harbour", "metadata": ' + '{"a":' * 70 + "1" + "}" * 71,
        '{"model": "harbour", "messages": [' + '{"role":"user","content":"x"},' * 501
        + '{"role":"user","content":"x"}]}',
        '{"model": "harbour", "messages": [{"role":"user","content":"\\ud800"}]}',
        '{"model": "harbour", "messages": [{"role":"user","content":"x"}], "n": 100000}',
        '{"model": "harbour", "messages": [{"role":"user","content":"x"}], "best_of": 99}',
        '{"model": "harbour", "model": "x", "messages": 1}',
        "\ufeff{}",
        "",
        "null",
        '"x"',
    ],
)  # fmt: skip
def test_nesting_counts_and_odd_json(here: House, anna: Things, text: str) -> None:
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/completions", f"{OURS}/answers",
                 f"{OURS}/conversations", "/v1/moderations", f"{OURS}/import"):  # fmt: skip
        reply = raw(anna.browser, "POST", path, text.encode("utf-8", "surrogatepass"))
        # An import takes what it can read and tells the rest by number.
        if path.endswith("/import") and reply.status_code == 200:
            assert reply.json()["imported"] == 0
        else:
            assert reply.status_code == 400, (path, reply.text)


def test_what_is_too_much(here: House, anna: Things) -> None:
    large = {"model": "harbour", "messages": [{"role": "user", "content": "x" * (2 << 20)}]}
    assert anna.browser.post("/v1/chat/completions", large).status_code == 413
    assert anna.browser.post("/answers", {"text": "x" * (2 << 20)}).status_code == 413
    assert anna.browser.post("/answers", {"text": "x" * 300_000}).status_code == 400
    assert anna.browser.post("/memories", {"text": "x" * 1001}).status_code == 400
    names = [f"t{n}" for n in range(1000)]
    assert anna.browser.post("/answers", {"text": "x", "tools": names}).status_code == 400
    assert anna.browser.get("/search?q=" + "a" * 10_000).status_code == 400
    assert anna.browser.get("/passages/" + "a" * 5000 + "?model=harbour").status_code == 404
    assert anna.browser.get("/conversations/" + "a" * 5000).status_code in (400, 404)
