"""The load of `serve.py`, in a process of its own: a small HTTP client that costs little.

`python _serve_client.py PART`, then a line of settings; the last line printed is JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

ROOT = "/v1/chatwright"


@dataclass
class Reply:
    """An answer whose body is still to be read."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self.reader.readline()).split(b";")[0], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        elif left := int(self.headers.get("content-length", 0)):
            yield await self.reader.readexactly(left)

    async def events(self) -> AsyncIterator[tuple[str, bytes]]:
        """Server-sent events: the name (or nothing) and the data."""
        rest = b""
        async for piece in self.pieces():
            *whole, rest = (rest + piece).replace(b"\r", b"").split(b"\n\n")
            for block in whole:
                name, data = "", b""
                for line in block.split(b"\n"):
                    if line.startswith(b"event: "):
                        name = line[7:].decode()
                    elif line.startswith(b"data: "):
                        data = line[6:]
                if data or name:
                    yield name, data

    async def json(self) -> Any:
        body = b"".join([piece async for piece in self.pieces()])
        self.writer.close()
        return json.loads(body) if body else None


@dataclass
class Api:
    """Where the server is, and whose key is shown."""

    url: str
    key: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request on a connection of its own, and read the answer's head."""
        place = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        told = {"Host": place.netloc, "Connection": "close", **self.extra}
        if self.key:
            told["Authorization"] = f"Bearer {self.key}"
        if body is not None:
            told |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        told |= headers or {}
        lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in told.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + data)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        found: dict[str, str] = {}
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            found[name.strip().lower()] = value.strip()
        return Reply(status, found, reader, writer)

    async def get(self, path: str) -> Any:
        reply = await self.ask("GET", path)
        assert reply.status == 200, f"{path}: {reply.status}"
        return await reply.json()


@dataclass
class Stream:
    """One answer: when it was asked, when it began, when it ended, how many tokens it has."""

    began: float
    first: float = 0.0
    ended: float = 0.0
    tokens: int = 0
    prompt: int = 0
    problem: str = ""


async def chat(api: Api, model: str, prompt: str, tokens: int) -> Stream:
    """One streamed answer of OpenAI's API."""
    one = Stream(time.perf_counter())
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    reply = await api.ask("POST", "/v1/chat/completions", body)
    if reply.status != 200:
        one.problem = str(reply.status)
        return one
    chunks = 0
    async for _, data in reply.events():
        if data == b"[DONE]":
            break
        if not one.first and b'"content":"' in data.replace(b'": "', b'":"'):
            text = json.loads(data)["choices"]
            if text and text[0]["delta"].get("content"):
                one.first = time.perf_counter()
        chunks += 1
        if b'"usage"' in data:
            usage = json.loads(data).get("usage")
            if usage:
                one.tokens, one.prompt = usage["completion_tokens"], usage["prompt_tokens"]
    one.ended = time.perf_counter()
    one.tokens = one.tokens or max(0, chunks - 2)  # a peer that tells no usage: a chunk a token
    one.problem = "" if one.first and one.tokens else "nothing was said"
    reply.writer.close()
    return one


async def answer(api: Api, model: str, prompt: str, tokens: int) -> Stream:
    """One answer as the page asks for it: a run, and its events."""
    one = Stream(time.perf_counter())
    params = {"max_tokens": tokens, "temperature": 0}
    body = {"action": "ask", "text": prompt, "model": model, "params": params}
    begun = await api.ask("POST", f"{ROOT}/answers", body)
    told = await begun.json()
    if begun.status != 201:
        one.problem = str(begun.status)
        return one
    reply = await api.ask("GET", f"{ROOT}/runs/{told['run_id']}/events")
    async for name, data in reply.events():
        if name == "text" and not one.first:
            one.first = time.perf_counter()
        elif name == "done":
            usage = json.loads(data)["usage"]
            one.tokens, one.prompt = usage["completion_tokens"], usage["prompt_tokens"]
            break
        elif name == "failed":
            one.problem = json.loads(data)["message"]
            break
    one.ended = time.perf_counter()
    reply.writer.close()
    return one


async def streams(settings: dict[str, Any]) -> dict[str, Any]:
    """All prompts at once; tokens per second of all together."""
    api = Api(settings["url"], settings.get("key", ""))
    ask = answer if settings["by"] == "answers" else chat
    found = await asyncio.gather(
        *(ask(api, settings["model"], p, settings["tokens"]) for p in settings["prompts"]),
        return_exceptions=True,
    )
    good = [one for one in found if isinstance(one, Stream) and not one.problem]
    bad = [one.problem if isinstance(one, Stream) else repr(one)[:200] for one in found]
    used = resource.getrusage(resource.RUSAGE_SELF)
    if not good:
        return {"failed": len(found), "problems": bad[:3]}
    seconds = max(one.ended for one in good) - min(one.began for one in good)
    firsts = sorted(1000 * (one.first - one.began) for one in good)
    return {
        "tokens": sum(one.tokens for one in good),
        "prompt_tokens": sum(one.prompt for one in good),
        "seconds": seconds,
        "first_ms": [round(ms, 1) for ms in firsts],
        "failed": len(found) - len(good),
        "problems": [one for one in bad if one][:3],
        "client_cpu_seconds": used.ru_utime + used.ru_stime,
    }


async def idle(settings: dict[str, Any]) -> dict[str, Any]:
    """Readers of one run that says nothing. Tells when all are there; goes when it is told to."""
    api = Api(settings["url"], settings["key"])
    path = f"{ROOT}/runs/{settings['run_id']}/events"
    held: list[Reply] = []
    refused = 0
    while len(held) < settings["readers"]:
        reply = await api.ask("GET", path)
        if reply.status == 429:  # as many as a key may ask for in a second
            refused += 1
            reply.writer.close()
            await asyncio.sleep(0.2)
            continue
        assert reply.status == 200, reply.status
        held.append(reply)
    firsts = await asyncio.gather(*(_first(reply) for reply in held))
    print(json.dumps({"connected": sum(firsts), "refused": refused}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    still = sum(not reply.reader.at_eof() for reply in held)
    for reply in held:
        reply.writer.close()
    return {"connected": sum(firsts), "still": still}


async def _first(reply: Reply) -> bool:
    async for name, _ in reply.events():
        return name == "start"
    return False


def main() -> None:
    part, settings = sys.argv[1], json.loads(sys.stdin.readline())
    if part == "mixed":
        from _serve_mixed import mixed

        print(json.dumps(asyncio.run(mixed(settings))))
        return
    print(json.dumps(asyncio.run({"streams": streams, "idle": idle}[part](settings))))


if __name__ == "__main__":
    main()
