"""The parent of several workers: starts them and the engine's process, again where one dies."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENGINE = "engine"
_LOOK_SECONDS = 0.1
_STEADY_SECONDS = 10.0  # who lives so long has started well
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_STOP_SECONDS = 15.0
_LONGEST_FOLDER = 70


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is to run. `registry` and `app` are `module:function` that make the engine's registry
    and a worker's application; `settings` is what both are called with (JSON, as it goes through a
    pipe: it may hold secrets).

    `registry(settings) -> Registry`; `app(registry, settings, worker) -> FastAPI`.
    """

    workers: int
    settings: dict[str, Any] = field(default_factory=dict)
    registry: str = "chatwright.serve.workers.making:engine_registry"
    app: str = "chatwright.serve.workers.making:worker_app"
    most_streams: int = 64


@dataclass(slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes] | None = None
    begun: float = 0.0
    wait: float = _FIRST_WAIT
    again_at: float = 0.0


class Supervisor:
    """Runs a fleet on a listening socket. `run` blocks until `stop`, SIGTERM or SIGINT."""

    def __init__(
        self,
        fleet: Fleet,
        listening: socket.socket,
        *,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._fleet = fleet
        self._listening = listening
        self._say = say
        self._stopping = threading.Event()
        self._secret = secrets.token_urlsafe(32)
        self._children = [_Child(ENGINE), *(_Child(f"w{n}") for n in range(fleet.workers))]

    @property
    def processes(self) -> dict[str, int]:
        """Who runs, and under which process id."""
        return {c.name: c.process.pid for c in self._children if c.process is not None}

    def stop(self) -> None:
        """Make `run` end everything in order and return."""
        self._stopping.set()

    def run(self) -> None:
        """Start everybody and look after them."""
        # Sockets of the processes lie here; nobody else may come in (mode 0700).
        with tempfile.TemporaryDirectory(
            prefix="chatwright-", dir=_short_folder(), ignore_cleanup_errors=True
        ) as place:
            folder = Path(place)
            with self._signals():
                try:
                    while not self._stopping.is_set():
                        for child in self._children:
                            self._look_after(child, folder)
                        self._stopping.wait(_LOOK_SECONDS)
                finally:
                    self._end()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            one: signal.signal(one, lambda *_: self._stopping.set())
            for one in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _look_after(self, child: _Child, folder: Path) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            _close_pipe(child.process)
            child.process = None
            steady = now - child.begun > _STEADY_SECONDS
            child.wait = _FIRST_WAIT if steady else min(_LONGEST_WAIT, child.wait * 2)
            child.again_at = now + (0.0 if steady else child.wait)
            self._say(f"the process {child.name} ended (code {code}) and is started again")
        if now >= child.again_at:
            child.process = self._start(child.name, folder)
            child.begun = now

    def _start(self, name: str, folder: Path) -> subprocess.Popen[bytes]:
        number = self._listening.fileno()
        told = {
            "name": name,
            "folder": str(folder),
            "secret": self._secret,
            "socket": None if name == ENGINE else number,
            "workers": [c.name for c in self._children if c.name != ENGINE],
            "registry": self._fleet.registry,
            "app": self._fleet.app,
            "most_streams": self._fleet.most_streams,
            "settings": self._fleet.settings,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "chatwright.serve.workers"],
            stdin=subprocess.PIPE,
            pass_fds=() if name == ENGINE else (number,),
            env=_environment(name, folder),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends all in order
        )
        assert process.stdin is not None
        # The pipe stays open: a child whose parent is gone sees its end, and goes too.
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
        return process

    def _end(self) -> None:
        """Workers first, which write down what they have; then the engine."""
        workers = [c for c in self._children if c.name != ENGINE]
        for group in (workers, [c for c in self._children if c.name == ENGINE]):
            running = [c.process for c in group if c.process is not None]
            for process in running:
                if process.poll() is None:
                    process.terminate()
            end = time.monotonic() + _STOP_SECONDS
            for process in running:
                try:
                    process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                _close_pipe(process)


def _short_folder() -> str | None:
    """Where temporary folders go; a socket's path may have a hundred bytes at most."""
    return None if len(os.fsencode(tempfile.gettempdir())) < _LONGEST_FOLDER else "/tmp"


def _environment(name: str, folder: Path) -> dict[str, str]:
    environ = dict(os.environ)
    if name != ENGINE:
        # The counters of all workers, so that each can tell the sum (prometheus_client).
        counters = folder / "metrics"
        counters.mkdir(exist_ok=True)
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(counters)
        # A worker computes nothing: its libraries must not start a thread for each core.
        for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environ.setdefault(variable, "1")
    return environ


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
