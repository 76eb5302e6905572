"""The page in a real Chromium against a real server with scripted engines, and what is watched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hatch_build
import pytest
from fastapi import FastAPI

from chat_server import ScriptedEngine, build_corpus, running
from chatwright.assist import Assistant, AssistantSettings, Knowledge
from chatwright.records import Message
from chatwright.serve import Registry, Served, create_app
from chatwright.serve.store import open_store

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = hatch_build.WEB / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ANSWER = "At **spring tide** the gate opens for three hours [1], at neap tide for longer [2]."
Reply = str | Callable[[Sequence[Message]], str]


@dataclass
class Script:
    """What is answered: `replies` by a piece of the question, the longest that fits; else ANSWER.

    Titles and summaries are asked for by the server itself, and kept apart.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    title: str = "Spring tide at the gate"
    asides: int = 0

    def __call__(self, messages: Sequence[Message]) -> str:
        said = (m.content for m in reversed(messages) if m.role == "user")
        question = next(text for text in said if "<tool_response>" not in text)
        if question.startswith(("Write a title", "\u7528\u4e0d\u8d85\u8fc7\u5341\u4e2a\u5b57")):
            return self.title
        if question.startswith("Summarise the conversation"):
            self.asides += 1
            return "They talked about the harbour gate."
        fits = [key for key in self.replies if key in question]
        reply = self.replies[max(fits, key=len)] if fits else ANSWER
        return reply if isinstance(reply, str) else reply(messages)


@dataclass
class PageHouse:
    """A server, a browser, and everything that must not happen in it (`problems`)."""

    address: str
    app: FastAPI
    browser: Any
    script: Script
    engine: ScriptedEngine  # of the assistant "harbour", which knows about tides
    small: ScriptedEngine  # of the model "small", which reads 400 words
    problems: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def open(self, path: str = "/", *, wait: bool = True, **options: Any) -> Any:
        """A page of a new browser profile. `wait`: until the chat can be asked."""
        asked = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}} | options
        context = self.browser.new_context(**asked)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        self.watch(page)
        page.goto(self.address + path)
        if wait:
            page.locator(".model-name").wait_for()
        return page

    def watch(self, page: Any) -> None:
        """A script that fails, a request to elsewhere, a dialog, a breach of the page's policy."""
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        page.on("request", lambda request: self._look(request.url))
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.problems.append(f"window: {popup.url}"))
        page.on(
            "console",
            lambda message: (
                self.problems.append(message.text)
                if "Content Security Policy" in message.text or "TrustedHTML" in message.text
                else None
            ),
        )

    def _look(self, url: str) -> None:
        if not url.startswith((self.address, "blob:")):
            self.problems.append(f"request: {url[:200]}")

    def _dialog(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def send(self, page: Any, method: str, path: str, body: Any = None) -> Any:
        """A request of the page's own, with what it is signed in with."""
        return page.evaluate(
            """async ([method, path, body]) => {
              const headers = body === null ? {} : {"Content-Type": "application/json"};
              const told = body === null ? undefined : JSON.stringify(body);
              const answer = await fetch("/v1/chatwright" + path, {method, headers, body: told});
              const text = await answer.text();
              if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
              return text ? JSON.parse(text) : null;
            }""",
            [method, path, body],
        )

    def close_pages(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts.clear()


@contextmanager
def chromium() -> Iterator[Any]:
    """The machine's own Chromium with the page built. Skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here (Debian's package of that name)")
    hatch_build.build_page()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def page_house(folder: Path, **options: Any) -> Iterator[PageHouse]:
    """A server with a database in `folder`, an assistant, a small model, and a browser."""
    knowledge = build_corpus(folder / "workspace")
    script = Script()
    engine = ScriptedEngine(script)
    small = ScriptedEngine(script, context=400)
    loaded = {
        "harbour": Assistant(
            engine, Knowledge.open(knowledge), AssistantSettings(name="harbour", title="Harbour")
        ),
        "harbour-zh": Assistant(
            engine, Knowledge.open(knowledge), AssistantSettings(name="harbour-zh")
        ),
        "small": Assistant(small, None, AssistantSettings(name="small", title="Small model")),
    }
    served = [
        Served(
            name="harbour",
            kind="assistant",
            title="Harbour guide",
            description="Answers questions about tides and moorings from the harbour's own guide.",
            examples=(
                "When is the harbour gate open at spring tide?",
                "What does it cost to moor a boat of 12 metres?",
                "\u5927\u6f6e\u7684\u65f6\u5019\u95f8\u95e8\u5f00\u653e\u591a\u4e45\uff1f",
            ),
            knowledge=knowledge,
        ),
        Served(
            name="harbour-zh",
            kind="assistant",
            title="\u6e2f\u53e3\u6307\u5357",
            description="\u6839\u636e\u6e2f\u53e3\u6307\u5357\u56de\u7b54\u6f6e\u6c50\u548c\u505c\u6cca\u7684\u95ee\u9898\u3002",
            examples=(
                "\u5927\u6f6e\u7684\u65f6\u5019\u95f8\u95e8\u5f00\u653e\u591a\u4e45\uff1f",
                "\u5341\u4e8c\u7c73\u7684\u8239\u505c\u6cca\u8d39\u662f\u591a\u5c11\uff1f",
            ),
            knowledge=knowledge,
        ),
        Served(name="small", kind="model", title="Small model"),
    ]
    registry = Registry(lambda: served, loaded.__getitem__, most_loaded=3)
    app = create_app(registry, store=open_store(None, folder=folder), **options)
    with chromium() as browser, running(app) as address:
        house = PageHouse(address, app, browser, script, engine, small)
        yield house
        house.close_pages()


def ask(page: Any, text: str, *, wait: bool = True) -> Any:
    """Type a question and send it; the answer's element, when it is complete."""
    before = page.locator("article.answer").count()
    page.locator(".composer textarea").fill(text)
    page.keyboard.press("Enter")
    answer = page.locator("article.answer").nth(before)
    answer.wait_for()
    if wait:
        page.locator('article.answer[aria-busy="true"]').wait_for(state="detached")
    return answer


def serious(page: Any, impacts: Sequence[str] = ("serious", "critical")) -> list[str]:
    """What axe-core finds on the page as it is, of these impacts."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']} ({rule['impact']}): {[node['html'][:120] for node in rule['nodes'][:3]]}"
        for rule in found["violations"]
        if rule["impact"] in impacts
    ]
