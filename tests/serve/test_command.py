"""`chatwright serve` as a person starts and stops it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from chat_server import HTTP, until
from chatwright.cli.serve import bind, page_address
from chatwright.errors import UsageError

COMMAND = "from chatwright.cli import main; import sys; sys.argv[0] = 'chatwright'; main()"


@contextmanager
def serving(workspace: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", COMMAND, "serve", *arguments, "--no-accounts", "--port", "0"]
    env = os.environ | {"CHATWRIGHT_WORKSPACE": str(workspace), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.stderr.read()
        yield process, found.group()
    finally:
        process.kill()
        process.wait()


def is_up(address: str) -> bool:
    try:
        return HTTP.get(f"{address}/healthz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_start_and_stop(tmp_path: Path, smollm2_gguf: Path, stop: signal.Signals) -> None:
    with serving(tmp_path, str(smollm2_gguf)) as (process, address):
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
                process.send_signal(stop)
                started = time.monotonic()
                last = "".join(pieces)
                assert last.endswith("data: [DONE]\n\n") and time.monotonic() - started < 2
        else:
            process.send_signal(stop)
        out, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Stopped." in out and "Traceback" not in errors


def test_nothing_to_serve(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "serve", "--port", "0"]
    done = subprocess.run(
        command,
        env=os.environ | {"CHATWRIGHT_WORKSPACE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no assistant or model to serve" in done.stderr
    assert "chatwright build" in done.stderr


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
