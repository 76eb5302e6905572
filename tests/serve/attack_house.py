"""A server under attack: everybody's things are in it, and after each test it must still serve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from accounts_server import ROOT, Browser, House, house
from chat_server import HTTP, ScriptedEngine, scripted
from chatwright.records import Message
from chatwright.serve import Limits
from chatwright.serve.ids import new_id
from chatwright.serve.limits import Rate
from chatwright.serve.store.tables import Job, JobEvent, Moderated, StoredPassage

MOST_GROWTH = 200 << 20  # bytes that the process may have grown by when a test has ended

ROWS = (
    b'{"messages": [{"role": "user", "content": "When?"},'
    b' {"role": "assistant", "content": "At noon."}]}\n'
)


def said(messages: Sequence[Message]) -> str:
    """What the engine of these tests says: `SAY …` in the last message is repeated."""
    last = messages[-1].content
    return last.split("SAY ", 1)[1] if "SAY " in last else "The gate opens at noon."


def rates(most: float = 1e6) -> dict[str, Rate]:
    """Walks are many requests; how they are counted is tested elsewhere."""
    names = ("api", "public", "upload", "share", "sign_in", "credentials")
    return {name: Rate(most, most) for name in names}


@contextmanager
def attacked(folder: Path, *, limits: Limits | None = None, **more: Any) -> Iterator[House]:
    """A server with accounts and an administrator, over an engine that says what `said` says."""
    with house(folder, limits=limits or Limits(rates=rates()), **more) as here:
        here.person("admin")
        here.service.registry._load = _engine(said)
        yield here


def _engine(answer: Callable[[Sequence[Message]], str]) -> Any:
    engine = ScriptedEngine(answer)
    _, assistant = scripted(engine, None)
    return lambda _: assistant


def memory() -> int:
    """Resident bytes of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def survives(here: House) -> Iterator[None]:
    """Afterwards the same process answers somebody else, and has not grown."""
    before = memory()
    yield
    friend = _friend(here.address, here)
    assert HTTP.get(f"{here.address}/healthz").status_code == 200
    question = {"role": "user", "content": "When does the gate open?"}
    reply = friend.post("/v1/chat/completions", {"model": "harbour", "messages": [question]})
    assert reply.status_code == 200, reply.text
    assert "noon" in reply.json()["choices"][0]["message"]["content"]
    assert memory() - before < MOST_GROWTH


_FRIENDS: dict[str, Browser] = {}


def _friend(address: str, here: House) -> Browser:
    """Somebody who has nothing to do with it."""
    if address not in _FRIENDS:
        _FRIENDS[address] = here.member()[1]
    return _FRIENDS[address]


def raw(
    browser: Browser,
    method: str,
    path: str,
    content: bytes = b"",
    kind: str | None = "application/json",
    **headers: str,
) -> httpx.Response:
    """A request whose body is exactly `content`."""
    told = {**_headers(browser), **({"Content-Type": kind} if kind else {}), **headers}
    reply = HTTP.request(method, _url(browser, path), content=content, headers=told)
    HTTP.cookies.clear()
    return reply


def upload(browser: Browser, path: str, name: str, data: bytes, **fields: str) -> httpx.Response:
    """A file, as a form sends it."""
    files = {"file": (name, data)}
    reply = HTTP.post(_url(browser, path), files=files, data=fields, headers=_headers(browser))
    HTTP.cookies.clear()
    return reply


def _url(browser: Browser, path: str) -> str:
    return browser.base + (path if path.startswith(("/v1/", "/x/")) else ROOT + path)


def _headers(browser: Browser) -> dict[str, str]:
    told = {"Origin": browser.base, "X-Forwarded-For": browser.address}
    if browser.cookies:
        told["Cookie"] = "; ".join(f"{k}={v}" for k, v in browser.cookies.items())
    return told


def made(reply: httpx.Response) -> dict[str, Any]:
    """What was made. The request must have gone well."""
    assert reply.is_success, reply.text
    told: dict[str, Any] = reply.json()
    return told


