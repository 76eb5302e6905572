from __future__ import annotations

from datetime import timedelta
from typing import Any

import openai
import pytest
from sqlalchemy import update

from accounts_server import House
from chatwright.serve.ids import token_hash
from chatwright.serve.store.tables import ApiKey, now


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def test_a_key_is_shown_once_and_kept_as_a_hash(house_: House) -> None:
    _, browser = house_.member()
    made = browser.post("/me/keys", {"name": "laptop", "scopes": ["chat", "account"]})
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith("cw-") and len(key) >= 46
    listed = browser.get("/me/keys").json()["data"]
    assert key not in str(listed)
    assert listed[0]["start"] == key[:11] and listed[0]["scopes"] == ["account", "chat"]
    assert listed[0]["last_used_at"] is None and listed[0]["expires_at"] is None
    with house_.store.begin() as session:
        row = session.get(ApiKey, made.json()["id"])
        assert row.key_hash == token_hash(key)
    assert key.encode() not in house_.store.path.read_bytes()

    program = house_.by_key(key)
    assert program.get("/me").status_code == 200
    used = browser.get("/me/keys").json()["data"][0]["last_used_at"]
    assert used is not None
    house_.service.accounts.forget_all()
    program.get("/me")  # again within a minute: not written again
    assert browser.get("/me/keys").json()["data"][0]["last_used_at"] == used


def test_the_openai_client_works_with_a_key_and_says_what_is_wrong_without(house_: House) -> None:
    person, _ = house_.member()
    base = f"{house_.address}/v1"
    key = house_.key(person, ("chat",))
    with openai.OpenAI(base_url=base, api_key=key, max_retries=0) as client:
        assert [m.id for m in client.models.list()] == ["harbour"]
    with openai.OpenAI(base_url=base, api_key="cw-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()
        assert refused.value.code == "invalid_api_key"
    other = house_.key(person, ("history",))
    with openai.OpenAI(base_url=base, api_key=other, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            client.models.list()
        assert denied.value.code == "scope_required"


def test_revoked_and_expired_keys_are_refused(house_: House) -> None:
    _, browser = house_.member()
    made = browser.post("/me/keys", {"name": "a", "scopes": ["account"], "expires_in_days": 1})
    program = house_.by_key(made.json()["key"])
    assert program.get("/me").status_code == 200
    foreign = house_.member()[1].delete(f"/me/keys/{made.json()['id']}")
    absent = browser.delete("/me/keys/key_0")
    assert foreign.status_code == 404 and foreign.text == absent.text
    assert program.get("/me").status_code == 200
    assert browser.delete(f"/me/keys/{made.json()['id']}").status_code == 204
    answer = program.get("/me")
    assert (answer.status_code, code(answer)) == (401, "invalid_api_key")
    assert browser.get("/me/keys").json()["data"] == []

    old = browser.post("/me/keys", {"name": "b", "scopes": ["account"], "expires_in_days": 30})
    program = house_.by_key(old.json()["key"])
    assert program.get("/me").status_code == 200
    with house_.store.begin() as session:
        ended = now() - timedelta(seconds=1)
        wanted = update(ApiKey).where(ApiKey.id == old.json()["id"])
        session.execute(wanted.values(expires_at=ended))
    house_.service.accounts.forget_all()
    assert program.get("/me").status_code == 401


def test_a_key_cannot_make_itself_more_than_it_is(house_: House) -> None:
    person, browser = house_.member()
    program = house_.by_key(house_.key(person))  # every scope
    for method, path, body in [
        ("POST", "/me/keys", {"name": "more", "scopes": ["chat"]}),
        ("POST", "/me/totp", {}),
        ("DELETE", "/session", None),
        ("DELETE", "/me", {"password": ""}),
        ("POST", "/me/password", {"current": "", "new": "a long walk elsewhere"}),
    ]:
        answer = program.send(method, path, body)
        assert (answer.status_code, code(answer)) == (403, "session_required"), path
    assert code(program.get("/admin/people")) == "role_required"  # the scope is no role
    refused = browser.post("/me/keys", {"name": "x", "scopes": ["admin"]})
    assert (refused.status_code, code(refused)) == (403, "role_required")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"name": ""}, {"name": "x" * 201}, {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]}, {"name": "x", "scopes": "chat"},
        {"name": "x", "scopes": ["chat"] * 21}, {"name": "x", "expires_in_days": 0},
        {"name": "x", "expires_in_days": -1}, {"name": "x", "expires_in_days": 2**63},
        {"name": "x", "expires_in_days": 1.5}, {"name": "x", "person_id": "usr_local"},
    ],
)  # fmt: skip
def test_a_key_asked_for_wrongly_is_refused(house_: House, body: dict[str, Any]) -> None:
    _, browser = house_.member()
    assert browser.post("/me/keys", body).status_code == 400
    assert browser.get("/me/keys").json()["data"] == []


def test_a_key_without_the_scope_learns_nothing_of_its_owner(house_: House) -> None:
    person = house_.person()
    small = house_.by_key(house_.key(person, ("chat", "history")))
    told = small.get("/session")
    assert told.json()["person"] is None and person.email not in told.text
    large = house_.by_key(house_.key(person, ("account",)))
    assert large.get("/session").json()["person"]["id"] == person.id


def test_there_is_an_end_to_the_number_of_keys(
    house_: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatwright.serve.accounts.apikeys._MOST", 2)
    _, browser = house_.member()
    answers = [browser.post("/me/keys", {"name": str(n)}) for n in range(3)]
    assert [a.status_code for a in answers] == [201, 201, 409]
