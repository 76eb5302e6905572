from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from accounts_server import House, house
from chatwright.serve.accounts import server_settings
from chatwright.serve.store.tables import Collection, Invitation, Key, Person


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def test_people_are_listed_found_and_changed(house_: House) -> None:
    _, admin = house_.member("admin")
    person, browser = house_.member(name="Per%cent O_ne")
    browser.patch("/me", {"instructions": "private"})
    for query in ("per%cent", "O_NE", person.email[:-4]):
        found = admin.get(f"/admin/people?q={query.replace('%', '%25')}").json()["data"]
        assert [one["id"] for one in found] == [person.id], query
    assert admin.get("/admin/people?q=%25%25").json()["data"] == []
    assert "private" not in str(found) and "password_hash" not in found[0]
    everyone = admin.get("/admin/people?limit=500").json()["data"]
    assert "usr_local" not in [one["id"] for one in everyone]
    first = admin.get("/admin/people?limit=1").json()["data"]
    assert first == everyone[:1]
    assert admin.get("/admin/people?limit=1&offset=1").json()["data"] == everyone[1:2]

    path = f"/admin/people/{person.id}"
    made = admin.patch(path, {"role": "annotator", "daily_tokens": 1000}).json()
    assert (made["role"], made["daily_tokens"], made["status"]) == ("annotator", 1000, "active")
    assert admin.patch(path, {"daily_tokens": None}).json()["daily_tokens"] is None
    for bad in ({"role": "root"}, {"status": "deleted"}, {"daily_tokens": -1}, {"name": "x"},
                {"daily_tokens": 2**63}, {"daily_tokens": 1.5}, {"email": "x"}):  # fmt: skip
        assert admin.patch(path, bad).status_code == 400, bad
    for absent in ("usr_0", "usr_local", "x" * 64):
        assert admin.patch(f"/admin/people/{absent}", {"role": "user"}).status_code == 404
        assert admin.delete(f"/admin/people/{absent}").status_code == 404
    for bad_query in ("limit=0", "limit=501", "limit=x", "offset=-1", f"q={'x' * 201}"):
        assert admin.get(f"/admin/people?{bad_query}").status_code == 400, bad_query


def test_an_administrator_deletes_somebody_with_all_that_is_theirs(house_: House) -> None:
    admin_person, admin = house_.member("admin")
    person, browser = house_.member("admin")
    invited = browser.post("/admin/invitations").json() if _open(admin) else {}
    with house_.store.begin() as session:
        for name, shared in (("col_own", False), ("col_all", True)):
            row = Collection(id=name, person_id=person.id, shared=shared, sealed_name=b"x")
            session.add(row)
            house_.store.keys.sealer(session, name)
    assert admin.delete(f"/admin/people/{person.id}").status_code == 204
    assert browser.get("/me").status_code == 401
    assert admin.delete(f"/admin/people/{person.id}").status_code == 404
    with house_.store.begin() as session:
        gone = (Person, person.id), (Key, person.id), (Key, "col_own"), (
            Collection, "col_own"), (Invitation, invited["id"])  # fmt: skip
        assert [session.get(table, key) for table, key in gone] == [None] * 5
        # What others read goes on, in the hands of an administrator.
        passed_on = session.get(Collection, "col_all")
        assert passed_on is not None
        heir = session.get(Person, passed_on.person_id)
        assert heir is not None and heir.role == "admin"
        assert session.get(Key, "col_all") is not None
    log = admin.get(f"/admin/audit?action=person_deleted&actor={admin_person.id}").json()["data"]
    assert [line["target"] for line in log] == [person.id]


def _open(admin: Any) -> bool:
    return bool(admin.patch("/admin/settings", {"sign_up": "invitation"}).status_code == 200)


