"""Somebody else's ids, on every route that takes one: answered exactly like ids of nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from attack_house import Things, attacked, made, survives, things, upload

from accounts_server import Browser, House
from chatwright.serve.access import api_routes

OURS = "/v1/chatwright"

# Ids of what belongs to everybody, or which the role opens whoever it is of.
SHARED = {
    f"{OURS}/passages/{{passage_id}}",  # public pages that an assistant was made from
    "/v1/models/{name:path}",
    f"{OURS}/shared/{{token}}",  # a secret of its own: test_shares_exports
}
BY_ROLE = (f"{OURS}/admin/", f"{OURS}/arena/")

# Which of somebody's things a path's parameter names, where the parameter does not say it.
NAMES = {
    (f"{OURS}/folders/{{label_id}}", "label_id"): "folder_id",
    (f"{OURS}/tags/{{label_id}}", "label_id"): "tag_id",
    (f"{OURS}/collections/{{collection_id}}/files/{{file_id}}", "file_id"): "knowledge_file_id",
}

# A body that the owner could send, for routes that want one.
BODIES: dict[str, Any] = {
    f"PATCH {OURS}/collections/{{collection_id}}": {"name": "taken"},
    f"POST {OURS}/moderation/{{event_id}}/appeal": {"text": "why?"},
    f"PATCH {OURS}/conversations/{{conversation_id}}": {"title": "taken"},
    f"PATCH {OURS}/folders/{{label_id}}": {"name": "taken"},
    f"PATCH {OURS}/tags/{{label_id}}": {"name": "taken"},
    f"PATCH {OURS}/personas/{{persona_id}}": {"name": "taken"},
    f"PATCH {OURS}/memories/{{memory_id}}": {"text": "taken"},
    f"POST {OURS}/conversations/{{conversation_id}}/shares": {},
    f"PUT {OURS}/messages/{{message_id}}/feedback": {"rating": "down"},
}

# Where bodies and queries hold ids, and how somebody would put another's there: the field, the
# request, and its body. `$name` is one of Anna's things, `@name` one of the asker's own.
FIELDS: list[tuple[str, str, Any]] = [
    ("folder_id", "POST /conversations", {"folder_id": "$folder_id"}),
    ("folder_id", "PATCH /conversations/@conversation_id", {"folder_id": "$folder_id"}),
    ("tags", "PATCH /conversations/@conversation_id", {"tags": ["$tag_id"]}),
    ("current_leaf", "PATCH /conversations/@conversation_id", {"current_leaf": "$message_id"}),
    ("leaf", "POST /conversations/@conversation_id/shares", {"leaf": "$message_id"}),
    ("leaf", "GET /conversations/@conversation_id/export?leaf=$message_id", None),
    ("folder", "GET /conversations?folder=$folder_id", None),
    ("tag", "GET /conversations?tag=$tag_id", None),
    ("conversation_id", "POST /answers", {"text": "x", "conversation_id": "$conversation_id"}),
    (
        "parent_id",
        "POST /answers",
        {"text": "x", "conversation_id": "@conversation_id", "parent_id": "$message_id"},
    ),
    (
        "message_id",
        "POST /answers",
        {
            "action": "regenerate",
            "conversation_id": "@conversation_id",
            "message_id": "$message_id",
        },
    ),
    ("message_id", "POST /answers", {"action": "continue", "message_id": "$message_id"}),
    ("persona_id", "POST /answers", {"text": "x", "persona_id": "$persona_id"}),
    ("collections", "POST /answers", {"text": "x", "collections": ["$collection_id"]}),
    ("attachments", "POST /answers", {"text": "x", "attachments": ["$attachment_id"]}),
    ("attachments", "POST /answers", {"text": "x", "attachments": ["$file_id"]}),
    (
        "left_id",
        "POST /comparisons",
        {"left_id": "$message_id", "right_id": "$other_message_id", "choice": "tie"},
    ),
    (
        "right_id",
        "POST /comparisons",
        {"left_id": "@message_id", "right_id": "$message_id", "choice": "tie"},
    ),
    ("after", "GET /v1/files?after=$file_id", None),
    ("after", "GET /v1/fine_tuning/jobs?after=$job_id", None),
    ("after", "GET /v1/fine_tuning/jobs/@job_id/events?after=$job_event_id", None),
    (
        "training_file",
        "POST /v1/fine_tuning/jobs",
        {"model": "harbour", "training_file": "$file_id"},
    ),
    (
        "validation_file",
        "POST /v1/fine_tuning/jobs",
        {"model": "harbour", "training_file": "@file_id", "validation_file": "$file_id"},
    ),
]

# Fields that look like ids and name nothing of anybody's in the database.
NO_IDS = {
    "tool_call_id", "call_id", "id",  # of calls, within the request itself
    "last-event-id",  # the number of an event
    "before", "actor",  # lists that a role opens whoever they are of
    "cursor",  # a place in one's own list, whatever is in it
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with attacked(tmp_path_factory.mktemp("ids")) as one:
        yield one


@pytest.fixture(autouse=True)
def _still_serving(here: House) -> Iterator[None]:
    with survives(here):
        yield


@pytest.fixture(scope="module")
def anna(here: House) -> Things:
    """An administrator, so that there is one of everything."""
    return things(here, "admin")


@pytest.fixture(scope="module")
def ben(here: House) -> Things:
    return things(here, "admin")


def routes(here: House) -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and kinds of id of every route that takes the id of what is somebody's."""
    for route in api_routes(here.app.routes):
        path = route.path
        if path in SHARED or path.startswith(BY_ROLE) or "{_}" in path or "{" not in path:
            continue
        kinds = [NAMES.get((path, name), name) for name in re.findall(r"\{([a-z_]+)", path)]
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            yield method, path, kinds


