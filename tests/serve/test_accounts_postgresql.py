"""What must happen once only, on PostgreSQL, where transactions do run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, update

import postgresql_server
from accounts_server import PASSWORD, House, house
from chatwright.serve import ratelimit
from chatwright.serve.accounts import first_start_link
from chatwright.serve.audit import Verified, verify
from chatwright.serve.ratelimit import Delays
from chatwright.serve.store.tables import Key, Person, SignIn

pytestmark = pytest.mark.skipif(
    postgresql_server.why_not() is not None, reason=str(postgresql_server.why_not())
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with (
        postgresql_server.postgresql() as url,
        house(tmp_path_factory.mktemp("keys"), url=url) as one,
    ):
        yield one


def at_once(work: Callable[[int], Any], times: int) -> list[int]:
    """The statuses of so many requests that are made together, in order."""
    told: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: told.append(work(n).status_code)) for n in range(times)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(told)


def account(number: int | str) -> dict[str, str]:
    return {"name": "Ada", "email": f"ada{number}@example.org", "password": PASSWORD}


def test_each_link_makes_one_account(here: House) -> None:
    link = first_start_link(here.service, here.address)
    assert link is not None
    token = link.split("#")[1]
    told = at_once(
        lambda n: here.browser().post("/setup", {"token": token, **account(n)}), 5
    )  # the others find it used, or the server set up
    assert told.count(201) == 1 and set(told) <= {201, 403, 409}

    _, admin = here.member("admin")
    admin.patch("/admin/settings", {"sign_up": "invitation"})
    secret = admin.post("/admin/invitations").json()["url"].split("#")[1]
    told = at_once(
        lambda n: here.browser().post("/sign-up", {"invitation": secret, **account(f"-{n}")}), 5
    )
    assert told == [201] + [403] * 4

    admin.patch("/admin/settings", {"sign_up": "open"})
    told = at_once(lambda _: here.browser().post("/sign-up", account("same")), 5)
    assert told == [201] + [409] * 4


def test_guesses_are_counted_exactly(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "_ACCOUNT", Delays(free=5, first=500))
    person = here.person()
    told = at_once(lambda n: here.browser().sign_in(person.email, f"wrong {n}"), 12)
    assert told == [401] * 5 + [429] * 7


def test_two_administrators_cannot_remove_each_other(here: House) -> None:
    for _ in range(3):
        with here.store.begin() as session:
            session.execute(update(Person).values(role="user"))
        (one, first), (two, second) = here.member("admin"), here.member("admin")
        here.service.accounts.forget_all()
        pairs = [(first, two), (second, one)]
        told = at_once(
            lambda n, pairs=pairs: pairs[n][0].patch(
                f"/admin/people/{pairs[n][1].id}", {"role": "user"}
            ),
            2,
        )
        # The second waits for the first; it is refused, or no administrator any more.
        assert told in ([200, 403], [200, 409])
        with here.store.begin() as session:
            wanted = select(func.count()).where(Person.role == "admin", Person.id != "usr_local")
            assert session.scalar(wanted) == 1


def test_deleting_somebody_takes_everything(here: House) -> None:
    person, browser = here.member()
    browser.patch("/me", {"instructions": "short"})
    assert browser.delete("/me", {"password": PASSWORD}).status_code == 204
    with here.store.begin() as session:
        assert session.get(Person, person.id) is None and session.get(Key, person.id) is None
        wanted = select(func.count()).where(SignIn.person_id == person.id)
        assert session.scalar(wanted) == 0


def test_and_all_of_it_stands_in_one_whole_log(here: House) -> None:
    found = verify(here.store)
    assert isinstance(found, Verified) and found.lines > 10