def test_the_last_administrator_stays(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        first, admin = here.member("admin")
        path = f"/admin/people/{first.id}"

        def refused() -> None:
            for answer in (
                admin.patch(path, {"role": "user"}),
                admin.patch(path, {"role": "annotator"}),
                admin.patch(path, {"status": "disabled"}),
                admin.delete(path),
                admin.delete("/me", {"password": "a long walk by the sea"}),
            ):
                assert (answer.status_code, code(answer)) == (409, "last_admin")

        refused()
        assert admin.patch(path, {"role": "admin", "daily_tokens": 5}).status_code == 200
        second, _ = here.member("admin")
        with here.store.begin() as session:  # one who cannot sign in is no other one
            wanted = update(Person).where(Person.id == second.id)
            session.execute(wanted.values(status="disabled"))
        refused()
        with here.store.begin() as session:
            session.execute(wanted.values(status="active"))
        assert admin.patch(path, {"role": "user"}).status_code == 200
        assert code(admin.get("/admin/people")) == "role_required"
        with here.store.begin() as session:
            left = select(func.count()).where(Person.role == "admin", Person.status == "active")
            assert session.scalar(left) == 1


@pytest.mark.anyio
async def test_settings_are_checked_kept_and_told(house_: House) -> None:
    _, admin = house_.member("admin")
    before = admin.get("/admin/settings").json()
    assert before["moderation"] == {"input": "flag", "output": "flag"}
    told = {
        "retention": {"conversations": 90, "audit": 365},
        "moderation": {"input": "block"},
        "default_model": "harbour",
        "daily_tokens": 5000,
    }
    made = admin.patch("/admin/settings", told).json()
    assert made["retention"] == {"conversations": 90, "audit": 365}
    assert made["moderation"] == {"input": "block", "output": "flag"}
    again = admin.patch("/admin/settings", {"retention": {"audit": None}}).json()
    assert again["retention"] == {"conversations": 90, "audit": None}
    settings = await server_settings(house_.service)
    assert settings.model_dump() == again == admin.get("/admin/settings").json()
    assert settings.moderation.input == "block" and settings.daily_tokens == 5000
    for bad in (
        {"sign_up": "anyone"}, {"retention": {"conversations": 0}}, {"retention": {"x": 5}},
        {"retention": {"audit": 2**63}}, {"retention": {"audit": "30"}}, {"retention": []},
        {"moderation": {"input": "on"}}, {"moderation": {"both": "off"}}, {"default_model": 5},
        {"daily_tokens": -1}, {"daily_tokens": 10**13}, {"other": 1}, {"default_model": "x" * 301},
    ):  # fmt: skip
        assert admin.patch("/admin/settings", bad).status_code == 400, bad
    assert admin.patch("/admin/settings", {"default_model": "nothing"}).status_code == 404
    undone = {"default_model": None, "daily_tokens": None, "retention": {"conversations": None},
              "moderation": {"input": "flag"}}  # fmt: skip
    assert admin.patch("/admin/settings", undone).status_code == 200
    log = admin.get("/admin/audit?action=settings_changed&limit=1").json()["data"][0]
    assert log["details"]["moderation"] == {"input": "flag", "output": None}


def test_the_audit_log_is_read_page_by_page(house_: House) -> None:
    person, admin = house_.member("admin")
    for theme in ("dark", "light", "dark"):
        admin.patch("/me", {"theme": theme})
    query = f"/admin/audit?actor={person.id}&action=person_changed"
    first = admin.get(f"{query}&limit=2").json()
    assert len(first["data"]) == 2 and first["next"] == first["data"][-1]["sequence"]
    second = admin.get(f"{query}&limit=2&before={first['next']}").json()
    assert len(second["data"]) == 1 and second["next"] is None
    line = first["data"][0]
    assert line["actor_name"] == person.name and line["details"] == {"changed": ["theme"]}
    assert line["address"] == admin.address
    for bad in ("before=0", f"before={2**63}", "limit=201", "limit=-1", "before=NaN",
                f"action={'x' * 61}"):  # fmt: skip
        assert admin.get(f"/admin/audit?{bad}").status_code == 400, bad


def test_the_command_keeps_a_locked_out_administrator_from_being_lost(
    tmp_path: Path, run_command: Any
) -> None:
    place = ("-w", str(tmp_path))
    with house(tmp_path) as here:
        person, browser = here.member("admin", totp_enabled=True, sealed_totp=b"x")
        other = here.person()
        listed = json.loads(run_command("people", "list", "--json", *place).output)
        assert {one["email"] for one in listed} == {person.email, other.email}
        assert person.email in run_command("people", "list", *place).output

        done = run_command(
            "people", "reset-password", person.email.upper(), "--remove-second-factor", *place
        )
        assert done.exit_code == 0
        temporary = done.output.split("Password")[1].split()[0]
        assert browser.get("/me").status_code in (200, 401)
        here.service.accounts.forget_all()
        assert browser.get("/me").status_code == 401
        browser = here.browser()
        assert browser.sign_in(person.email, temporary).status_code == 200

        assert run_command("people", "role", other.email, "annotator", *place).exit_code == 0
        refused = run_command("people", "role", person.email, "user", *place)
        assert refused.exit_code == 1 and "last administrator" in refused.output
        assert run_command("people", "disable", person.email, *place).exit_code == 1
        assert run_command("people", "disable", other.email, *place).exit_code == 0
        assert here.browser().sign_in(other.email).status_code == 401
        assert run_command("people", "enable", other.email, *place).exit_code == 0
        assert here.browser().sign_in(other.email).status_code == 200
        assert run_command("people", "role", "nobody@example.org", "user", *place).exit_code == 2

        made = run_command("people", "invite", "--role", "user", "--url", here.address, *place)
        url = next(word for word in made.output.split() if word.startswith(here.address))
        browser.patch("/admin/settings", {"sign_up": "invitation"})
        joined = here.browser().post(
            "/sign-up",
            {"name": "New", "email": "new@example.org", "password": "a walk in the hills",
             "invitation": url.split("#")[1]},
        )  # fmt: skip
        assert joined.status_code == 201
        log = browser.get("/admin/audit?limit=200").json()["data"]
        assert {"password_changed", "person_changed", "invitation_created"} <= {
            line["action"] for line in log if line["details"].get("by") == "command"
        }