def ask(browser: Browser, text: str | None, **more: Any) -> tuple[dict[str, Any], str]:
    """Ask, and read all events: what the request told, and the stream."""
    told = made(browser.post("/answers", {"text": text, "model": "harbour", **more}))
    return told, browser.get(f"/runs/{told['run_id']}/events").text


@dataclass
class Things:
    """One of everything of somebody's: `ids` by the names that routes give them."""

    browser: Browser
    person_id: str
    ids: dict[str, str] = field(default_factory=dict)

    def snapshot(self) -> dict[str, Any]:
        """All that the person can see of what is theirs."""
        paths = ("/conversations", f"/conversations/{self.ids['conversation_id']}", "/folders",
                 "/tags", "/personas", "/memories", "/shares", "/collections", "/me/keys",
                 f"/collections/{self.ids['collection_id']}/files", "/v1/files",
                 "/me/sessions")  # fmt: skip
        told = {path: made(self.browser.get(path)) for path in paths}
        for one in told["/me/sessions"]["data"]:
            one.pop("last_seen_at")
        for one in told[f"/collections/{self.ids['collection_id']}/files"]["data"]:
            one.pop("status")  # vectors are made in the background
        return told


def things(here: House, role: str) -> Things:
    """Somebody who has one of everything."""
    person, browser = here.member(role)
    mine = Things(browser, person.id)
    ids = mine.ids
    ids["folder_id"] = made(browser.post("/folders", {"name": "Sea"}))["id"]
    ids["tag_id"] = made(browser.post("/tags", {"name": "tides"}))["id"]
    ids["persona_id"] = made(browser.post("/personas", {"name": "P", "instructions": "Be."}))["id"]
    ids["memory_id"] = made(browser.post("/memories", {"text": "I moor in the north."}))["id"]
    told, _ = ask(browser, "When?")
    ids["run_id"] = told["run_id"]
    ids["conversation_id"] = told["conversation_id"]
    ids["question_id"], ids["message_id"] = told["question_id"], told["answer_id"]
    again = {"action": "regenerate", "message_id": told["answer_id"], "model": "harbour"}
    again = made(browser.post("/answers", {**again, "conversation_id": told["conversation_id"]}))
    browser.get(f"/runs/{again['run_id']}/events")
    ids["other_message_id"] = again["answer_id"]
    share = made(browser.post(f"/conversations/{ids['conversation_id']}/shares", {}))
    ids["share_id"] = share["id"]
    ids["collection_id"] = made(browser.post("/collections", {"name": "C", "shared": False}))["id"]
    text = b"# Mooring\n\nBoats moor at the north quay until noon. The fee is paid at the office."
    file = made(upload(browser, f"/collections/{ids['collection_id']}/files", "m.md", text))
    ids["knowledge_file_id"] = file["id"]
    with here.store.begin() as session:
        passage = select(StoredPassage.id).where(StoredPassage.file_id == file["id"])
        ids["passage_id"] = str(session.scalars(passage).first())
    ids["attachment_id"] = made(upload(browser, "/attachments", "a.txt", text))["id"]
    ids["file_id"] = made(upload(browser, "/v1/files", "r.jsonl", ROWS, purpose="fine-tune"))["id"]
    ids["session_id"] = made(browser.get("/me/sessions"))["data"][0]["id"]
    ids["key_id"] = made(browser.post("/me/keys", {"name": "k", "scopes": ["chat"]}))["id"]
    ids["event_id"], ids["job_id"] = new_id("mod"), new_id("ftjob")
    with here.store.begin() as session:
        here.store.keys.sealer(session, person.id)
        session.add(Moderated(id=ids["event_id"], person_id=person.id, direction="input",
                              blocked=True, categories=["harassment"], scores={}))  # fmt: skip
        settings = {"method": "supervised", "hyperparameters": {}, "model": "harbour", "seed": 1,
                    "training_file": ids["file_id"], "validation_file": None,
                    "suffix": None}  # fmt: skip
        session.add(Job(id=ids["job_id"], person_id=person.id, kind="fine_tuning",
                        status="succeeded", settings=settings))  # fmt: skip
        session.flush()
        ids["job_event_id"] = new_id("ftevent")
        session.add(JobEvent(id=ids["job_event_id"], job_id=ids["job_id"], number=1, message="m"))
    return mine
