from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import select
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from accounts_server import HTTP, Browser, House, house
from chatwright.errors import UsageError
from chatwright.serve.accounts import oidc
from chatwright.serve.accounts.oidc import Provider as Client
from chatwright.serve.accounts.oidc import check_address
from chatwright.serve.service import OidcSettings
from chatwright.serve.store.tables import AuditEntry, OutsideIdentity, Person
from oidc_provider import CLIENT, SECRET, Provider, provider


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Provider]:
    with provider() as one:
        yield one


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory, elsewhere: Provider) -> Iterator[House]:
    settings = OidcSettings("Elsewhere", elsewhere.issuer, CLIENT, SECRET, sign_up=True)
    with house(tmp_path_factory.mktemp("oidc"), oidc=settings) as here:
        here.person("admin")
        yield here


@pytest.fixture(autouse=True)
def behaving(elsewhere: Provider, guests: House) -> Iterator[None]:
    yield
    key = elsewhere.key
    elsewhere.__init__(elsewhere.issuer, key)  # type: ignore[misc]
    client = guests.service.accounts.provider
    client._about = client._keys = None


def begin(browser: Browser, path: str = "/oidc/start") -> str:
    answer = browser.get(path)
    assert answer.status_code == 303
    return answer.headers["location"]


def at_provider(address: str) -> str:
    """The browser goes there and is sent back: where to."""
    answer = HTTP.get(address)
    assert answer.status_code == 307
    back = urlsplit(answer.headers["location"])
    return f"{back.path}?{back.query}"


def through(browser: Browser) -> httpx.Response:
    return browser.get(at_provider(begin(browser)))


def subject(name: str) -> dict[str, Any]:
    return {"sub": name, "email": f"{name}@elsewhere.example", "name": name}


