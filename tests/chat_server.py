"""A small knowledge base, an engine that says what it is told to, and a real server around both."""

from __future__ import annotations

import faulthandler
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from chatwright.assist import Assistant, AssistantSettings, Knowledge
from chatwright.assist.knowledge import KnowledgeSettings, run_knowledge
from chatwright.errors import ContextError
from chatwright.generate import Completion, Piece, SamplingParams
from chatwright.records import Document, LedgerEntry, Message, Parent, content_id, write_dataset
from chatwright.serve import Registry, Served
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

HTTP = httpx.Client(verify=False)  # plain http only: reading certificates takes longer than a test
SOURCE = "pypi:harbour-guide==1.2"
PAGES = {
    "tides.html": (
        "en",
        "# Tides\n\nWhat the sea does twice a day, and why the harbour cares about it.\n\n"
        "## Spring tides\n\nA spring tide comes when sun and moon pull in one line, at new and "
        "full moon. The range is then the largest, and the harbour gate opens for three hours.\n\n"
        "## Neap tides\n\nA neap tide comes at half moon, when the pulls are at right angles. The "
        "range is the smallest, and the gate stays open for five hours on each tide.\n",
    ),
    "mooring.html": (
        "en",
        "# Mooring\n\nBoats up to twelve metres moor at the north quay. The fee is paid at the "
        "harbour office before noon.\n\n```python\nfee = metres * 2.5\n```\n\n"
        "| length | fee |\n|---|--:|\n| 8 m | 20.00 |\n| 12 m | 30.00 |\n",
    ),
    "潮汐.html": (
        "zh",
        "# 潮汐\n\n大潮出现在新月和满月的时候，太阳和月亮的引力在一条线上，"
        "潮差最大，港口闸门只开放三个小时。\n",
    ),
}


def build_corpus(root: Path) -> Path:
    """pages → corpus → knowledge in a workspace; returns the knowledge dataset."""
    folder = root / "datasets" / "harbour"
    pages = [
        Document(
            id=content_id(SOURCE, text),
            text=text,
            uri=f"https://harbour.example/guide/{name}",
            source=SOURCE,
            license="CC-BY-4.0",
            language=language,
            collected_at=datetime(2024, 5, 17, tzinfo=UTC),
            meta={"title": text.splitlines()[0].removeprefix("# ")},
        )
        for name, (language, text) in PAGES.items()
    ]
    parents: list[Parent] = []
    for stage, fingerprint in (("pages", "a" * 32), ("corpus", "b" * 32)):
        out = write_dataset(
            folder / stage,
            Document,
            stage=stage,
            fingerprint=fingerprint,
            settings={},
            parents=parents,
        )
        with out as writer:
            for page in pages:
                writer.write(page)
                writer.log(
                    LedgerEntry(page.id, page.uri, stage, "keep", "word_count", 61.0, "min 5")
                )
        parents = [Parent(stage, fingerprint, f"../{stage}")]
    run_knowledge(
        KnowledgeSettings(input="corpus"),
        StageContext(
            recipe="harbour",
            stage="knowledge",
            seed=0,
            output=folder / "knowledge",
            scratch=root / "scratch",
            fingerprint="c" * 32,
            workspace=Workspace(root),
            inputs={"corpus": folder / "corpus"},
            parents=parents,
        ),
    )
    return folder / "knowledge"


class WordTokenizer:
    """Counts words: enough for an assistant to fit a prompt."""

    def chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
        return [0] * sum(4 + len(m.content.split()) for m in messages)


@dataclass
class ScriptedEngine:
    """Says `answer(messages)` word by word, one every `seconds`. Knows how many are being said."""

    answer: Callable[[Sequence[Message]], str]
    seconds: float = 0.0
    context: int = 4000
    tokenizer: WordTokenizer = field(default_factory=WordTokenizer)
    active: int = 0
    said: int = 0
    asked: list[list[Message]] = field(default_factory=list)
    params: list[SamplingParams] = field(default_factory=list)
    closed: bool = False

    def stream(
        self, messages: Sequence[Message], params: SamplingParams, /, *, tenant: str = ""
    ) -> ScriptedPieces:
        prompt = len(self.tokenizer.chat(messages, add_generation_prompt=True))
        if prompt >= self.context:
            raise ContextError("the question is too long")
        self.asked.append(list(messages))
        self.params.append(params)
        return ScriptedPieces(self, self.answer(messages), prompt, params.max_tokens)

    def close(self) -> None:
        self.closed = True


class ScriptedPieces:
    """Pieces with the real engine's behaviour: `close` from any thread ends them."""

    def __init__(self, engine: ScriptedEngine, text: str, prompt: int, most: int) -> None:
        self._engine = engine
        self._closed = threading.Event()
        words = text.split(" ")
        self._pieces = [w if n == 0 else f" {w}" for n, w in enumerate(words)]
        self._prompt = prompt
        self._most = most
        self._said: list[str] = []
        self._ended = False
        engine.active += 1

    def __iter__(self) -> ScriptedPieces:
        return self

    def __next__(self) -> Piece:
        if self._ended:
            raise StopIteration
        if self._closed.wait(self._engine.seconds) or self._closed.is_set():
            return self._end("", "cancelled")
        if len(self._said) == self._most and len(self._pieces) > self._most:
            return self._end("", "length")
        if len(self._said) == len(self._pieces):
            return self._end("", "stop")
        text = self._pieces[len(self._said)]
        if text.strip() == "CRASH":
            self._ended = True
            self._engine.active -= 1
            raise RuntimeError("a secret path /home/somebody")
        self._said.append(text)
        self._engine.said += 1
        return Piece(text)

    def _end(self, text: str, reason: Any) -> Piece:
        self._ended = True
        self._engine.active -= 1
        whole = Completion(
            "".join(self._said), list(range(len(self._said))), None, reason, self._prompt
        )
        return Piece(text, reason, whole)

    def close(self) -> None:
        self._closed.set()


def scripted(
    engine: ScriptedEngine, knowledge: Path | None, **settings: Any
) -> tuple[Registry, Assistant]:
    """A registry with one assistant, `harbour`, that the engine answers for."""
    loaded = Assistant(
        engine,
        Knowledge.open(knowledge) if knowledge else None,
        AssistantSettings(name="harbour", title="Harbour guide", **settings),
    )
    served = Served(
        name="harbour",
        kind="assistant",
        title="Harbour guide",
        description="Answers questions about tides and moorings from the harbour's own guide.",
        examples=(
            "When is the harbour gate open at spring tide?",
            "What does it cost to moor a boat of 12 metres?",
            "大潮的时候闸门开放多久？",
        ),
        knowledge=knowledge,
    )
    return Registry(lambda: [served], lambda _: loaded), loaded


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The app behind a real uvicorn on a free port of 127.0.0.1; yields its address."""
    listening = socket.socket()
    # As the command does: without it each reply on a kept connection waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        if thread.is_alive():
            faulthandler.dump_traceback(sys.__stderr__)  # what each thread is waiting for
        assert not thread.is_alive(), "the server did not stop"


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; fail loudly when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
