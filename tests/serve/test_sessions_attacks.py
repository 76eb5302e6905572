from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from accounts_server import HTTP, PASSWORD, House, house
from chatwright.serve.accounts import accounts as accounts_module
from chatwright.serve.accounts.accounts import IdentityCache
from chatwright.serve.accounts.sessions import IDLE, LONGEST, note_session
from chatwright.serve.store.tables import Person, SignIn, now


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def test_forged_cookies_and_keys_are_refused(house_: House) -> None:
    person, browser = house_.member()
    token = browser.cookies["chatwright"]
    key = house_.key(person)
    for forged in (token[:-1], token + "A", token.swapcase(), "x" * 43, "0", "x" * 5000, key,
                   "' OR 1=1 --", "%00", person.id):  # fmt: skip
        answer = house_.browser(cookies={"chatwright": forged}).get("/me")
        assert (answer.status_code, code(answer)) == (401, "session_expired"), forged
    for forged in (key[:-1], key + "A", key.upper(), "cw-", "cw-" + "x" * 5000, token, "none"):
        answer = house_.by_key(forged).get("/me")
        assert (answer.status_code, code(answer)) == (401, "invalid_api_key"), forged
    assert browser.get("/me").status_code == 200


def test_an_authorization_header_decides_alone(house_: House) -> None:
    person, browser = house_.member()
    other = house_.person()
    for header in ("Bearer cw-nothing", "Bearer", "", "Basic YTpi", "Bearer " + PASSWORD,
                   f"Bearer {browser.cookies['chatwright']}"):  # fmt: skip
        answer = browser.get("/me", headers={"Authorization": header})
        assert (answer.status_code, code(answer)) == (401, "invalid_api_key"), header
    both = browser.get("/me", headers={"Authorization": f"bearer {house_.key(other)}"})
    assert both.json()["id"] == other.id
    small = house_.key(person, ("chat",))
    answer = browser.get("/me", headers={"Authorization": f"Bearer {small}"})
    assert (answer.status_code, code(answer)) == (403, "scope_required")


