"""The chat service under load: a real `chatwright serve`, with accounts, keys and a database.

    script/bench serve [--quick] [--minutes 10] [--rounds 5] [--only PART…] [--json-to FILE]

- **streams**: 32 answers of the default model at once through `/v1/chat/completions`, and as the
  page asks (`POST /answers`, then its events), beside the bare engine, which threads ask in a
  process of its own. The three take turns with the same prompts; ratios are medians of the rounds'
  own. llama.cpp's server (of llama-cpp-python) gets the same requests where it is in `.bench/`.
- **idle**: 1,000 readers of a run that says nothing; memory of the server with and without them.
- **search**: over 100,000 messages of one account.
- **mixed**: ten minutes of chats, history, search, feedback and uploads, in which one of a hundred
  clients vanishes. Every answer that was accepted must be in the history, whole.

The load comes from a process of its own. Memory is MB of 10^6 bytes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psutil
from _machine import ROOT, machine, must, report

MODEL = "smollm2-135m-instruct"
HERE = Path(__file__).parent
PARTS = ("streams", "idle", "search", "mixed")
STREAMS, TOKENS, READERS, MESSAGES = 32, 96, 1000, 100_000
PASSWORD = "a long walk by the sea"
MB = 1e6
_TOPICS = [
    "river", "lamp", "winter", "garden", "paper", "violin", "harbour", "copper", "bridge",
    "letter", "forest", "market",
]  # fmt: skip


class House:
    """A server process with accounts; `key(n)` is that of person number n."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = (folder / "server.log").open("wb")
        self.process = subprocess.Popen(
            [
                Path(sys.executable).parent / "chatwright", "serve", MODEL, "--port", "0",
                "--workspace", folder / "workspace", "--sign-up", "open", *options,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "COLUMNS": "300"},
        )  # fmt: skip
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        found = re.search(r"Chat page\s+(http://\S+?)/\s", said)
        token = re.search(r"/setup#(\S+)", said)
        if found is None or token is None:
            raise SystemExit(f"the server did not start; see {folder}/server.log\n{said}")
        self.url = found[1]
        person = {"name": "A", "email": "a@example.org", "password": PASSWORD}
        cookie = self.post("setup", {"token": token[1], **person})[1]
        self.keys = [self._key(cookie)]
        self.watched = psutil.Process(self.process.pid)

    def more_people(self, count: int) -> None:
        """Sign up until there are `count`."""
        for number in range(len(self.keys), count):
            person = {"name": "B", "email": f"b{number}@example.org", "password": PASSWORD}
            self.keys.append(self._key(self.post("sign-up", person)[1]))

    def _key(self, cookie: str) -> str:
        scopes = ["chat", "history", "files", "knowledge", "account"]
        told, _ = self.post("me/keys", {"name": "bench", "scopes": scopes}, cookie)
        return str(told["key"])

    def post(self, path: str, body: Any, cookie: str = "", key: str = "") -> tuple[Any, str]:
        """A request as a page (cookie) or program (key) sends it; the answer, and the cookie."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        headers = {"Content-Type": "application/json"}
        headers |= {"Cookie": cookie, "Origin": self.url} if cookie else {}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("POST", f"/v1/chatwright/{path}", json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read()
        assert reply.status < 300, f"{path}: {reply.status} {text[:300]!r}"
        cookie = (reply.headers.get("set-cookie") or "").split(";")[0]
        connection.close()
        return json.loads(text), cookie

    def memory(self) -> float:
        return float(self.watched.memory_info().rss)

    def cpu(self) -> float:
        times = self.watched.cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


@contextmanager
def house(*options: str) -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder:
        one = House(Path(folder), *options)
        try:
            yield one
        finally:
            one.close()


def client(part: str, settings: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
    """Run the load in its process; what it found."""
    done = subprocess.run(
        [sys.executable, HERE / "_serve_client.py", part],
        input=json.dumps(settings) + "\n", stdout=subprocess.PIPE, text=True, check=True,
        timeout=seconds,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def begun_client(part: str, settings: dict[str, Any]) -> subprocess.Popen[str]:
    """The same, under way: it tells when it has got somewhere."""
    process = subprocess.Popen(
        [sys.executable, HERE / "_serve_client.py", part],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    return process


def prompts(round_number: int, count: int) -> list[str]:
    """New ones each round, so that nothing of the round before helps; all want a long answer."""
    return [
        f"Number {100 * round_number + n}. Write a long story about a {_TOPICS[n % len(_TOPICS)]} "
        f"and a {_TOPICS[(n // len(_TOPICS) + n + 1) % len(_TOPICS)]}, with many details."
        for n in range(count)
    ]


def p95(rounds: list[dict[str, Any]]) -> float:
    firsts = sorted(ms for one in rounds for ms in one["first_ms"])
    return float(firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))])


# -- 32 streams ------------------------------------------------------------------------------------


def streams(args: argparse.Namespace) -> dict[str, Any]:
    count, tokens, rounds = (8, 16, 1) if args.quick else (STREAMS, TOKENS, args.rounds)
    bare = subprocess.Popen(
        [sys.executable, HERE / "_serve_engine.py", json.dumps({"model": MODEL, "batch": STREAMS})],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert bare.stdin is not None and bare.stdout is not None
    peer = Peer.start() if not args.no_peer else None
    found: dict[str, list[dict[str, Any]]] = {"engine": [], "chat": [], "answers": [], "peer": []}
    try:
        json.loads(bare.stdout.readline())
        with house("--batch", str(STREAMS)) as server:

            def ours(by: str, asked: list[str]) -> dict[str, Any]:
                used = server.cpu()
                told = {"url": server.url, "key": server.keys[0], "model": MODEL, "by": by}
                one = client("streams", {**told, "prompts": asked, "tokens": tokens})
                return {**one, "cpu_seconds": server.cpu() - used}

            def engine(asked: list[str]) -> dict[str, Any]:
                assert bare.stdin is not None and bare.stdout is not None
                bare.stdin.write(json.dumps({"prompts": asked, "tokens": tokens}) + "\n")
                bare.stdin.flush()
                one: dict[str, Any] = json.loads(bare.stdout.readline())
                return one

            for number in range(-1, rounds):  # the first warms all of them up
                asked = prompts(number + 1, count)
                turns = ["engine", "chat", "answers"]
                for what in turns if number % 2 else reversed(turns):
                    one = engine(asked) if what == "engine" else ours(what, asked)
                    print(f"  {number}: {what}: {_said(one)}", file=sys.stderr, flush=True)
                    if number >= 0:
                        found[what].append(one)
            if peer is not None:
                told = {"url": peer.url, "model": MODEL, "by": "chat", "tokens": tokens}
                try:
                    limit = 60.0 if args.quick else 900.0
                    one = client("streams", {**told, "prompts": prompts(99, count)}, limit)
                    found["peer"] = [one]
                    print(f"  llama.cpp's server: {_said(one)}", file=sys.stderr, flush=True)
                except subprocess.SubprocessError as error:
                    print(f"  llama.cpp's server: {type(error).__name__}", file=sys.stderr)
    finally:
        bare.kill()
        bare.wait()
        if peer is not None:
            peer.close()
    return {"streams": count, "tokens": tokens, **{k: v for k, v in found.items() if v}}


def _said(one: dict[str, Any]) -> str:
    if "seconds" not in one:
        return str(one)
    return f"{one['tokens'] / one['seconds']:.1f} tok/s, {one['failed']} failed"


class Peer:
    """llama.cpp's server, of llama-cpp-python. It makes one answer at a time; others wait."""

    def __init__(self, python: Path, gguf: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [
                python, "-m", "llama_cpp.server", "--model", gguf, "--port", str(port),
                "--n_threads", str(os.cpu_count()), "--n_ctx", "2048",
                "--interrupt_requests", "false",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(300):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise OSError("it did not start")

    @classmethod
    def start(cls) -> Peer | None:
        """The peer, where `script/bench generate` has made its environment; else None."""
        from chatwright.model.load import fetch_weights

        python = ROOT / ".bench" / "llama" / "bin" / "python"
        test = "import llama_cpp.server, sse_starlette, starlette_context"
        if not python.exists() or subprocess.call([python, "-c", test], stderr=subprocess.DEVNULL):
            print("  llama.cpp's server is not in .bench/llama: no peer", file=sys.stderr)
            return None
        try:
            return cls(python, fetch_weights(MODEL))
        except OSError as error:
            print(f"  llama.cpp's server: {error}: no peer", file=sys.stderr)
            return None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


# -- readers that wait -----------------------------------------------------------------------------


class Silent(BaseHTTPRequestHandler):
    """A backend that begins an answer and then says nothing more until it is asked to end."""

    over = threading.Event()

    def do_GET(self) -> None:
        self._head("application/json")
        self.wfile.write(json.dumps({"object": "list", "data": [{"id": "slow"}]}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._head("text/event-stream")
        delta = {"index": 0, "delta": {"role": "assistant", "content": "Well"}}
        chunk = {"id": "1", "object": "chat.completion.chunk", "choices": [delta]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()
        self.over.wait()

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def idle(args: argparse.Namespace) -> dict[str, Any]:
    readers = 100 if args.quick else READERS
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    backend = f"openai:http://127.0.0.1:{upstream.server_port}/v1#slow"
    try:
        with house("--backend", backend) as server:
            begun, _ = server.post(
                "answers", {"action": "ask", "text": "Well?", "model": MODEL}, key=server.keys[0]
            )
            time.sleep(1)
            without = server.memory()
            told = {"url": server.url, "key": server.keys[0], "run_id": begun["run_id"]}
            process = begun_client("idle", {**told, "readers": readers})
            assert process.stdin is not None and process.stdout is not None
            connected = json.loads(process.stdout.readline())
            time.sleep(3)
            with_them, used = server.memory(), server.cpu()
            time.sleep(2 if args.quick else 10)
            share = (server.cpu() - used) / (2 if args.quick else 10)
            healthy = _seconds_of_health(server)
            process.stdin.write("\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
            process.wait(60)
    finally:
        Silent.over.set()
        upstream.shutdown()
    return {
        **connected,
        **found,
        "readers": readers,
        "without_mb": without / MB,
        "with_mb": with_them / MB,
        "kb_each": (with_them - without) / 1000 / readers,
        "cpu_share": share,
        "health_ms": 1000 * healthy,
    }


def _seconds_of_health(server: House) -> float:
    place = urlsplit(server.url)
    began = time.perf_counter()
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    return time.perf_counter() - began


# -- search, and everything at once ----------------------------------------------------------------


def search(args: argparse.Namespace) -> dict[str, Any]:
    count = 2_000 if args.quick else MESSAGES
    code = f"import json, _serve_search; print(json.dumps(_serve_search.measure({count})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def mixed(args: argparse.Namespace) -> dict[str, Any]:
    from soak import MemoryLog

    seconds = 20.0 if args.quick else 60.0 * args.minutes
    with house("--batch", "16") as server:
        server.more_people(4)
        _fill(server, args.quick)
        log = MemoryLog(server.process.pid, every=0.5 if args.quick else 1.0)
        used = server.cpu()
        told = {"url": server.url, "keys": server.keys, "each": 4, "model": MODEL}
        told["vanishing"] = 0.1 if args.quick else 0.01
        process = begun_client("mixed", {**told, "seconds": seconds})
        assert process.stdout is not None
        process.stdout.readline()
        log.stop()
        share = (server.cpu() - used) / seconds
        found = json.loads(process.stdout.readline())
        process.wait(60)
        memory = log.growth(seconds)
        return {**found, "seconds": seconds, "cpu_share": share, "memory": memory}


def _fill(server: House, quick: bool) -> None:
    """Long prompts side by side, more than the traffic needs with what is kept for reuse.

    The engine's pool is far larger: its memory would else be taken from the system little by
    little, whenever more is in use than ever before.
    """
    rng = random.Random(3)
    asked = [" ".join(rng.choices(_TOPICS, k=1700)) for _ in range(2 if quick else 12)]
    told = {"url": server.url, "key": server.keys[0], "model": MODEL, "by": "chat"}
    found = client("streams", {**told, "prompts": asked, "tokens": 100})
    assert not found["failed"], found


# -- putting it together ---------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers: does it work at all?")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json-to", type=Path)
    args = parser.parse_args()
    about = machine()
    parts = {"streams": streams, "idle": idle, "search": search, "mixed": mixed}
    figures: dict[str, Any] = {}
    for name in args.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        figures[name] = parts[name](args)
        if args.json_to is not None:
            args.json_to.write_text(json.dumps(figures, indent=1))
    ratios, musts = _judge(figures)
    report("serve", about, figures, ratios, musts)


def _judge(figures: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    ratios: dict[str, Any] = {}
    musts: list[dict[str, Any]] = []
    if told := figures.get("streams"):
        rates = {
            what: [
                one["tokens"] / one["seconds"] if "seconds" in one else 0.0 for one in told[what]
            ]
            for what in ("engine", "chat", "answers", "peer")
            if what in told
        }
        told["tokens_per_second"] = {what: round(median(all_), 1) for what, all_ in rates.items()}
        told["first_token_p95_ms"] = {
            what: p95([one for one in told[what] if "first_ms" in one])
            for what in rates
            if any("first_ms" in one for one in told[what])
        }
        for what in ("chat", "answers"):
            pairs = zip(rates[what], rates["engine"], strict=True)
            ratios[f"{what}_of_engine"] = round(median(ours / bare for ours, bare in pairs), 4)
        if rates.get("peer", [0.0])[0]:
            ratios["chat_of_llama_server"] = round(median(rates["chat"]) / rates["peer"][0], 2)
        failed = sum(one["failed"] for what in ("chat", "answers") for one in told[what])
        musts += [
            must(
                "share of the bare engine's tokens per second", ratios["chat_of_engine"], ">= 0.95"
            ),
            must("requests of the streams that failed", failed, "<= 0"),
        ]
    if told := figures.get("idle"):
        musts += [
            must("server with idle readers, MB", told["with_mb"], "<= 300"),
            must("idle readers that are still there", told["still"], f">= {told['readers']}"),
        ]
    if told := figures.get("search"):
        musts.append(must("search, p95 ms", told["p95_ms"], "<= 50"))
    if told := figures.get("mixed"):
        musts += [
            must("accepted answers that were lost", told["lost"], "<= 0"),
            must("server errors", told["server_errors"], "<= 0"),
            must("requests that went wrong", told["problems"], "<= 0"),
            must(
                "memory at the end over that after the warm-up", told["memory"]["times"], "<= 1.05"
            ),
        ]
    return ratios, musts


if __name__ == "__main__":
    main()
