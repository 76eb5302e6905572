"""The mixed load of `serve.py`: people who chat, look things up, judge and upload; some vanish.

Whatever the server accepted (201 for an answer) must be in the history at the end, whole.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from _serve_client import ROOT, Api, chat

WORDS = [
    "river", "stone", "lamp", "winter", "garden", "paper", "engine", "violin", "harbour", "copper",
    "morning", "bridge", "letter", "signal", "forest", "market", "island", "灯塔", "天气", "城市",
]  # fmt: skip
_WAIT = 120.0  # seconds for answers that nobody waited for


@dataclass
class Accepted:
    """An answer that the server took on."""

    conversation_id: str
    answer_id: str
    question: str
    text: str | None = None  # as it was streamed, where somebody stayed


@dataclass
class Tally:
    """What became of the requests."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    vanished: int = 0
    first_ms: list[float] = field(default_factory=list)


class Visitor:
    """One client after another, with the key of one person."""

    def __init__(self, api: Api, model: str, tally: Tally, *, vanishing: float, seed: int) -> None:
        self.api, self.model, self.tally = api, model, tally
        self.vanishing = vanishing
        self.rng = random.Random(seed)
        self.accepted: list[Accepted] = []

    async def stay(self, ends: float) -> None:
        acts = [
            (self.talk, 30), (self.api_chat, 20), (self.look, 15), (self.search, 15),
            (self.judge, 12), (self.upload, 8),
        ]  # fmt: skip
        while time.monotonic() < ends:
            act = self.rng.choices([a for a, _ in acts], [w for _, w in acts])[0]
            try:
                async with asyncio.timeout(180):
                    await act()
            except Exception as error:
                self.tally.problems.append(f"{act.__name__}: {error!r}"[:200])
            self.tally.requests[act.__name__] += 1
            await asyncio.sleep(self.rng.expovariate(1 / 0.3))

    def words(self, least: int, most: int) -> str:
        return " ".join(self.rng.choices(WORDS, k=self.rng.randint(least, most)))

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """A reply that is fine, as JSON; None for one that came too soon (429)."""
        reply = await self.api.ask(method, path, body, **more)
        self.tally.statuses[reply.status] += 1
        told = await reply.json()
        if reply.status == 429:
            await asyncio.sleep(1)
            return None
        assert reply.status < 300, f"{method} {path.split('?', maxsplit=1)[0]}: {reply.status}"
        return told

    async def talk(self) -> None:
        """Ask, in a new conversation or on in one; some leave in the middle."""
        question = f"{self.words(3, 30)}?"
        body: dict[str, Any] = {
            "action": "ask", "text": question, "model": self.model,
            "params": {"max_tokens": self.rng.randint(4, 48)},
        }  # fmt: skip
        if self.accepted and self.rng.random() < 0.5:
            before = self.rng.choice(self.accepted)
            body |= {"conversation_id": before.conversation_id, "parent_id": before.answer_id}
        began = time.perf_counter()
        told = await self.ask("POST", f"{ROOT}/answers", body)
        if told is None:
            return
        one = Accepted(told["conversation_id"], told["answer_id"], question)
        leaves = self.rng.randint(1, 4) if self.rng.random() < self.vanishing else 0
        self.tally.vanished += bool(leaves)
        reply = await self.api.ask("GET", f"{ROOT}/runs/{told['run_id']}/events")
        self.tally.statuses[reply.status] += 1
        heard = 0
        async for name, data in reply.events():
            heard += 1
            if name == "text" and began:
                self.tally.first_ms.append(1000 * (time.perf_counter() - began))
                began = 0.0
            if leaves and heard >= leaves:
                reply.writer.transport.abort()  # as a cable that is pulled
                break
            if name == "done":
                one.text = json.loads(data)["text"]
                break
            assert name != "failed", data[:200]
        else:
            raise AssertionError("the events ended before the answer did")
        reply.writer.close()
        self.accepted.append(one)

    async def api_chat(self) -> None:
        """OpenAI's API; here, too, some leave."""
        if self.rng.random() < self.vanishing:
            body = {
                "model": self.model, "stream": True, "max_tokens": 48,
                "messages": [{"role": "user", "content": self.words(3, 30)}],
            }  # fmt: skip
            reply = await self.api.ask("POST", "/v1/chat/completions", body)
            self.tally.statuses[reply.status] += 1
            await reply.reader.read(10)
            reply.writer.transport.abort()
            self.tally.vanished += 1
            return
        one = await chat(self.api, self.model, self.words(3, 30), self.rng.randint(4, 48))
        self.tally.statuses[int(one.problem) if one.problem.isdigit() else 200] += 1
        assert one.problem in ("", "429", "nothing was said"), one.problem

    async def look(self) -> None:
        await self.ask("GET", f"{ROOT}/conversations?limit=30")
        if self.accepted:
            await self.ask(
                "GET", f"{ROOT}/conversations/{self.rng.choice(self.accepted).conversation_id}"
            )

    async def search(self) -> None:
        word = self.rng.choice([w for w in WORDS if w.isascii()])
        await self.ask("GET", f"{ROOT}/search?q={word}")

    async def judge(self) -> None:
        if not self.accepted:
            return
        one = self.rng.choice(self.accepted)
        if one.text is None:
            return  # it may still be written
        body = {"rating": self.rng.choice(("up", "down")), "reasons": [], "comment": "x"}
        await self.ask("PUT", f"{ROOT}/messages/{one.answer_id}/feedback", {**body, "better": ""})

    async def upload(self) -> None:
        text = f"# Notes\n\n{self.words(50, 400)}\n"
        head = 'Content-Disposition: form-data; name="file"; filename="notes.md"'
        body = f"--x\r\n{head}\r\nContent-Type: text/markdown\r\n\r\n{text}\r\n--x--\r\n".encode()
        told = await self.ask(
            "POST", f"{ROOT}/attachments", body,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )  # fmt: skip
        if told is not None:
            await self.ask("DELETE", f"{ROOT}/attachments/{told['id']}")


