"""The soak through `chatwright serve`: clients over HTTP that wait, hang up, and ask wrongly."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _generate_traffic import Tally
from _machine import must

WORDS = [
    "river", "stone", "lamp", "winter", "garden", "paper", "engine", "violin", "harbour", "copper",
    "灯塔", "天气", "城市", "morning", "bridge", "letter", "signal", "forest", "market", "island",
]  # fmt: skip
KEPT = 60
PATH = "/v1/chat/completions"


class Address:
    """Where the server is, and one request to it at a time on a connection of its own."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.host, self.port = place.hostname or "127.0.0.1", place.port or 80

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=120)

    def get(self, path: str) -> Any:
        connection = self.connect()
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def post(self, body: bytes) -> tuple[int, Any]:
        """Status and the answer as JSON."""
        connection = self.connect()
        try:
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


class HttpClient(threading.Thread):
    """One client after another, until `ends` (monotonic seconds)."""

    def __init__(
        self, address: Address, model: str, tally: Tally, kept: list[Any], *, seed: int, ends: float
    ) -> None:
        super().__init__(name=f"http-client-{seed}", daemon=True)
        self._address, self._model, self._tally, self._kept = address, model, tally, kept
        self._rng, self._ends = random.Random(seed), ends

    def run(self) -> None:
        while time.monotonic() < self._ends:
            try:
                became = self._one()
            except Exception as error:
                self._tally.fault(f"{type(error).__name__}: {error}")
            else:
                with self._tally.lock:
                    self._tally.ended[became] += 1
            time.sleep(self._rng.expovariate(1 / 0.2))

    def _one(self) -> str:
        rng, draw = self._rng, self._rng.random()
        if draw < 0.1:
            return self._wrong()
        body = self._body()
        if draw < 0.55:
            status, answer = self._address.post(json.dumps(body).encode())
            if status == 429:
                return "too many at once"
            assert status == 200, f"{status}: {answer}"
            text = answer["choices"][0]["message"]["content"]
            if body["temperature"] == 0.0:
                with self._tally.lock:
                    if len(self._kept) < KEPT:
                        self._kept.append((body, text))
            return str(answer["choices"][0]["finish_reason"])
        return self._stream(body, leaves_after=rng.randint(1, 8) if draw < 0.85 else None)

    def _body(self) -> dict[str, Any]:
        rng = self._rng
        # Many begin alike, as with a system prompt.
        shared = [WORDS[i % len(WORDS)] for i in range(rng.choice((0, 0, 40, 300)))]
        own = rng.choices(WORDS, k=rng.randint(3, 60))
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": " ".join([*shared, *own])}],
            "max_tokens": rng.randint(1, 48),
            "temperature": rng.choice((0.0, 0.0, 0.8)),
        }
        extra = rng.random()
        if extra < 0.1 and body["temperature"] == 0.0:
            body["num_beams"] = 3
        elif extra < 0.2:
            body["stop"] = ["e", "\n\n"]
        elif extra < 0.3:
            body["response_format"] = {"type": "json_object"}
        elif extra < 0.4:
            body["seed"] = rng.randrange(1000)
        return body

    def _stream(self, body: dict[str, Any], leaves_after: int | None) -> str:
        connection = self._address.connect()
        try:
            data = json.dumps(body | {"stream": True}).encode()
            connection.request("POST", PATH, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status == 429:
                return "too many at once"
            assert response.status == 200, response.read()
            events, last = 0, b""
            while line := response.readline():
                if not line.startswith(b"data: "):
                    continue
                events, last = events + 1, line
                if events == leaves_after:
                    return "hung up"
            assert last.strip() == b"data: [DONE]", last
            return "streamed"
        finally:
            connection.close()  # with an answer under way, this is what hanging up is

    def _wrong(self) -> str:
        body = self._body()
        wrong = self._rng.choice(
            (
                b"{not json",
                json.dumps(body | {"max_tokens": 10**9}).encode(),
                json.dumps(body | {"model": "nobody"}).encode(),
                json.dumps(body | {"temperature": -1}).encode(),
                json.dumps(
                    body | {"messages": [{"role": "user", "content": "stone " * 20_000}]}
                ).encode(),
            )
        )
        status, answer = self._address.post(wrong)
        if status == 429:
            return "too many at once"
        assert 400 <= status < 500, f"{status} for {wrong[:80]!r}"
        assert answer["error"]["message"], "a refusal without a reason"
        return "refused"


def soak_server(
    chatwright: Path, model: str, *, seconds: float, clients: int, seed: int
) -> dict[str, Any]:
    """Serve `model` in a process of its own and let `clients` loose on it."""
    from soak import MemoryLog

    tally, kept = Tally(), list[Any]()
    with tempfile.TemporaryDirectory() as workspace:
        process = subprocess.Popen(
            [chatwright, "serve", model, "--no-accounts", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CHATWRIGHT_WORKSPACE": workspace, "COLUMNS": "200"},
        )
        try:
            address = Address(_url(process))
            first = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            status, answer = address.post(json.dumps(first | {"max_tokens": 4}).encode())
            assert status == 200, answer
            _fill(address, model, random.Random(seed))
            log = MemoryLog(process.pid)
            ends = time.monotonic() + seconds
            sent = [
                HttpClient(address, model, tally, kept, seed=1000 * seed + i, ends=ends)
                for i in range(clients)
            ]
            for client in sent:
                client.start()
            for client in sent:
                client.join(seconds + 180)
            stuck = [client.name for client in sent if client.is_alive()]
            log.stop()
            active = _settled(address)
            different = [
                body["messages"][0]["content"][:60]
                for body, text in kept
                if address.post(json.dumps(body).encode())[1]["choices"][0]["message"]["content"]
                != text
            ]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                status = process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
    return {
        "seconds": seconds,
        "requests": sum(tally.ended.values()),
        "ended": dict(tally.ended),
        "faults": tally.faults,
        "stuck_clients": stuck,
        "active_at_the_end": active,
        "memory": log.growth(seconds) if seconds >= 20 else {},
        "compared_alone": len(kept),
        "different_alone": different,
        "exit_status": status,
    }


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if (found := re.search(r"http://[^\s/]+", line)) is not None:
            # What it goes on to print is read, or it would wait for a reader.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[0]
    raise SystemExit(f"the server ended with status {process.wait()}")


def _fill(address: Address, model: str, rng: random.Random) -> None:
    """Long prompts side by side, more than the traffic ever needs with what is kept for reuse.

    A full-size pool is far from full of such traffic: without this its memory would be taken from
    the system little by little, whenever more was in use at a time than ever before. And each form
    of request once, for what is made the first time.
    """
    forms: tuple[dict[str, Any], ...] = (
        {"num_beams": 3},
        {"response_format": {"type": "json_object"}},
        {"temperature": 0.8, "seed": 1},
    )
    for form in forms:
        first = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
        status, answer = address.post(json.dumps(first | {"model": model} | form).encode())
        assert status == 200, answer

    def ask() -> None:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": " ".join(rng.choices(WORDS, k=1700))}],
            "max_tokens": 100,  # nobody's blocks come back before all have theirs
        }
        status, answer = address.post(json.dumps(body).encode())
        assert status == 200, answer

    asking = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()


def _settled(address: Address, seconds: float = 30.0) -> int:
    """Answers that the server still writes once its clients are gone."""
    ends = time.monotonic() + seconds
    while (active := int(address.get("/healthz")["active"])) and time.monotonic() < ends:
        time.sleep(0.1)
    return active


def demands(found: dict[str, Any]) -> list[dict[str, Any]]:
    musts = [
        must("answers still being written at the end", found["active_at_the_end"], "<= 0"),
        must("clients that never came back", len(found["stuck_clients"]), "<= 0"),
        must("requests that went wrong", found["ended"].get("fault", 0), "<= 0"),
        must("answers alone that differ", len(found["different_alone"]), "<= 0"),
        must("greedy answers compared", found["compared_alone"], ">= 50"),
        must("the server's exit status", found["exit_status"], "<= 0"),
    ]
    if found["memory"]:
        grown = found["memory"]["times"]
        musts.append(must("memory at the end, times after warm-up", grown, "<= 1.02"))
    return musts
