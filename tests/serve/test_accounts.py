from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from accounts_server import PASSWORD, House, house
from chatwright.serve.accounts import first_start_link, passwords
from chatwright.serve.accounts.passwords import Passwords, check_password
from chatwright.serve.errors import ApiError
from chatwright.serve.ids import token_hash
from chatwright.serve.store.tables import (
    ApiKey,
    AuditEntry,
    Folder,
    Key,
    Person,
    ServerValue,
    SignIn,
)

NEW = {"name": "Ada", "email": "ada@example.org", "password": PASSWORD}


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


# First start


def test_first_start_makes_one_administrator_by_a_link_that_holds_once(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        browser = here.browser()
        state = browser.get("/session").json()
        assert state["state"] == "setup" and state["mode"] == "accounts"

        old = first_start_link(here.service, here.address)
        link = first_start_link(here.service, here.address + "/")
        assert old and link and link != old
        assert link.startswith(f"{here.address}/setup#")
        token = link.split("#")[1]
        with here.store.begin() as session:
            kept = session.get(ServerValue, "setup")
            assert kept.value == {"token_hash": token_hash(token)}  # and not the token

        assert browser.post("/sign-up", NEW).status_code == 403
        for wrong in (old.split("#")[1], "", "x" * 43):
            answer = browser.post("/setup", {"token": wrong, **NEW})
            assert (answer.status_code, code(answer)) == (403, "invalid_token")
        weak = browser.post("/setup", {"token": token, **NEW, "password": "password123"})
        assert (weak.status_code, code(weak)) == (400, "weak_password")  # and the token holds still

        answers = []
        others = [here.browser() for _ in range(4)]
        threads = [
            threading.Thread(
                target=lambda n=n, one=one: answers.append(
                    one.post("/setup", {"token": token, **NEW, "email": f"ada{n}@example.org"})
                )
            )
            for n, one in enumerate(others)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(a.status_code for a in answers)[201] == 1
        with here.store.begin() as session:
            assert session.scalar(select(func.count()).select_from(Person)) == 1
        (admin,) = [one for one in others if one.cookies]
        assert admin.get("/me").json()["role"] == "admin"
        assert admin.get("/session").json()["state"] == "signed_in"
        assert first_start_link(here.service, here.address) is None
        again = browser.post("/setup", {"token": token, **NEW})
        assert (again.status_code, code(again)) == (409, "already_set_up")
        assert browser.get("/session").json()["state"] == "signed_out"


# Passwords


@pytest.mark.parametrize(
    "password",
    ["short", "password123", "Password2024!", "1234567890", "abcdefghij", "qwertyuiop",
     "aaaaaaaaaaaa", "abcabcabcabc", "ada@example.org", "AdaExample.org1", "x" * 201,
     "woaini1314", "12121212121212"],
)  # fmt: skip
def test_passwords_that_are_guessed_first_are_refused(password: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_password(password, name="Ada", email="ada@example.org")
    assert refused.value.status == 400
    assert password not in refused.value.message


@pytest.mark.parametrize(
    "password", [PASSWORD, "correct ada horse battery", "海边走了很久很久的路啊", "x7!kQ9_zTw"]
)
def test_other_passwords_are_taken(password: str) -> None:
    check_password(password, name="Ada", email="ada@example.org")


@pytest.mark.anyio
async def test_hashes_are_argon2id_with_the_parameters_of_rfc_9106() -> None:
    real, cheap = Passwords(), Passwords(cheap=True)
    hashed = await real.hash(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await real.verify(hashed, PASSWORD)
    assert cheap.hash_now(PASSWORD) != cheap.hash_now(PASSWORD)
    assert not await cheap.verify(cheap.hash_now(PASSWORD), PASSWORD + " ")
    assert not await cheap.verify(None, PASSWORD)
    assert not await cheap.verify("$argon2id$broken", PASSWORD)
    assert cheap.outdated(hashed) and not real.outdated(hashed)
    assert await cheap.verify(cheap.hash_now("e\u0301" * 10), "\u00e9" * 10)  # typed otherwise


@pytest.mark.anyio
async def test_a_hundred_at_once_hash_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import anyio

    here, most, lock = 0, 0, threading.Lock()
    real = passwords.PasswordHasher.verify

    def verify(self: Any, stored: str, password: str) -> bool:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        try:
            return real(self, stored, password)
        finally:
            with lock:
                here -= 1

    monkeypatch.setattr(passwords.PasswordHasher, "verify", verify)
    cheap = Passwords(cheap=True)
    refused = 0

    async def one() -> None:
        nonlocal refused
        try:
            await cheap.verify(None, PASSWORD)
        except ApiError as error:
            assert error.status == 429
            refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(120):
            group.start_soon(one)
    assert most <= 2
    assert 0 < refused <= 20


def test_a_hash_with_old_parameters_is_renewed_at_sign_in(house_: House) -> None:
    old = Passwords().hash_now(PASSWORD)
    person = house_.person(password_hash=old)
    assert house_.browser().sign_in(person.email).status_code == 200
    with house_.store.begin() as session:
        stored = session.get(Person, person.id).password_hash
    assert stored != old and "m=65536" not in stored
    assert house_.browser().sign_in(person.email).status_code == 200


# Sign-in


def test_sign_in_gives_a_session_that_ends_with_sign_out(house_: House) -> None:
    person, browser = house_.person(), house_.browser()
    assert browser.get("/me").status_code == 401
    answer = browser.sign_in(f"  {person.email.upper()} ")
    assert answer.status_code == 200
    assert answer.json()["person"]["email"] == person.email
    assert browser.get("/me").json()["id"] == person.id
    copied = dict(browser.cookies)
    assert browser.delete("/session").json()["state"] == "signed_out"
    assert "chatwright" not in browser.cookies
    again = house_.browser(cookies=copied).get("/me")
    assert (again.status_code, code(again)) == (401, "session_expired")


def test_unknown_wrong_and_disabled_look_alike_and_cost_the_same(
    house_: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, disabled = house_.person(), house_.person(status="disabled")
    outside = house_.person(password_hash=None)
    checked: list[str] = []
    real = passwords.PasswordHasher.verify

    def verify(self: Any, stored: str, password: str) -> bool:
        checked.append(stored.rsplit("$", 2)[0])
        return real(self, stored, password)

    monkeypatch.setattr(passwords.PasswordHasher, "verify", verify)
    answers = [
        house_.browser().sign_in(email, password)
        for email, password in [
            ("nobody@example.org", PASSWORD),
            (known.email, PASSWORD + "!"),
            (disabled.email, PASSWORD),
            (disabled.email, PASSWORD + "!"),
            (outside.email, PASSWORD),
            ("local@localhost", PASSWORD),
            ("not an address", PASSWORD),
        ]
    ]
    assert {a.status_code for a in answers} == {401}
    assert len({a.text for a in answers}) == 1
    own = {"date", "x-request-id"}
    headers = [{k: v for k, v in a.headers.items() if k not in own} for a in answers]
    assert all(one == headers[0] for one in headers)
    assert len(checked) == len(answers) and len(set(checked)) == 1  # the same parameters
    with house_.store.begin() as session:
        wanted = select(AuditEntry).where(AuditEntry.action == "sign_in_failed")
        lines = list(session.scalars(wanted.order_by(AuditEntry.sequence.desc()).limit(7)))
    assert len(lines) == 7
    assert all("@" not in line.details + line.target + line.actor for line in lines)


def test_sign_in_gives_another_token_each_time_and_ends_the_one_before(house_: House) -> None:
    person, browser = house_.person(), house_.browser()
    browser.sign_in(person.email)
    first = dict(browser.cookies)
    browser.sign_in(person.email)
    assert browser.cookies["chatwright"] != first["chatwright"]
    assert house_.browser(cookies=first).get("/me").status_code == 401
    # A token that somebody else has planted is not taken over.
    planted = house_.browser(cookies={"chatwright": "planted"})
    planted.sign_in(person.email)
    assert planted.cookies["chatwright"] != "planted"


def test_only_the_hash_of_a_session_is_kept_and_the_cookie_is_out_of_reach(house_: House) -> None:
    person, browser = house_.person(), house_.browser()
    cookie = browser.sign_in(person.email).headers.get_list("set-cookie")[0]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= parts and "domain" not in cookie.lower()
    token = browser.cookies["chatwright"]
    assert len(token) >= 43
    assert token.encode() not in house_.store.path.read_bytes()
    with house_.store.begin() as session:
        row = session.scalar(select(SignIn).where(SignIn.person_id == person.id))
        assert row.token_hash == token_hash(token)


# Sign-up


def test_sign_up_closed_open_and_by_invitation(house_: House) -> None:
    _, admin = house_.member("admin")
    told = {**NEW, "email": "eve@example.org"}

    def sign_up(**more: Any) -> Any:
        return house_.browser().post("/sign-up", {**told, **more})

    assert admin.patch("/admin/settings", {"sign_up": "closed"}).status_code == 200
    assert code(sign_up()) == "sign_up_closed"
    assert admin.post("/admin/invitations").status_code == 409

    admin.patch("/admin/settings", {"sign_up": "invitation"})
    assert house_.browser().get("/session").json()["sign_up"] == "invitation"
    assert code(sign_up()) == "invitation_required"
    made = admin.post("/admin/invitations", {"role": "annotator", "email": "Eve@Example.org"})
    assert made.status_code == 201
    url = made.json()["url"]
    secret = url.split("#")[1]
    assert url == f"{house_.address}/invite#{secret}"
    listed = admin.get("/admin/invitations").json()["data"]
    assert secret not in str(listed) and listed[0]["id"] == made.json()["id"]
    assert code(sign_up(invitation="x" * 43)) == "invalid_invitation"
    assert code(sign_up(invitation=secret, email="other@example.org")) == "invalid_invitation"
    admin.patch("/admin/settings", {"sign_up": "closed"})
    assert code(sign_up(invitation=secret)) == "sign_up_closed"
    admin.patch("/admin/settings", {"sign_up": "invitation"})
    done = sign_up(invitation=secret)
    assert done.status_code == 201 and done.json()["person"]["role"] == "annotator"
    assert code(sign_up(invitation=secret, email="eve2@example.org")) == "invalid_invitation"

    gone = admin.post("/admin/invitations").json()
    assert admin.delete(f"/admin/invitations/{gone['id']}").status_code == 204
    assert admin.delete(f"/admin/invitations/{gone['id']}").status_code == 404
    taken_back = gone["url"].split("#")[1]
    assert code(sign_up(invitation=taken_back, email="e3@example.org")) == "invalid_invitation"

    admin.patch("/admin/settings", {"sign_up": "open"})
    assert sign_up(email="open@example.org").json()["person"]["role"] == "user"
    assert code(sign_up(email="OPEN@example.org")) == "email_taken"
    for bad in ("no-at", "a@b\nc", "a b@c", "", "a@" + "b" * 300):
        assert sign_up(email=bad).status_code == 400
    assert sign_up(email="f@example.org", name="\u202e\n").status_code == 400
    assert sign_up(email="g@example.org", role="admin").status_code == 400


def test_an_invitation_is_used_once_by_many_at_once(house_: House) -> None:
    _, admin = house_.member("admin")
    admin.patch("/admin/settings", {"sign_up": "invitation"})
    secret = admin.post("/admin/invitations").json()["url"].split("#")[1]
    answers: list[int] = []

    def use(number: int) -> None:
        told = {**NEW, "email": f"many{number}@example.org", "invitation": secret}
        answers.append(house_.browser().post("/sign-up", told).status_code)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] + [403] * 5


# One's own account


def test_changing_oneself(house_: House) -> None:
    person, browser = house_.member()
    told = {
        "name": "  Grace\u202e ",
        "language": "zh",
        "theme": "dark",
        "memory_enabled": False,
        "training_consent": True,
        "instructions": "请用中文回答",
    }
    made = browser.patch("/me", told).json()
    assert made == {**browser.get("/me").json()} and made["name"] == "Grace"
    assert {made[k] for k in ("language", "theme", "instructions")} == {
        "zh",
        "dark",
        "请用中文回答",
    }
    assert made["training_consent"] and not made["memory_enabled"]
    with house_.store.begin() as session:
        row = session.get(Person, person.id)
        assert row.consent_at is not None
        assert "请用中文回答".encode() not in row.sealed_instructions
        line = session.scalars(
            select(AuditEntry).where(AuditEntry.actor == person.id).order_by(AuditEntry.sequence)
        ).all()[-1]
        assert "training_consent" in line.details and "Grace" not in line.details
    assert browser.patch("/me", {"language": None}).json()["language"] is None
    for bad in (
        {"language": "fr"}, {"role": "admin"}, {"name": ""}, {"email": "x@y"}, {"theme": 1},
        {"instructions": "x" * 8001}, {"memory_enabled": "yes"}, {"daily_tokens": 5},
    ):  # fmt: skip
        assert browser.patch("/me", bad).status_code == 400, bad


def test_a_new_password_ends_all_other_sessions_and_renews_this_one(house_: House) -> None:
    person, browser = house_.member()
    other = house_.signed_in(person)
    key = house_.by_key(house_.key(person))
    old = dict(browser.cookies)
    new = "another walk in the hills"
    wrong = browser.post("/me/password", {"current": "no", "new": new})
    assert (wrong.status_code, code(wrong)) == (403, "wrong_password")
    weak = browser.post("/me/password", {"current": PASSWORD, "new": "letmein123"})
    assert (weak.status_code, code(weak)) == (400, "weak_password")
    assert key.post("/me/password", {"current": PASSWORD, "new": new}).status_code == 403
    assert browser.post("/me/password", {"current": PASSWORD, "new": new}).status_code == 200
    assert browser.get("/me").status_code == 200
    assert other.get("/me").status_code == 401
    assert house_.browser(cookies=old).get("/me").status_code == 401
    assert house_.browser().sign_in(person.email).status_code == 401
    assert house_.browser().sign_in(person.email, new).status_code == 200


def test_sessions_are_listed_and_ended_one_by_one(house_: House) -> None:
    person, browser = house_.member()
    other = house_.signed_in(person)
    stranger, _ = house_.member()
    listed = browser.get("/me/sessions").json()["data"]
    assert [one["current"] for one in listed].count(True) == 1 and len(listed) == 2
    (theirs,) = [one["id"] for one in listed if not one["current"]]
    (mine,) = [one["id"] for one in listed if one["current"]]
    foreign = house_.signed_in(stranger).delete(f"/me/sessions/{theirs}")
    absent = browser.delete("/me/sessions/ses_0")
    assert foreign.status_code == 404 and foreign.text == absent.text
    assert other.get("/me").status_code == 200
    assert browser.delete(f"/me/sessions/{theirs}").status_code == 204
    assert other.get("/me").status_code == 401  # at once
    assert browser.delete(f"/me/sessions/{mine}").status_code == 204
    assert "chatwright" not in browser.cookies


def test_deleting_oneself_takes_everything_and_destroys_the_key(house_: House) -> None:
    person, browser = house_.member()
    key = house_.by_key(house_.key(person))
    browser.patch("/me", {"instructions": "a secret wish"})
    with house_.store.begin() as session:
        sealer = house_.store.keys.sealer(session, person.id)
        sealed = sealer.seal("Holidays", context="folders.sealed_name:x")
        session.add(Folder(id="fld_x", person_id=person.id, sealed_name=sealed))
        wrapped = session.get(Key, person.id).wrapped
    assert key.delete("/me", {"password": PASSWORD}).status_code == 403
    assert code(browser.delete("/me", {"password": "wrong"})) == "wrong_password"
    assert browser.delete("/me", {"password": PASSWORD}).status_code == 204
    assert browser.cookies == {}
    assert key.get("/me").status_code == 401
    assert house_.browser().sign_in(person.email).status_code == 401
    with house_.store.begin() as session:
        for table in (SignIn, ApiKey, Folder):
            wanted = select(func.count()).select_from(table).where(table.person_id == person.id)
            assert session.scalar(wanted) == 0, table
        assert session.get(Person, person.id) is None and session.get(Key, person.id) is None
        lines = session.scalars(select(AuditEntry).where(AuditEntry.target == person.id)).all()
        assert lines[-1].action == "person_deleted"
        everything = " ".join(
            line.details + line.actor + line.target for line in session.scalars(select(AuditEntry))
        )
        assert person.email not in everything and person.name not in everything
    house_.store.engine.dispose()  # the write-ahead log goes into the file
    assert wrapped not in house_.store.path.read_bytes()


def test_without_accounts_one_person_is_there_and_account_routes_say_so(local: House) -> None:
    browser = local.browser()
    state = browser.get("/session").json()
    assert state["mode"] == "local" and state["person"]["id"] == "usr_local"
    assert browser.patch("/me", {"name": "Me", "instructions": "short"}).json()["name"] == "Me"
    assert browser.get("/admin/settings").json()["sign_up"] == "invitation"
    assert browser.get("/admin/audit").json()["data"][0]["actor"] == "usr_local"
    for method, path in [
        ("POST", "/session"), ("DELETE", "/session"), ("POST", "/setup"), ("POST", "/sign-up"),
        ("POST", "/me/password"), ("DELETE", "/me"), ("GET", "/me/keys"), ("POST", "/me/keys"),
        ("GET", "/me/sessions"), ("POST", "/me/totp"), ("GET", "/admin/people"),
        ("POST", "/admin/invitations"),
    ]:  # fmt: skip
        answer = browser.send(method, path, {})
        assert (answer.status_code, code(answer)) == (409, "local_mode"), path