def absent(one: str) -> str:
    """An id of the same form that is nobody's."""
    return one[:-6] + ("zzzzzz" if not one.endswith("zzzzzz") else "yyyyyy")


def filled(path: str, kinds: list[str], ids: dict[str, str]) -> str:
    for kind in kinds:
        path = re.sub(r"\{[^}]*\}", ids[kind], path, count=1)
    return path


def answer(browser: Browser, method: str, path: str, body: Any, ids: dict[str, str]) -> Any:
    """What comes back, with the ids that were sent taken out."""
    reply = browser.send(method, path, body)
    text = reply.text
    for one in ids.values():
        text = text.replace(one, "ID")
    text = re.sub(r"\b(run|cnv|msg)_[0-9a-f]{32}", "NEW", text)
    return reply.status_code, text, reply.headers.get("content-type")


@pytest.mark.parametrize("role", ["user", "admin"])
def test_foreign_ids_in_every_path(here: House, anna: Things, role: str) -> None:
    _, ben = here.member(role)
    nothing = {name: absent(one) for name, one in anna.ids.items()}
    before = anna.snapshot()
    count = 0
    for method, path, kinds in routes(here):
        assert set(kinds) <= anna.ids.keys(), f"ids of a new kind: {method} {path}"
        body = BODIES.get(f"{method} {path}")
        theirs, none = (
            answer(ben, method, filled(path, kinds, ids), body, ids) for ids in (anna.ids, nothing)
        )
        assert theirs == none, f"{method} {path}"
        if theirs[0] == 403:  # refused at the door: the route is for another role altogether
            assert "role_required" in theirs[1] and role == "user" and "fine_tuning" in path
        elif not (method == "POST" and path.endswith("/files")):  # that one wants a form: below
            assert theirs[0] == 404, f"{method} {path}: {theirs}"
        count += 1
    assert count > 30
    for ids in (anna.ids, nothing):
        reply = upload(ben, f"/collections/{ids['collection_id']}/files", "x.md", b"# Mine")
        assert reply.status_code == 404
    assert anna.snapshot() == before


