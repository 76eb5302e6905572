from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from accounts_server import PASSWORD, House, house
from chatwright.serve import ratelimit
from chatwright.serve.access import Identity, Role
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits, Rate
from chatwright.serve.ratelimit import Buckets, Delays, Rates, count, network, sweep
from chatwright.serve.store import Store, memory_store
from chatwright.serve.store.tables import Attempt, now


class Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def store() -> Iterator[Store]:
    made = memory_store()
    yield made
    made.close()


def who(person: str, key: str) -> Identity:
    return Identity(person, "", Role.user, "key", frozenset(), key)


@pytest.fixture
def long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever must wait must wait for long, so that a slow machine sees the same."""
    monkeypatch.setattr(ratelimit, "_ACCOUNT", replace(ratelimit._ACCOUNT, first=500.0))
    monkeypatch.setattr(ratelimit, "_ADDRESS", replace(ratelimit._ADDRESS, first=500.0))
    for kind, pair in ratelimit._BY_KIND.items():
        longer = tuple(replace(delays, first=500.0) for delays in pair)
        monkeypatch.setitem(ratelimit._BY_KIND, kind, longer)


# Token buckets


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.1, 5), st.integers(1, 10))
def test_a_bucket_lets_through_what_its_rate_says(
    gaps: list[float], per_second: float, burst: int
) -> None:
    clock, passed = Clock(), []
    buckets = Buckets(clock=clock)
    for gap in gaps:
        clock.at += gap
        wait = buckets.wait([(("api", "a"), Rate(per_second, burst))])
        if wait == 0:
            passed.append(clock.at)
        else:
            assert 0 < wait <= 1 / per_second + 1e-9
    # In no stretch of time more than the burst and what has flowed in since.
    for n, start in enumerate(passed):
        for m in range(n, len(passed)):
            assert m - n + 1 <= burst + (passed[m] - start) * per_second + 1e-6


def test_an_empty_bucket_takes_from_no_other() -> None:
    clock = Clock()
    buckets = Buckets(clock=clock)
    small, large = (("g", "small"), Rate(1, 1)), (("g", "large"), Rate(1, 3))
    assert buckets.wait([small, large]) == 0
    for _ in range(10):
        assert buckets.wait([small, large]) > 0
    assert buckets.wait([large]) == 0
    assert buckets.wait([large]) == 0
    assert buckets.wait([large]) > 0


def test_memory_is_bounded() -> None:
    buckets = Buckets(most=100)
    for number in range(1000):
        buckets.wait([(("g", str(number)), Rate(1, 1))])
    assert len(buckets) == 100


@pytest.mark.anyio
async def test_keys_people_and_addresses_are_counted_each(store: Store) -> None:
    clock = Clock()
    limits = Limits(rates={"api": Rate(1, 2)})
    rates = Rates(store, limits, clock=clock)

    async def refused(one: Identity | None, address: str, group: str = "api") -> bool:
        try:
            await rates.check(one, address, group)
        except ApiError as error:
            assert error.status == 429 and error.code == "rate_limit_exceeded"
            assert int(error.response().headers["retry-after"]) >= 1
            return True
        return False

    key = who("ada", "key_1")
    assert [await refused(key, "10.0.0.1") for _ in range(3)] == [False, False, True]
    assert not await refused(key, "10.0.0.1", "another group")  # counted like "api", apart
    # Another key of hers has its own, up to what a person may.
    assert [await refused(who("ada", f"key_{n}"), f"10.0.1.{n}") for n in range(2, 6)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert not await refused(who("bob", "key_b"), "10.0.0.1")
    # Behind one address, many people together.
    clock.at = 100
    told = [await refused(who(f"p{n}", f"k{n}"), "10.0.0.9") for n in range(9)]
    assert told == [False] * 8 + [True]
    assert [await refused(None, "10.0.0.9") for _ in range(3)] == [False, False, True]
    clock.at = 101
    assert not await refused(None, "10.0.0.9")


def test_an_address_is_counted_as_a_household() -> None:
    assert network("10.0.0.1") == "10.0.0.1"
    assert network("::ffff:10.0.0.1") == "10.0.0.1"
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("x" * 200) == "x" * 64


# Exact counts


def test_delays_grow_and_have_an_end() -> None:
    delays = Delays(free=3, first=1, longest=100)
    assert [delays.before(n) for n in range(8)] == [0, 0, 0, 1, 2, 4, 8, 16]
    assert delays.before(10**9) == 100


def test_tries_count_across_processes_and_at_once(store: Store) -> None:
    delays = Delays(free=5)
    waits: list[float] = []

    def work() -> None:
        with store.begin() as session:
            waits.append(count(session, [("b", delays)]))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(wait == 0 for wait in waits) == 5
    assert all(0 < wait <= 1 for wait in waits if wait)
    with store.begin() as session:  # what had to wait was not counted
        assert session.scalar(select(Attempt.count)) == 5
        session.execute(update(Attempt).values(expires_at=now() - timedelta(seconds=1)))
    with store.begin() as session:
        assert count(session, [("b", delays)]) == 0  # forgotten after an hour
        session.execute(update(Attempt).values(expires_at=now() - timedelta(seconds=1)))
        sweep(session)
        assert session.scalar(select(func.count()).select_from(Attempt)) == 0


def test_of_two_buckets_both_count_or_none(store: Store) -> None:
    with store.begin() as session:
        assert count(session, [("narrow", Delays(free=1)), ("wide", Delays(free=9))]) == 0
        assert count(session, [("narrow", Delays(free=1)), ("wide", Delays(free=9))]) > 0
        told = dict(session.execute(select(Attempt.bucket, Attempt.count)).all())
    assert told == {"narrow": 1, "wide": 1}


def test_success_forgets_an_accounts_tries_and_one_of_the_address(store: Store) -> None:
    rates = Rates(store, Limits())

    async def work() -> dict[str, int]:
        for _ in range(4):
            await rates.attempt("sign_in", account="a", address="10.0.0.1")
        await rates.passed("sign_in", account="a", address="10.0.0.1")
        return await store.read(
            lambda session: dict(session.execute(select(Attempt.bucket, Attempt.count)).all())
        )

    assert anyio.run(work) == {"sign_in:address:10.0.0.1": 3}


# At the server

pytestmark = pytest.mark.usefixtures("long_delays")


def tries(here: House, email: str, times: int, **more: Any) -> list[int]:
    return [here.browser(**more).sign_in(email, f"wrong {n}").status_code for n in range(times)]


def test_guessing_at_one_account_from_everywhere_is_slowed(house_: House) -> None:
    person = house_.person()
    assert tries(house_, person.email, 7) == [401] * 5 + [429] * 2
    answer = house_.browser().sign_in(person.email)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    # One that is no account looks the same.
    assert tries(house_, f"nobody.{person.email}", 7) == [401] * 5 + [429] * 2
    # And others are not in the way.
    assert house_.browser().sign_in(house_.person().email).status_code == 200


def test_guessing_at_all_accounts_from_one_address_is_slowed(house_: House) -> None:
    address = "203.0.113.77"
    told = [tries(house_, f"many{n}@example.org", 1, address=address)[0] for n in range(22)]
    assert told == [401] * 20 + [429] * 2
    assert house_.browser().sign_in(house_.person().email).status_code == 200


def test_a_stranger_cannot_lock_the_owner_out(house_: House) -> None:
    person = house_.person()
    known = house_.browser()
    assert known.sign_in(person.email).status_code == 200
    session = dict(known.cookies)
    assert tries(house_, person.email, 8)[-1] == 429
    for address in (known.address, "203.0.113.5"):  # also from another place
        browser = house_.browser(cookies=session, address=address)
        assert browser.get("/me").status_code == 200
        browser.cookies.pop("chatwright")
        assert browser.sign_in(person.email).status_code == 200
    # The device is known for this account only, and cannot be made up.
    other = house_.person()
    device = {"chatwright-device": session["chatwright-device"]}
    assert [house_.browser(cookies=device).sign_in(other.email, "w").status_code
            for _ in range(7)] == [401] * 5 + [429] * 2  # fmt: skip
    forged = {"chatwright-device": session["chatwright-device"][:-4] + "AAAA"}
    assert house_.browser(cookies=forged).sign_in(person.email).status_code == 429
    # A stolen device guesses no faster than anybody.
    assert [house_.browser(cookies=device).sign_in(person.email, "w").status_code
            for _ in range(7)] == [401] * 5 + [429] * 2  # fmt: skip


def test_a_thousand_wrong_keys_are_slowed_and_others_served(tmp_path: Path) -> None:
    limits = Limits(rates={**Limits().rates, "credentials": Rate(1, 5)})
    with house(tmp_path, limits=limits) as here:
        person = here.person("admin")
        good = here.by_key(here.key(person))
        program = here.by_key("cw-wrong")
        told = [program.get("/me").status_code for _ in range(8)]
        assert told == [401] * 5 + [429] * 3
        cookie = here.browser(cookies={"chatwright": "wrong"}, address=program.address)
        assert cookie.get("/me").status_code == 429
        assert good.get("/me").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "free"),
    [
        ("/setup", {"token": "x", "name": "x", "email": "EMAIL", "password": PASSWORD}, 5),
        ("/sign-up", {"invitation": "x", "name": "x", "email": "EMAIL", "password": PASSWORD}, 10),
    ],
)
def test_tokens_cannot_be_tried_out(
    tmp_path: Path, path: str, body: dict[str, str], free: int
) -> None:
    with house(tmp_path, sign_up="invitation") as here:
        if path != "/setup":
            here.person("admin")
        browser = here.browser()
        told = [
            browser.post(path, {**body, "email": f"e{n}@example.org"}).status_code
            for n in range(free + 2)
        ]
        assert told == [403] * free + [429] * 2


def test_the_password_of_a_stolen_session_cannot_be_tried_out(house_: House) -> None:
    _, browser = house_.member()
    new = {"new": "a long walk elsewhere"}
    told = [
        browser.post("/me/password", {"current": f"wrong {n}", **new}).status_code for n in range(7)
    ]
    assert told == [403] * 5 + [429] * 2


def test_waiting_helps(house_: House) -> None:
    person = house_.person()
    assert tries(house_, person.email, 6) == [401] * 5 + [429]
    with house_.store.begin() as session:  # as if 501 seconds had gone by
        for row in session.scalars(select(Attempt)):
            row.expires_at -= timedelta(seconds=501)
    assert house_.browser().sign_in(person.email).status_code == 200
    assert tries(house_, person.email, 5) == [401] * 5  # and success forgets