def test_doubled_headers_and_cookies_are_refused(house_: House) -> None:
    _, browser = house_.member()
    token = browser.cookies["chatwright"]
    key = house_.key(house_.person())
    host = house_.address.removeprefix("http://")
    url = f"{house_.address}/v1/chatwright/me"
    for headers in (
        [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")],
        [("Cookie", f"chatwright={token}"), ("Cookie", f"chatwright={token}")],
        [("Cookie", f"chatwright={token}; chatwright=other")],
        [("Cookie", f"chatwright=; chatwright={token}")],
    ):
        answer = HTTP.get(url, headers=[("Host", host), *headers])
        assert (answer.status_code, code(answer)) == (400, "duplicate_header"), headers
    answer = HTTP.get(url, headers={"Cookie": f"a=b; xchatwright=1; chatwright={token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "SAME.evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "SAME", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Referer": "SAME/"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "SAME"}, True),
        ({"Origin": "SAME", "Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_a_cookie_works_only_from_the_own_page(
    house_: House, headers: dict[str, str], allowed: bool
) -> None:
    person, browser = house_.member()
    browser.origin = None
    told = {k: v.replace("SAME", house_.address) for k, v in headers.items()}
    answer = browser.patch("/me", {"name": "Changed"}, headers=told)
    if allowed:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, code(answer)) == (403, "bad_origin")
        assert browser.get("/me").json()["name"] == person.name
    # A program with a key tells no origin, and needs none.
    assert house_.by_key(house_.key(person)).patch("/me", {"theme": "dark"}).status_code == 200


def test_another_pages_form_signs_nobody_in_or_out(house_: House) -> None:
    person, browser = house_.member()
    form = {"Content-Type": "text/plain", "Origin": "https://evil.example"}
    url = f"{house_.address}/v1/chatwright/session"
    told = f'{{"email": "{person.email}", "password": "{PASSWORD}"}}'
    assert HTTP.post(url, content=told, headers=form).status_code == 403
    assert HTTP.post(url, content=told, headers={"Content-Type": "text/plain"}).status_code == 415
    browser.origin = None
    assert browser.delete("/session").status_code == 403
    assert browser.get("/me").status_code == 200


def test_another_host_name_is_refused(house_: House) -> None:
    _, browser = house_.member()
    answer = browser.get("/me", headers={"Host": "evil.example"})
    assert (answer.status_code, code(answer)) == (421, "bad_host")


def test_sessions_end_when_unused_and_after_ninety_days_anyway(house_: House) -> None:
    person, browser = house_.member()

    def session_row() -> SignIn:
        with house_.store.begin() as session:
            return session.query(SignIn).filter(SignIn.person_id == person.id).one()

    def age(**values: Any) -> None:
        with house_.store.begin() as session:
            session.execute(update(SignIn).where(SignIn.person_id == person.id).values(**values))
        house_.service.accounts.forget_all()

    at = now()
    assert session_row().expires_at - at <= IDLE
    age(last_seen_at=at - timedelta(days=20), expires_at=at + timedelta(days=10))
    assert browser.get("/me").status_code == 200
    assert session_row().expires_at > at + IDLE - timedelta(minutes=1)  # it slides

    age(created_at=at - timedelta(days=85), last_seen_at=at - timedelta(days=1))
    assert browser.get("/me").status_code == 200
    assert session_row().expires_at == session_row().created_at + LONGEST  # but not for ever

    age(expires_at=at - timedelta(seconds=1))
    answer = browser.get("/me")
    assert (answer.status_code, code(answer)) == (401, "session_expired")
    state = browser.get("/session")
    assert state.json()["state"] == "signed_out" and "chatwright" not in browser.cookies
    with house_.store.begin() as session:
        note_session(session, "ses_gone", "")  # nothing to note, and no error


def test_a_disabled_or_lowered_person_is_out_at_once(house_: House) -> None:
    _, admin = house_.member("admin")
    person, browser = house_.member("admin")
    program = house_.by_key(house_.key(person))
    for one in (browser, program):
        assert one.get("/admin/people").status_code == 200
    admin.patch(f"/admin/people/{person.id}", {"role": "user"})
    for one in (browser, program):
        assert code(one.get("/admin/people")) == "role_required"
        assert one.get("/me").status_code == 200
    admin.patch(f"/admin/people/{person.id}", {"status": "disabled"})
    for one in (browser, program):
        assert one.get("/me").status_code == 401
    admin.patch(f"/admin/people/{person.id}", {"status": "active"})
    assert program.get("/me").status_code == 200
    assert browser.get("/me").status_code == 401  # its sessions ended


def test_a_busy_credential_is_not_a_question_each_time(
    house_: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, browser = house_.member()
    asked = 0
    real = accounts_module.sessions.find_session

    def find(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return real(*arguments)

    monkeypatch.setattr(accounts_module.sessions, "find_session", find)
    started = time.monotonic()
    for _ in range(10):
        assert browser.get("/me").status_code == 200
    assert asked <= 1 + (time.monotonic() - started) / accounts_module.FRESH_SECONDS


def test_another_process_sees_a_revocation_within_two_seconds(house_: House) -> None:
    person, browser = house_.member()
    assert browser.get("/me").status_code == 200
    with house_.store.begin() as session:  # not through this server
        session.execute(update(Person).where(Person.id == person.id).values(status="disabled"))
    end = time.monotonic() + 2
    while browser.get("/me").status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_cache_never_keeps_what_was_read_before_a_change() -> None:
    at = [0.0]
    cache = IdentityCache(1.5, most=2, clock=lambda: at[0])
    who: Any = type("Who", (), {"person_id": "usr_1"})()
    before = cache.changes
    cache.forget("usr_1")  # while the database is asked
    cache.put("h", who, before, None)
    assert cache.get("h") is None
    cache.put("h", who, cache.changes, None)
    assert cache.get("h") is who
    at[0] = 1.6
    assert cache.get("h") is None
    cache.put("h", who, cache.changes, now() - timedelta(seconds=1))  # has ended meanwhile
    assert cache.get("h") is None
    for name in "abc":
        cache.put(name, who, cache.changes, None)
    assert len(cache) == 2
    cache.forget("usr_1")
    assert len(cache) == 0


def test_over_tls_only_the_prefixed_secure_cookie_counts(tmp_path: Path) -> None:
    with house(tmp_path, secure_cookies=True, public_url="https://chat.example") as here:
        person = here.person("admin")
        browser = here.browser()
        answer = browser.sign_in(person.email)
        assert answer.status_code == 200
        cookie = answer.headers.get_list("set-cookie")[0]
        assert cookie.startswith("__Host-chatwright=") and "secure" in cookie.lower()
        token = browser.cookies["__Host-chatwright"]
        assert browser.get("/me").status_code == 200
        plain = here.browser(cookies={"chatwright": token})
        assert plain.get("/me").status_code == 401
        # A page of the same name in clear may be somebody else's.
        assert browser.patch("/me", {"theme": "dark"}).status_code == 403
        browser.origin = here.address.replace("http:", "https:")
        assert browser.patch("/me", {"theme": "dark"}).status_code == 200
        browser.patch("/admin/settings", {"sign_up": "invitation"})
        url = browser.post("/admin/invitations").json()["url"]
        assert url.startswith("https://chat.example/invite#")
