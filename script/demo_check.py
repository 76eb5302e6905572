"""Serve the quickstart assistant, ask it two questions as a client would, and stop."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx

QUESTIONS = (
    "What does the method Session.flush() do?",
    "What is a connection pool?",
)
START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(START_SECONDS * 5):
        if server.poll() is not None:
            raise SystemExit(f"the server ended with exit code {server.returncode}")
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the server did not answer within {START_SECONDS} seconds")


def ask(url: str, question: str) -> None:
    response = httpx.post(
        f"{url}/v1/chat/completions",
        json={
            "model": "quickstart",
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": 128,
        },
        timeout=120,
    )
    response.raise_for_status()
    message = response.json()["choices"][0]["message"]
    if not message["content"].strip():
        raise SystemExit(f"an empty answer to: {question}")
    print(f"\nQ: {question}\nA: {message['content'].strip()}")
    for citation in message.get("citations", []):
        print(f"   [{citation['number']}] {citation['title']}  {citation['uri']}")


def main() -> int:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = str(Path(sys.executable).parent / "chatwright")
    command = [program, "serve", "quickstart", "--no-accounts", "--port", str(port)]
    with subprocess.Popen(command) as server:
        try:
            wait_until_up(url, server)
            for question in QUESTIONS:
                ask(url, question)
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
    print(f"\ncheck passed: {len(QUESTIONS)} questions answered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
