"""`chatwright serve` as a person starts and stops it."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import httpx
import pytest

import forked
from chat_server import HTTP, until
from chatwright.cli.serve import bind, page_address
from chatwright.errors import UsageError


@dataclass
class Started:
    """The program, serving. `pid` is its process."""

    pid: int
    address: str
    _lines: Iterator[str]
    _first: str
    _errors: Path
    _wait: Callable[[], int | None]

    def stop(self, signal_: signal.Signals | None = None) -> tuple[int | None, str, str]:
        """Send the signal, where one is given; how it ended, what it printed, and its errors."""
        if signal_ is not None:
            os.kill(self.pid, signal_)
        printed = self._first + "".join(self._lines)
        return self._wait(), printed, self._errors.read_text(encoding="utf-8")


@contextmanager
def serving(workspace: Path, *arguments: str) -> Iterator[Started]:
    """`chatwright serve` on a free port, from the moment that it has told its address."""
    env = os.environ | {"CHATWRIGHT_WORKSPACE": str(workspace), "PYTHONUNBUFFERED": "1"}
    words = ["serve", *arguments, "--no-accounts", "--port", "0"]
    reader, writer = Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder, "errors")
        errors.touch()
        process = forked.start(
            forked.program, words, env=env, streams=(os.devnull, writer, str(errors))
        )

        def ended() -> int | None:
            process.join(20)
            return process.exitcode

        try:
            with open(reader.fileno(), encoding="utf-8", closefd=False) as lines:
                first = lines.readline()
                found = re.search(r"http://127\.0\.0\.1:\d+", first)
                assert found and process.pid, first + errors.read_text(encoding="utf-8")
                yield Started(process.pid, found.group(), lines, first, errors, ended)
        finally:
            process.kill()
            process.join()
            reader.close()


def is_up(address: str) -> bool:
    try:
        return HTTP.get(f"{address}/healthz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_start_and_stop(tmp_path: Path, smollm2_gguf: Path, stop: signal.Signals) -> None:
    with serving(tmp_path, str(smollm2_gguf)) as started:
        address = started.address
        until(lambda: is_up(address), seconds=30)
        [model] = HTTP.get(f"{address}/v1/models").json()["data"]
        assert model["id"] == str(smollm2_gguf)
        if stop == signal.SIGINT:  # while an answer is being written
            body = {"model": model["id"], "stream": True, "max_tokens": 2000}
            body |= {"messages": [{"role": "user", "content": "Count to a thousand."}]}
            url = f"{address}/v1/chat/completions"
            with httpx.stream("POST", url, json=body, timeout=60) as reply:
                assert reply.status_code == 200
                pieces = reply.iter_text()  # kept: httpx hangs up when the iterator is gone
                next(pieces)
                os.kill(started.pid, stop)
                asked = time.monotonic()
                last = "".join(pieces)
                assert last.endswith("data: [DONE]\n\n") and time.monotonic() - asked < 2
            code, printed, errors = started.stop()
        else:
            code, printed, errors = started.stop(stop)
        assert code == 0, errors
        assert "Stopped." in printed and "Traceback" not in errors


def test_nothing_to_serve(
    tmp_path: Path, run_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATWRIGHT_WORKSPACE", str(tmp_path))
    done = run_command("serve", "--port", "0")
    assert done.exit_code == 2
    assert "there is no assistant or model to serve" in done.output
    assert "chatwright build" in done.output


def test_a_busy_port_is_refused_in_plain_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use") as told:
            bind("127.0.0.1", port)
        assert "--port" in str(told.value.hint)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "a.invalid", "\udcff"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        bind(host, 0)


def test_the_address_that_is_printed() -> None:
    with bind("0.0.0.0", 0) as everywhere:
        assert page_address(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"