def test_the_owner_comes_in_with_the_same_requests(here: House) -> None:
    """Otherwise the walk could be refused for something else."""
    mine = things(here, "admin")
    wrong = []
    everything = sorted(routes(here), key=lambda r: (r[0] == "DELETE", r[1].count("/")))
    for method, path, kinds in [r for r in everything if r[0] != "DELETE"]:
        body = BODIES.get(f"{method} {path}")
        reply = mine.browser.send(method, filled(path, kinds, mine.ids), body)
        wants_form = method == "POST" and path.endswith("/files")
        over = "job_is_over" in reply.text
        if not (reply.is_success or wants_form or over):
            wrong.append((method, path, reply.status_code, reply.text))
    assert not wrong


@pytest.mark.parametrize(("field", "request_", "body"), FIELDS)
def test_foreign_ids_in_fields(
    here: House, anna: Things, ben: Things, field: str, request_: str, body: Any
) -> None:
    nothing = {name: absent(one) for name, one in anna.ids.items()}
    before = anna.snapshot()

    def told(ids: dict[str, str]) -> Any:
        text = json.dumps([request_, body])
        text = re.sub(r"\$([a-z_]+)", lambda m: ids[m[1]], text)
        text = re.sub(r"@([a-z_]+)", lambda m: ben.ids[m[1]], text)
        asked, sent = json.loads(text)
        return answer(ben.browser, *asked.split(" ", 1), sent, ids)

    theirs, none = told(anna.ids), told(nothing)
    assert theirs == none, field
    # A collection that is not there (any more) is no reason not to answer: see below.
    assert theirs[0] in ((201,) if field == "collections" else (400, 404)), theirs
    assert anna.snapshot() == before


def test_every_field_with_an_id_is_among_them(here: House) -> None:
    """By the OpenAPI document: a new field that takes ids is tried here too, or said not to be."""
    tried = {field for field, _, _ in FIELDS} | NO_IDS
    names: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.get("properties", {}).items():
                if isinstance(inner, dict):
                    names.add(name)
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    for operations in here.app.openapi()["paths"].values():
        for operation in operations.values():
            collect(operation.get("requestBody", {}))
            names |= {p["name"] for p in operation.get("parameters", []) if p["in"] != "path"}
    like_ids = {
        name
        for name in names
        if name.endswith(("_id", "_file", "-id")) or name == "id"
        or name in ("tags", "collections", "attachments", "current_leaf", "leaf", "folder", "tag",
                    "after", "before", "cursor", "actor")
    }  # fmt: skip
    assert like_ids <= tried, like_ids - tried
    assert len(like_ids) > 15


def test_anothers_collection_is_not_searched(here: House, anna: Things) -> None:
    """Who may read it is asked at the search itself."""

    def told(browser: Browser, collection: str) -> str:
        body = {"text": "mooring fee?", "model": "harbour", "collections": [collection]}
        events = browser.get(f"/runs/{made(browser.post('/answers', body))['run_id']}/events").text
        return events.replace(collection, "ID")

    assert "north quay" in told(anna.browser, anna.ids["collection_id"])
    _, ben = here.member("admin")
    theirs = told(ben, anna.ids["collection_id"])
    assert "north quay" not in theirs and "collection_not_found" in theirs
    assert theirs == told(ben, absent(anna.ids["collection_id"]))


def test_anothers_stream(here: House, anna: Things) -> None:
    """Neither while it is written nor afterwards, neither read nor stopped."""
    _, ben = here.member("admin")
    engine = here.service.registry._load("harbour").engine
    engine.seconds = 0.05
    try:
        body = {"text": "SAY " + "word " * 40, "model": "harbour"}
        run = made(anna.browser.post("/answers", body))["run_id"]
        assert [one["run_id"] for one in made(anna.browser.get("/runs"))["data"]] == [run]
        assert ben.get(f"/runs/{run}/events").status_code == 404
        assert ben.get(f"/runs/{run}/events", headers={"Last-Event-ID": "1"}).status_code == 404
        assert ben.post(f"/runs/{run}/stop").status_code == 404
        assert made(ben.get("/runs"))["data"] == []
    finally:
        engine.seconds = 0.0
    heard = anna.browser.get(f"/runs/{run}/events").text
    assert '"status": "done"' in heard or '"status":"done"' in heard
    assert ben.get(f"/runs/{run}/events").status_code == 404