def test_somebody_comes_in_and_is_known_the_next_time(elsewhere: Provider, guests: House) -> None:
    elsewhere.claims = subject("grace")
    browser = guests.browser()
    assert browser.get("/session").json()["oidc"] == {"name": "Elsewhere"}
    answer = through(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert set(browser.cookies) == {"chatwright", "chatwright-device"}
    me = browser.get("/me").json()
    assert (me["email"], me["role"], me["name"]) == ("grace@elsewhere.example", "user", "grace")
    assert me["has_password"] is False
    again = guests.browser()
    elsewhere.claims = {**subject("grace"), "email": "new@elsewhere.example"}
    through(again)
    assert again.get("/me").json()["id"] == me["id"]
    assert guests.browser().sign_in(me["email"], "").status_code == 401  # no password is no way in
    with guests.store.begin() as session:
        lines = session.scalars(select(AuditEntry).where(AuditEntry.actor == me["id"])).all()
    assert [line.action for line in lines] == ["person_created", "sign_in", "sign_in"]


def test_nobody_is_linked_by_an_address(elsewhere: Provider, guests: House) -> None:
    victim = guests.person()
    for verified in (True, False, "true"):
        elsewhere.claims = {**subject(f"thief-{verified}"), "email": victim.email,
                            "email_verified": verified}  # fmt: skip
        browser = guests.browser()
        answer = through(browser)
        if verified is True:
            assert answer.headers["location"] == "/sign-in?problem=email_taken"
            assert browser.cookies == {}
        else:
            assert answer.headers["location"] == "/"
            me = browser.get("/me").json()
            assert me["id"] != victim.id and me["email"].endswith("@provider.invalid")


def test_one_links_an_account_oneself(elsewhere: Provider, guests: House) -> None:
    person, browser = guests.member()
    elsewhere.claims = subject("linked")
    assert guests.browser().get("/oidc/start?link=true").status_code == 401
    forged = browser.get("/oidc/start?link=true", headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 401
    back = at_provider(begin(browser, "/oidc/start?link=true"))
    _, stranger = guests.member()
    stranger.cookies["chatwright-oidc"] = browser.cookies["chatwright-oidc"]
    assert stranger.get(back).headers["location"] == "/sign-in?problem=not_signed_in"
    back = at_provider(begin(browser, "/oidc/start?link=true"))
    assert browser.get(back).headers["location"] == "/settings/account"
    fresh = guests.browser()
    through(fresh)
    assert fresh.get("/me").json()["id"] == person.id
    back = at_provider(begin(stranger, "/oidc/start?link=true"))
    assert stranger.get(back).headers["location"] == "/sign-in?problem=already_linked"


def test_the_disabled_and_the_unknown_stay_out(elsewhere: Provider, guests: House) -> None:
    elsewhere.claims = subject("leaver")
    browser = guests.browser()
    through(browser)
    _, admin = guests.member("admin")
    admin.patch(f"/admin/people/{browser.get('/me').json()['id']}", {"status": "disabled"})
    answer = through(guests.browser())
    assert answer.headers["location"] == "/sign-in?problem=account_disabled"


def test_unknown_people_need_sign_up(tmp_path: Any, elsewhere: Provider) -> None:
    settings = OidcSettings("Elsewhere", elsewhere.issuer, CLIENT, SECRET)
    with house(tmp_path, oidc=settings) as here:
        here.person("admin")
        answer = through(here.browser())
        assert answer.headers["location"] == "/sign-in?problem=no_account"
        with here.store.begin() as session:
            assert session.scalars(select(OutsideIdentity)).all() == []


def test_state_and_cookie_belong_to_one_browser(elsewhere: Provider, guests: House) -> None:
    elsewhere.claims = subject("state")
    failed = "/sign-in?problem=oidc_failed"
    browser, attacker = guests.browser(), guests.browser()
    # Somebody else's answer, as an image or a link on another page would bring it.
    theirs = at_provider(begin(attacker))
    assert browser.get(theirs).headers["location"] == failed
    begin(browser)
    assert browser.get(theirs).headers["location"] == failed
    assert browser.cookies == {}
    # One's own, but twice; and with another state; and too late.
    back = at_provider(begin(browser))
    kept = dict(browser.cookies)
    assert browser.get(back).headers["location"] == "/"
    browser.cookies |= kept
    assert browser.get(back).headers["location"] == failed
    back = at_provider(begin(browser))
    query = parse_qs(urlsplit(back).query)
    changed = back.replace(query["state"][0], "x" * 43)
    assert browser.get(changed).headers["location"] == failed
    assert browser.get("/oidc/callback").headers["location"] == "/sign-in?problem=oidc_refused"
    denied = browser.get("/oidc/callback?error=access_denied&state=x")
    assert denied.headers["location"] == "/sign-in?problem=oidc_refused"
    for cookie in ("", "x", "A" * 3000):
        there = guests.browser(cookies={"chatwright-oidc": cookie}).get(back)
        assert there.headers["location"] == failed


def test_what_was_begun_ends_after_ten_minutes(
    elsewhere: Provider, guests: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = guests.browser()
    back = at_provider(begin(browser))
    at = time.time()
    monkeypatch.setattr(oidc.time, "time", lambda: at + 601)
    assert browser.get(back).headers["location"] == "/sign-in?problem=oidc_failed"


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"}, {"iss": None},
        {"aud": "another"}, {"aud": None}, {"aud": ["another"]}, {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"}, {"azp": "another"}, {"aud": {"x": CLIENT}},
        {"exp": NOW - 3600}, {"exp": None}, {"exp": "never"}, {"exp": True}, {"exp": 1e300},
        {"iat": NOW + 3600}, {"iat": None}, {"nbf": NOW + 3600},
        {"nonce": "another"}, {"nonce": None}, {"nonce": 5},
        {"sub": None}, {"sub": ""}, {"sub": "x" * 256}, {"sub": ["ada"]},
    ],
)  # fmt: skip
def test_a_token_that_does_not_fit_lets_nobody_in(
    elsewhere: Provider, guests: House, claims: dict[str, Any]
) -> None:
    elsewhere.claims = claims
    browser = guests.browser()
    assert through(browser).headers["location"] == "/sign-in?problem=oidc_failed"
    assert browser.cookies == {}


def test_a_token_signed_by_another_lets_nobody_in(elsewhere: Provider, guests: House) -> None:
    elsewhere.claims = subject("forger")
    for algorithm, key in (
        ("RS256", RSAKey.generate_key(2048)), ("none", None), ("HS256", None),
    ):  # fmt: skip
        elsewhere.algorithm, elsewhere.signing = algorithm, key
        browser = guests.browser()
        assert through(browser).headers["location"] == "/sign-in?problem=oidc_failed", algorithm
    with guests.store.begin() as session:
        assert session.get(OutsideIdentity, (elsewhere.issuer, "forger")) is None


def test_a_key_that_is_new_at_the_provider_is_fetched(
    elsewhere: Provider, guests: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.claims = subject("rotation")
    through(guests.browser())
    elsewhere.key = RSAKey.generate_key(2048, auto_kid=True)
    client = guests.service.accounts.provider
    told, until = client._keys
    client._keys = (told, until - 60)  # they were fetched a minute ago
    assert through(guests.browser()).headers["location"] == "/"


@pytest.mark.parametrize("part", ["about", "keys", "token"])
@pytest.mark.parametrize("how", ["redirect", "broken", "large", "error", "list", "deep"])
def test_a_provider_that_misbehaves_is_not_followed(
    elsewhere: Provider, guests: House, part: str, how: str
) -> None:
    elsewhere.answers[part] = {
        "redirect": RedirectResponse(f"{elsewhere.issuer}/elsewhere"),
        "broken": PlainTextResponse("<html>"),
        "large": PlainTextResponse(" " * (2 << 20)),
        "error": JSONResponse({}, 500),
        "list": JSONResponse([]),
        "deep": PlainTextResponse("[" * 200_000),
    }[how]
    browser = guests.browser()
    answer = browser.get("/oidc/start")
    if part != "about":
        answer = browser.get(at_provider(answer.headers["location"]))
    assert answer.headers["location"].startswith("/sign-in?problem=oidc_")
    assert "elsewhere" not in elsewhere.asked and "chatwright" not in browser.cookies
    assert guests.browser().get("/session").status_code == 200


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("issuer", "https://evil.example"),
        ("token_endpoint", "http://10.0.0.1/token"),
        ("token_endpoint", "file:///etc/passwd"),
        ("token_endpoint", "http://127.0.0.1.evil.example/"),
        ("token_endpoint", "https://user:password@example.org/"),
        ("jwks_uri", "http://169.254.169.254/latest/meta-data"),
        ("jwks_uri", 5),
        ("authorization_endpoint", "javascript:alert(1)"),
    ],
)
def test_the_providers_parts_must_be_https(
    elsewhere: Provider, guests: House, name: str, url: Any
) -> None:
    elsewhere.metadata[name] = url
    browser = guests.browser()
    answer = browser.get("/oidc/start")
    if not answer.headers["location"].startswith("/sign-in"):
        answer = browser.get(at_provider(answer.headers["location"]))
    assert answer.headers["location"].startswith("/sign-in?problem=oidc_")


def test_the_issuer_must_be_https_or_on_this_machine() -> None:
    for url in (
        "https://id.example.org",
        "http://localhost:9000",
        "http://[::1]:1",
        "http://127.0.0.1",
    ):
        assert check_address(url, "the issuer") == url
    for url in ("http://id.example.org", "http://0177.0.0.1", "http://2130706433", "ftp://localhost",
                "https://", "https://a@b", "http://[::ffff:10.0.0.1]", "", "localhost", "http://[",
                "https://a#b"):  # fmt: skip
        with pytest.raises(UsageError):
            check_address(url, "the issuer")
    with pytest.raises(UsageError):
        Client(OidcSettings("x", "http://id.example.org", "a", "b"))


def test_without_a_provider_there_is_nothing(house_: House) -> None:
    assert house_.browser().get("/oidc/start").status_code == 404
    assert house_.browser().get("/oidc/callback?code=x&state=y").status_code == 404


def test_somebody_without_a_password_confirms_with_a_fresh_session(
    elsewhere: Provider, guests: House
) -> None:
    elsewhere.claims = subject("passing")
    browser = guests.browser()
    through(browser)
    person_id = browser.get("/me").json()["id"]
    assert browser.delete("/me", {}).status_code == 204
    with guests.store.begin() as session:
        assert session.get(Person, person_id) is None
        assert session.get(OutsideIdentity, (elsewhere.issuer, "passing")) is None
