from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pyotp
import pytest
from sqlalchemy import select

from accounts_server import PASSWORD, Browser, House
from chatwright.serve import ratelimit
from chatwright.serve.accounts import totp
from chatwright.serve.store.tables import Person, RecoveryCode


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


class Clock:
    """Stands in for the time of the codes; a step is 30 seconds."""

    def __init__(self) -> None:
        self.at = 1_800_000_015.0

    def time(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(totp, "time", made)
    return made


@pytest.fixture
def guarded(house_: House, clock: Clock) -> tuple[Person, Browser, pyotp.TOTP, list[str]]:
    """Somebody with a second factor."""
    person, browser = house_.member()
    started = browser.post("/me/totp").json()
    app = pyotp.TOTP(started["secret"])
    answer = browser.post("/me/totp/confirm", {"code": app.at(int(clock.at))})
    assert answer.status_code == 200
    clock.at += 60
    return person, browser, app, answer.json()["recovery_codes"]


def test_a_second_factor_is_begun_shown_and_confirmed(house_: House, clock: Clock) -> None:
    person, browser = house_.member()
    assert code(browser.post("/me/totp/confirm", {"code": "123456"})) == "totp_not_started"
    started = browser.post("/me/totp").json()
    parsed = pyotp.parse_uri(started["uri"])
    assert parsed.secret == started["secret"] and parsed.name == person.email
    assert started["svg"].startswith("<svg") and "<script" not in started["svg"]
    rows = started["modules"]
    assert len({len(row) for row in rows}) == 1 and len(rows) == len(rows[0])
    assert rows[0].startswith("1111111") and set("".join(rows)) == {"0", "1"}
    # Begun is not on: one can still sign in without.
    assert house_.browser().sign_in(person.email).status_code == 200
    assert browser.get("/me").json()["totp_enabled"] is False
    app = pyotp.TOTP(started["secret"])
    wrong = browser.post("/me/totp/confirm", {"code": app.at(int(clock.at) - 3000)})
    assert (wrong.status_code, code(wrong)) == (400, "invalid_code")
    codes = browser.post("/me/totp/confirm", {"code": app.at(int(clock.at))}).json()
    assert len(set(codes["recovery_codes"])) == 10
    assert browser.get("/me").json()["totp_enabled"] is True
    assert code(browser.post("/me/totp")) == "totp_enabled"
    with house_.store.begin() as session:
        row = session.get(Person, person.id)
        assert started["secret"].encode() not in row.sealed_totp
        kept = session.scalars(select(RecoveryCode).where(RecoveryCode.person_id == person.id))
        hashes = " ".join(one.code_hash for one in kept)
        assert not any(c in hashes or c.replace("-", "") in hashes for c in codes["recovery_codes"])


def test_sign_in_takes_the_password_and_a_code(house_: House, clock: Clock, guarded: Any) -> None:
    person, _, app, _ = guarded
    browser = house_.browser()
    assert code(browser.sign_in(person.email)) == "second_factor_required"
    assert code(browser.sign_in(person.email, "wrong")) == "invalid_credentials"
    right = app.at(int(clock.at))
    assert code(browser.sign_in(person.email, "wrong", right)) == "invalid_credentials"
    assert code(browser.sign_in(person.email, PASSWORD, "")) == "second_factor_required"
    for wrong in ("000000x", app.at(int(clock.at) - 90), app.at(int(clock.at) + 90), "０" * 6):
        assert code(browser.sign_in(person.email, PASSWORD, wrong)) == "invalid_code"
    assert browser.cookies == {}
    spaced = f" {right[:3]} {right[3:]} "
    assert browser.sign_in(person.email, PASSWORD, spaced).status_code == 200
    assert browser.get("/me").status_code == 200


def test_each_step_counts_once(house_: House, clock: Clock, guarded: Any) -> None:
    person, _, app, _ = guarded
    here, before = app.at(int(clock.at)), app.at(int(clock.at) - 30)
    assert house_.browser().sign_in(person.email, PASSWORD, here).status_code == 200
    assert code(house_.browser().sign_in(person.email, PASSWORD, here)) == "invalid_code"
    # An older step neither, though it would be within the tolerance.
    assert code(house_.browser().sign_in(person.email, PASSWORD, before)) == "invalid_code"
    clock.at += 30
    answers: list[int] = []
    fresh = app.at(int(clock.at))

    def use() -> None:
        answers.append(house_.browser().sign_in(person.email, PASSWORD, fresh).status_code)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(200) == 1


def test_a_recovery_code_stands_in_once(house_: House, guarded: Any) -> None:
    person, _, _, codes = guarded
    told = codes[0].upper().replace("-", " ")
    assert house_.browser().sign_in(person.email, PASSWORD, told).status_code == 200
    assert code(house_.browser().sign_in(person.email, PASSWORD, codes[0])) == "invalid_code"
    other = house_.person()
    with house_.store.begin() as session:
        assert not totp.use_recovery_code(session, other, codes[1])  # somebody else's
    assert house_.browser().sign_in(person.email, PASSWORD, codes[1]).status_code == 200


def test_switching_it_off_takes_the_password(house_: House, guarded: Any) -> None:
    person, browser, _, _ = guarded
    assert code(browser.delete("/me/totp", {"password": "wrong"})) == "wrong_password"
    assert code(browser.delete("/me/totp", {})) == "wrong_password"
    assert browser.delete("/me/totp", {"password": PASSWORD}).status_code == 204
    assert house_.browser().sign_in(person.email).status_code == 200
    with house_.store.begin() as session:
        assert session.get(Person, person.id).sealed_totp is None
        wanted = select(RecoveryCode).where(RecoveryCode.person_id == person.id)
        assert session.scalars(wanted).all() == []


def test_codes_cannot_be_tried_out(
    house_: House, clock: Clock, guarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "_ACCOUNT", replace(ratelimit._ACCOUNT, first=500.0))
    person, _, app, _ = guarded
    told = [
        house_.browser().sign_in(person.email, PASSWORD, f"{n:06}").status_code for n in range(7)
    ]
    assert told == [401] * 5 + [429] * 2
    refused = house_.browser().sign_in(person.email, PASSWORD, app.at(int(clock.at)))
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
