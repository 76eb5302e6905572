"""Who has an account, and what lets in: nothing of it can be found out or made up."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from attack_house import Things, attacked, made, rates, raw, survives, things
from sqlalchemy import update

from accounts_server import PASSWORD, Browser, House
from chat_server import until
from chatwright.serve import Limits
from chatwright.serve.access import access_of, api_routes
from chatwright.serve.store.tables import ApiKey, SignIn, now


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with attacked(tmp_path_factory.mktemp("people"), sign_up="invitation") as one:
        yield one


@pytest.fixture(scope="module")
def anna(here: House) -> Things:
    return things(here, "admin")


@pytest.fixture(autouse=True)
def _still_serving(here: House) -> Iterator[None]:
    with survives(here):
        yield


def guarded(here: House, anna: Things) -> Iterator[tuple[str, str]]:
    """Method and address of every route that asks who comes."""
    other = {"label_id": "folder_id"}
    for route in api_routes(here.app.routes):
        access = access_of(route)
        if access is not None and access.role is not None:
            path = re.sub(
                r"\{(\w+)[^}]*\}",
                lambda m: anna.ids.get(other.get(m[1], m[1]), "nothing"),
                route.path,
            )
            for method in sorted(route.methods - {"HEAD", "OPTIONS"}):
                yield method, path


def test_credentials_that_hold_no_more_open_no_route(here: House, anna: Things) -> None:
    """Expired, revoked, forged and mixed up, on every route: the same 401, and nothing is done."""
    person = here.person("admin")
    expired, revoked, signed_out = here.key(person), here.key(person), here.signed_in(person)
    ended = here.signed_in(person)
    with here.store.begin() as session:
        keys = session.query(ApiKey).filter(ApiKey.person_id == person.id).all()
        keys[0].expires_at = now() - timedelta(seconds=1)
        keys[1].revoked_at = now()
        session.execute(
            update(SignIn)
            .where(SignIn.person_id == person.id)
            .values(expires_at=now() - timedelta(seconds=1))
        )
    made_up: list[dict[str, str]] = [
        {"Authorization": f"Bearer {expired}"},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": "Bearer cw-" + "A" * 43},
        {"Authorization": f"Bearer {anna.browser.cookies['chatwright']}"},  # a cookie as a key
        {"Authorization": f"Basic {revoked}"},
        {"Authorization": ""},
        {"X-API-Key": here.key(person)},
        {"Cookie": f"chatwright={here.key(person)}"},  # a key as a cookie
        {"Cookie": f"chatwright={ended.cookies['chatwright']}"},
        {"Cookie": f"chatwright={signed_out.cookies['chatwright']}"},
        {"Cookie": f"__Host-chatwright={anna.browser.cookies['chatwright']}"},
        {"X-Forwarded-User": person.email, "X-Remote-User": person.id, "Remote-User": person.id},
    ]
    before = anna.snapshot()
    count = 0
    turn = itertools.cycle(made_up)
    for method, path in guarded(here, anna):
        # Each route gets a few in turn, some all.
        for headers in made_up if path.endswith(("/me", "/answers")) else (next(turn), next(turn)):
            reply = raw(here.browser(), method, path, b"{}", **headers)
            assert reply.status_code == 401, f"{method} {path} {headers}"
            count += 1
    assert count > 200
    assert anna.snapshot() == before


def test_a_good_cookie_does_not_help_a_bad_header(here: House, anna: Things) -> None:
    for method, path in guarded(here, anna):
        reply = raw(anna.browser, method, path, b"{}", Authorization="Bearer cw-nothing")
        assert reply.status_code == 401, f"{method} {path}"


def same(*replies: httpx.Response) -> httpx.Response:
    """All say the same, but for what was sent."""
    told = {(one.status_code, one.text, one.headers.get("set-cookie")) for one in replies}
    assert len(told) == 1, told
    return replies[0]


def test_nobody_learns_who_has_an_account(here: House) -> None:
    known, nobody = here.person(), "nobody@example.org"
    disabled = here.person(status="disabled")
    factor = here.person()
    emails = [known.email, nobody, disabled.email, factor.email, known.email.upper(), "x", ""]
    wrong = same(*(here.browser().sign_in(email, "wrong wrong wrong") for email in emails))
    assert wrong.status_code == 401 and known.email not in wrong.text
    same(*(here.browser().sign_in(email, "wrong wrong wrong", "123456") for email in emails[:4]))
    # Making an account: without an invitation it is not even looked for.
    body = {"name": "X", "password": PASSWORD}
    for more in ({}, {"invitation": "made up"}):
        reply = same(*(here.browser().post("/sign-up", {**body, "email": email, **more})
                       for email in (known.email, nobody)))  # fmt: skip
        assert reply.status_code == 403
    body |= {"token": "made up"}
    reply = same(*(here.browser().post("/setup", {**body, "email": email})
                   for email in (known.email, nobody)))  # fmt: skip
    assert reply.status_code in (403, 409)
    # What anybody may ask says nothing of who is here.
    told = json.dumps(made(here.browser().get("/session")))
    assert "example.org" not in told and known.id not in told


def test_people_learn_nothing_of_each_other(here: House, anna: Things) -> None:
    """Apart from administration no answer names somebody else."""
    secret = here.person(name="Zacharias Unique")
    _, ben = here.member()
    for method, path in guarded(here, anna):
        if method == "GET" and "/events" not in path:
            reply = raw(ben, method, path, kind=None)
            assert "Zacharias" not in reply.text and secret.id not in reply.text, path


def test_bodies_that_unpack_themselves(here: House, anna: Things) -> None:
    """A body is what it is: an encoding is not undone."""
    bomb = gzip.compress(b'{"text": "' + b"x" * (64 << 20) + b'"}')
    assert len(bomb) < 1 << 20
    for encoding in ("gzip", "deflate", "br", "zstd"):
        for path in ("/answers", "/v1/chat/completions", "/import"):
            headers = {"Content-Encoding": encoding}
            reply = raw(anna.browser, "POST", path, bomb, **headers)
            assert reply.status_code in (400, 415), (path, reply.text)


def test_lines_of_the_log_cannot_be_written_by_callers(
    here: House, anna: Things, caplog: pytest.LogCaptureFixture
) -> None:
    """No line holds what was asked, and none has a line end of a caller's in it."""
    caplog.set_level(logging.INFO)
    forged = '%0d%0a{"level":"error","event":"forged"}'
    plain = "\r\nFORGED \x1b[31m secret words"

    def tries(browser: Browser) -> None:
        raw(browser, "GET", f"/v1/models/{forged}")
        raw(browser, "GET", f"/search?q={forged}")
        raw(browser, "GET", f"/{forged}")
        browser.post("/answers", {"text": f"SAY CRASH {plain}", "model": "harbour"})
        browser.post("/v1/chat/completions", {"model": plain, "messages": plain})
        browser.post("/session", {"email": plain, "password": plain})
        raw(browser, "GET", "/me", **{"User-Agent": "forged", "X-Forwarded-For": "forged"})

    tries(anna.browser)
    tries(here.browser())
    for record in caplog.records:
        line = record.getMessage()
        # uvicorn's own line of a request quotes the path as it came: percent-encoded.
        assert "FORGED" not in line and "secret words" not in line and "\x1b" not in line, line
        assert "\r" not in line, line
    lines = made(anna.browser.get("/admin/audit?limit=200"))["data"]
    text: Any = json.dumps(lines)
    assert "FORGED" not in text and "secret words" not in text