async def mixed(settings: dict[str, Any]) -> dict[str, Any]:
    """Let them all loose for `seconds`, then look whether everything is there."""
    tally = Tally()
    visitors = [
        Visitor(
            Api(settings["url"], key),
            settings["model"],
            tally,
            vanishing=settings["vanishing"],
            seed=17 * number,
        )
        for number, key in enumerate(settings["keys"] * settings["each"])
    ]
    ends = time.monotonic() + settings["seconds"]
    await asyncio.gather(*(one.stay(ends) for one in visitors))
    print(json.dumps({"over": True}), flush=True)
    lost = [problem for one in visitors for problem in await _missing(one)]
    firsts = sorted(tally.first_ms)
    return {
        "requests": sum(tally.requests.values()),
        "by_kind": dict(tally.requests),
        "statuses": {str(k): v for k, v in sorted(tally.statuses.items())},
        "server_errors": sum(n for status, n in tally.statuses.items() if status >= 500),
        "too_many": tally.statuses[429],
        "problems": len(tally.problems),
        "first_problems": tally.problems[:5],
        "vanished": tally.vanished,
        "accepted_answers": sum(len(one.accepted) for one in visitors),
        "lost": len(lost),
        "first_lost": lost[:5],
        "first_token_p95_ms": round(firsts[int(0.95 * len(firsts))], 1) if firsts else None,
    }


async def _missing(visitor: Visitor) -> list[str]:
    """What was accepted and is not in the history, or is not whole."""
    end = time.monotonic() + _WAIT
    while (await visitor.api.get(f"{ROOT}/runs"))["data"] and time.monotonic() < end:
        await asyncio.sleep(0.5)
    known: dict[str, dict[str, Any]] = {}
    wrong = []
    for one in visitor.accepted:
        if one.conversation_id not in known:
            told = await visitor.api.get(f"{ROOT}/conversations/{one.conversation_id}")
            known[one.conversation_id] = {m["id"]: m for m in told["messages"]}
            await asyncio.sleep(0.02)
        there = known[one.conversation_id].get(one.answer_id)
        if there is None:
            wrong.append(f"{one.answer_id}: not there")
            continue
        asked = known[one.conversation_id].get(there["parent_id"], {})
        if there["status"] != "done":
            wrong.append(f"{one.answer_id}: {there['status']}")
        elif one.text is not None and there["text"] != one.text:
            wrong.append(f"{one.answer_id}: another text")
        elif asked.get("text") != one.question:
            wrong.append(f"{one.answer_id}: another question")
    return wrong
