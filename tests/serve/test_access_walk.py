"""Every route of the application is walked as nobody, by each role and with keys of each scope,
and lets in exactly those that it says. Routes that are added later are walked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts_server import HTTP, Browser, House, house
from chatwright.serve import Limits
from chatwright.serve.access import SCOPES, Access, Role, access_of, api_routes
from chatwright.serve.limits import Rate

# What refuses a request before its handler sees it; other refusals are the handler's own.
REFUSALS = {"not_signed_in", "role_required", "scope_required"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, knowledge: Path) -> Iterator[House]:
    limits = Limits(rates={"api": Rate(1e6, 1e6)})  # a walk is a lot of requests
    with house(tmp_path_factory.mktemp("walk"), limits=limits, knowledge=knowledge) as one:
        one.person("admin")
        yield one


def walk(here: House) -> Iterator[tuple[str, str, Access]]:
    """Method, path and need of every route; no id in a path is anything's."""
    for route in api_routes(here.app.routes):
        access = access_of(route)
        assert access is not None, route.path
        path = re.sub(r"\{[^}]*\}", "nothing-of-this-name", route.path)
        for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
            yield method, path, access


def refusal(browser: Browser, method: str, path: str) -> str | None:
    """By what code the request was refused at the door, or None where it was let in.

    No body is sent: a handler that wants one says so, and changes nothing.
    """
    headers = {"X-Forwarded-For": browser.address, "Origin": browser.base}
    if browser.cookies:
        headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in browser.cookies.items())
    if getattr(browser, "key", ""):
        headers["Authorization"] = f"Bearer {browser.key}"  # type: ignore[attr-defined]
    with HTTP.stream(method, browser.base + path, headers=headers) as answer:
        assert answer.status_code < 500 or answer.status_code == 503, f"{method} {path}"
        if answer.status_code not in (401, 403):
            return None
        told: dict[str, Any] = {}
        answer.read()
        told = answer.json()["error"]
    HTTP.cookies.clear()
    code = told["code"]
    assert (code in REFUSALS) <= (answer.status_code == (401 if code == "not_signed_in" else 403))
    return code if code in REFUSALS else None


def test_the_walk_comes_everywhere(here: House) -> None:
    paths = {path for _, path, _ in walk(here)}
    assert {"/v1/chat/completions", "/v1/chatwright/me", "/v1/chatwright/admin/people"} <= paths
    assert len(list(walk(here))) > 60


def test_nobody_comes_in_where_it_is_not_public(here: House) -> None:
    browser = here.browser()
    for method, path, access in walk(here):
        expected = None if access.role is None else "not_signed_in"
        assert refusal(browser, method, path) == expected, f"{method} {path}"
        assert not browser.cookies


@pytest.mark.parametrize("role", list(Role))
def test_each_role_comes_in_where_it_may(here: House, role: Role) -> None:
    person, browser = here.member(role.value)
    for method, path, access in walk(here):
        expected = None if access.role is None or role.covers(access.role) else "role_required"
        assert refusal(browser, method, path) == expected, f"{role}: {method} {path}"
        if path == "/v1/chatwright/session" and method == "DELETE":
            browser = here.signed_in(person)  # that one has just signed out


def test_a_key_comes_in_with_its_scope_only(here: House) -> None:
    person = here.person("admin")  # so that the scope alone decides
    with_one = {scope: here.by_key(here.key(person, (scope,))) for scope in SCOPES}
    without = {
        scope: here.by_key(here.key(person, tuple(s for s in SCOPES if s != scope)))
        for scope in SCOPES
    }
    for method, path, access in walk(here):
        if access.role is None:
            continue
        if access.scope is None:
            assert refusal(with_one["chat"], method, path) is None, f"{method} {path}"
            continue
        assert access.scope in SCOPES, f"{method} {path}"
        assert refusal(with_one[access.scope], method, path) is None, f"{method} {path}"
        assert refusal(without[access.scope], method, path) == "scope_required", f"{method} {path}"


def test_the_key_of_a_user_opens_nothing_of_the_administrators(here: House) -> None:
    program = here.by_key(here.key(here.person()))
    for method, path, access in walk(here):
        if access.role is not None and not Role.user.covers(access.role):
            assert refusal(program, method, path) == "role_required", f"{method} {path}"


def test_administration_needs_the_scope_of_it(here: House) -> None:
    """A key that is made for chatting must not administer, whoever has made it."""
    open_ones = {
        f"{method} {path}"
        for method, path, access in walk(here)
        if access.role is Role.admin and access.scope not in ("admin", "fine_tuning")
    }
    assert open_ones <= {"GET /v1/chatwright/arena/studies/nothing-of-this-name/results"}
