"""Somebody else's ids, on every route that takes one: answered exactly like ids of nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attack_house import Things, ask, attacked, made, survives, things

from accounts_server import Browser, House
from chatwright.serve.access import access_of, api_routes

OURS = "/v1/chatwright"

# Ids of what belongs to everybody, or which the role opens whoever it is of.
SHARED = {
    f"{OURS}/passages/{{passage_id}}",  # public pages that an assistant was made from
    "/v1/models/{name:path}",
    f"{OURS}/shared/{{token}}",  # a secret of its own: test_shares_exports
}
BY_ROLE = (f"{OURS}/admin/", f"{OURS}/arena/")
PAGES = re.compile(r"\{_\}$")

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

# Fields of bodies and queries that hold ids: how somebody would put another's there.
FIELDS: list[tuple[str, str, str, Any]] = [
    # field, request, path, body (a dollar names one of the things)
    ("folder_id", "POST", "/conversations", {"folder_id": "$folder_id"}),
    ("folder_id", "PATCH", "/conversations/@", {"folder_id": "$folder_id"}),
    ("tags", "PATCH", "/conversations/@", {"tags": ["$tag_id"]}),
    ("current_leaf", "PATCH", "/conversations/@", {"current_leaf": "$message_id"}),
    ("leaf", "POST", "/conversations/@/shares", {"leaf": "$message_id"}),
    ("leaf", "GET", "/conversations/@/export?leaf=$message_id", None),
    ("folder", "GET", "/conversations?folder=$folder_id", None),
    ("tag", "GET", "/conversations?tag=$tag_id", None),
    ("conversation_id", "POST", "/answers", {"text": "x", "conversation_id": "$conversation_id"}),
    (
        "parent_id",
        "POST",
        "/answers",
        {"text": "x", "conversation_id": "@", "parent_id": "$message_id"},
    ),
    (
        "message_id",
        "POST",
        "/answers",
        {"action": "regenerate", "conversation_id": "@", "message_id": "$message_id"},
    ),
    (
        "message_id",
        "POST",
        "/answers",
        {"action": "continue", "conversation_id": "$conversation_id", "message_id": "$message_id"},
    ),
    ("persona_id", "POST", "/answers", {"text": "x", "persona_id": "$persona_id"}),
    ("collections", "POST", "/answers", {"text": "x", "collections": ["$collection_id"]}),
    ("attachments", "POST", "/answers", {"text": "x", "attachments": ["$attachment_id"]}),
    ("attachments", "POST", "/answers", {"text": "x", "attachments": ["$file_id"]}),
    (
        "left_id",
        "POST",
        "/comparisons",
        {"left_id": "$message_id", "right_id": "$other_message_id", "choice": "tie"},
    ),
    (
        "right_id",
        "POST",
        "/comparisons",
        {"left_id": "@answer", "right_id": "$message_id", "choice": "tie"},
    ),
    ("after", "GET", "/v1/files?after=$file_id", None),
    ("after", "GET", "/v1/fine_tuning/jobs?after=$job_id", None),
    (
        "training_file",
        "POST",
        "/v1/fine_tuning/jobs",
        {"model": "harbour", "training_file": "$file_id"},
    ),
    (
        "validation_file",
        "POST",
        "/v1/fine_tuning/jobs",
        {"model": "harbour", "training_file": "@file", "validation_file": "$file_id"},
    ),
]

# Id-like fields that name nothing of anybody's here.
NO_IDS = {
    "tool_call_id",  # chat completions: ids within the request itself
    "call_id",
    "id",  # of calls within the request, and of a model
    "client_id",
    "before",  # numbers of audit lines, and records that annotators may see all
    "cursor",  # checked against the owner's rows: test_history
    "persona_id@settings",
    "collections@settings",  # kept as they are, and looked at when they are used (below)
    "previous_response_id",
    "last-event-id",
    "actor",
    "after@events",  # a number of an event
    "after@checkpoints",  # a job has none
}


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


def parameters(path: str) -> list[str]:
    return re.findall(r"\{([a-z_]+)", path)


def routes(here: House) -> Iterator[tuple[str, str]]:
    """Method and path of every route that takes the id of something that belongs to somebody."""
    for route in api_routes(here.app.routes):
        path = route.path
        personal = not (path in SHARED or path.startswith(BY_ROLE) or PAGES.search(path))
        if "{" in path and personal:
            for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
                yield method, path


def absent(one: str) -> str:
    """An id of the same form that is nobody's."""
    return one[:-6] + ("zzzzzz" if not one.endswith("zzzzzz") else "yyyyyy")


def filled(path: str, ids: dict[str, str]) -> str:
    for name in parameters(path):
        path = path.replace(f"{{{name}}}", ids[NAMES.get((path, name), name)])
    return path


def answer(browser: Browser, method: str, path: str, body: Any, ids: dict[str, str]) -> Any:
    """Status and body, with the ids that were sent taken out."""
    reply = browser.send(method, path, body)
    text = reply.text
    for one in ids.values():
        text = text.replace(one, "ID")
    return reply.status_code, text, reply.headers["content-type"]


@pytest.mark.parametrize("role", ["user", "admin"])
def test_every_path(here: House, anna: Things, role: str) -> None:
    _, ben = here.member(role)
    nothing = {name: absent(one) for name, one in anna.ids.items()}
    before = anna.snapshot()
    count = 0
    for method, path in routes(here):
        names = [NAMES.get((path, name), name) for name in parameters(path)]
        assert set(names) <= anna.ids.keys(), f"a new kind of id: {method} {path}"
        body = BODIES.get(f"{method} {path}")
        theirs, none = (
            answer(ben, method, _filled(path, names, ids), body, ids) for ids in (anna.ids, nothing)
        )
        assert theirs == none, f"{method} {path}"
        if theirs[0] == 403:  # at the door: the route is for another role altogether
            assert "role_required" in theirs[1] and role == "user"
            assert path.startswith("/v1/fine_tuning/")
        elif not (method == "POST" and path.endswith("/files")):  # which wants a form
            assert theirs[0] == 404, f"{method} {path}: {theirs}"
        count += 1
    assert count > 35
    assert anna.snapshot() == before


def _filled(path: str, names: list[str], ids: dict[str, str]) -> str:
    return re.sub(r"\{[^}]*\}", lambda _: ids[names.pop(0)] if names else "", path) if False else (
        _fill(path, list(names), ids)
    )


def _fill(path: str, names: list[str], ids: dict[str, str]) -> str:
    for name in names:
        path = re.sub(r"\{[^}]*\}", ids[name], path, count=1)
    return path
