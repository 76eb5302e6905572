"""A real server with accounts, and browsers and programs that ask it."""

from __future__ import annotations

import ipaddress
import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from chat_server import HTTP, ScriptedEngine, running, scripted
from chatwright.serve import Limits, create_app
from chatwright.serve.access import SCOPES, Role
from chatwright.serve.accounts import apikeys, people, sessions
from chatwright.serve.accounts.passwords import Passwords
from chatwright.serve.service import ServeOptions, Service
from chatwright.serve.store import Store, open_store

PASSWORD = "a long walk by the sea"
ROOT = "/v1/chatwright"
_NUMBERS = itertools.count(1)
_PROXY = (ipaddress.ip_network("127.0.0.0/8"),)  # so that each browser has an address of its own
_HASHED = Passwords(cheap=True).hash_now(PASSWORD)


def new_address() -> str:
    """An address that nothing was counted for."""
    number = next(_NUMBERS)
    return f"198.{18 + number // 62500 % 2}.{number // 250 % 250}.{number % 250 + 1}"


@dataclass
class Browser:
    """Keeps cookies and tells its origin, as a browser does; `address` is where it seems to be."""

    base: str
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = field(default_factory=new_address)
    origin: str | None = "same"

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        told = {"X-Forwarded-For": self.address}
        if self.origin is not None:
            told["Origin"] = self.base if self.origin == "same" else self.origin
        jar = self.cookies if cookies is None else cookies
        if jar:
            told["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        told |= headers or {}
        url = self.base + (path if path.startswith(("/v1/", "/x/")) else ROOT + path)
        answer = HTTP.request(method, url, json=body, headers=told)
        HTTP.cookies.clear()  # the client is shared by all tests; the jar here is the browser's
        if cookies is None:
            for header in answer.headers.get_list("set-cookie"):
                name, value = header.split(";")[0].split("=", 1)
                value = value.strip('"')
                if "max-age=0" in header.lower() or not value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = value
        return answer

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.send("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.send("POST", path, {} if body is None else body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.send("PATCH", path, body, **more)

    def delete(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.send("DELETE", path, body, **more)

    def sign_in(
        self, email: str, password: str = PASSWORD, code: str | None = None
    ) -> httpx.Response:
        told = {"email": email, "password": password}
        return self.post("/session", told | ({"code": code} if code is not None else {}))


@dataclass
class House:
    """A running server with accounts, and the parts behind it."""

    address: str
    app: FastAPI
    service: Service
    store: Store

    def browser(self, **more: Any) -> Browser:
        return Browser(self.address, **more)

    def person(self, role: str = "user", **more: Any) -> people.Person:
        """A new account in the database, with the usual password."""
        number = next(_NUMBERS)
        with self.store.begin() as session:
            made = people.create_person(
                session,
                self.store.keys,
                name=more.pop("name", f"Person {number}"),
                email=f"person{number}@example.org",
                role=Role(role),
                password_hash=_HASHED,
            )
            for name, value in more.items():
                setattr(made, name, value)
        return made

    def signed_in(self, person: people.Person) -> Browser:
        """A browser of somebody, without going through the sign-in."""
        with self.store.begin() as session:
            token = sessions.start_session(
                session, session.get(people.Person, person.id), address="", agent="test"
            )
        return self.browser(cookies={"chatwright": token})

    def member(self, role: str = "user", **more: Any) -> tuple[people.Person, Browser]:
        person = self.person(role, **more)
        return person, self.signed_in(person)

    def key(self, person: people.Person, scopes: tuple[str, ...] = SCOPES) -> str:
        """A key of somebody."""
        with self.store.begin() as session:
            made = apikeys.create_key(
                session, person.id, name="test", scopes=list(scopes), days=None
            )
        return str(made["key"])

    def by_key(self, key: str, **more: Any) -> Browser:
        """A program: it has no cookies and tells no origin."""
        return Program(self.address, origin=None, key=key, **more)


@dataclass
class Program(Browser):
    """Shows a key."""

    key: str = ""

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", **(more.pop("headers", None) or {})}
        return super().send(method, path, body, headers=headers, **more)


@cache
def _empty_database() -> bytes:
    """A database with the newest schema: migrating takes longer than a test."""
    with tempfile.TemporaryDirectory() as name:
        open_store(None, folder=Path(name)).close()
        return (Path(name) / "chat.db").read_bytes()


@contextmanager
def house(
    folder: Path,
    *,
    limits: Limits | None = None,
    knowledge: Path | None = None,
    url: str | None = None,
    **options: Any,
) -> Iterator[House]:
    """A server with accounts over a database in `folder`, or at `url`."""
    registry, _ = scripted(ScriptedEngine(lambda _: "Yes [1]."), knowledge)
    if url is None:
        folder.mkdir(exist_ok=True)
        (folder / "chat.db").write_bytes(_empty_database())
    store = open_store(url, folder=folder)
    told = {"accounts": True, "cheap_passwords": True, "trusted_proxies": _PROXY, **options}
    app = create_app(registry, limits=limits or Limits(), store=store, options=ServeOptions(**told))
    with running(app) as address:
        yield House(address, app, app.state.service, store)