def test_nobody_takes_all_places(tmp_path: Path) -> None:
    """Somebody who asks as much as they can leaves room for others."""
    limits = Limits(rates=rates(), active=4, active_of_one=3)
    with attacked(tmp_path / "busy", limits=limits) as house:
        engine: Any = house.service.registry._load("harbour").engine
        engine.seconds = 0.05
        greedy, friend = (house.by_key(house.key(house.person())) for _ in range(2))
        _, page = house.member()
        question = {"role": "user", "content": "SAY " + "word " * 100}
        long = {"model": "harbour", "messages": [question], "stream": True}
        told: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: told.append(greedy.post("/v1/chat/completions", long).status_code)
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        until(lambda: engine.active == 3)
        refused = greedy.post("/v1/chat/completions", long)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "too_many_of_yours"
        short = {"model": "harbour", "messages": [{"role": "user", "content": "SAY yes"}]}
        assert friend.post("/v1/chat/completions", short).status_code == 200
        assert made(page.post("/answers", {"text": "SAY yes", "model": "harbour"}))
        engine.seconds = 0.0
        for thread in threads:
            thread.join(20)
        assert told == [200] * 3
        until(lambda: house.service.slots.taken == 0)
        assert greedy.post("/v1/chat/completions", short).status_code == 200
        until(lambda: not house.service.slots._of)  # given back after the last byte
