"""Processes that begin at once: forked from one that has imported what takes seconds to import.

They are processes of their own in all that a test can see (kill them, signal them, read what they
say); only the start of an interpreter is left out, which many tests pay for and none is about.
Where the start matters, a test runs the installed program.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

# One thread from the beginning: forking is safe then, and equal builds give equal bytes.
BEFORE = {"OMP_NUM_THREADS": "1"}
PRELOADED = [
    "pytest",
    "rouge_score.rouge_scorer",
    "sklearn.feature_extraction.text",
    "matplotlib.backends.backend_agg",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "chatwright.cli.app",
    "chatwright.assist.stages",
    "chatwright.collect.stages",
    "chatwright.curate.run",
    "chatwright.curate.stages",
    "chatwright.evaluate.stages",
    "chatwright.generate.engine",
    "chatwright.generate.load",
    "chatwright.generate.torch_runner",
    "chatwright.govern.audit.stages",
    "chatwright.govern.stages",
    "chatwright.train.api",
    "chatwright.train.stages",
]
_context = multiprocessing.get_context("forkserver")


@contextmanager
def _surroundings(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _begin(
    target: Callable[..., Any],
    arguments: tuple[Any, ...],
    surroundings: Mapping[str, str],
    cwd: str,
    streams: tuple[str | Connection | None, ...],
) -> None:
    for number, stream in enumerate(streams):
        if isinstance(stream, str):
            opened = os.open(stream, os.O_RDONLY if not number else os.O_WRONLY | os.O_APPEND)
            os.dup2(opened, number)
            os.close(opened)
        elif stream is not None:
            os.dup2(stream.fileno(), number)
            stream.close()
    if streams and streams[0] is not None:
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(surroundings)
    os.chdir(cwd)
    target(*arguments)


def start(
    target: Callable[..., Any],
    *arguments: Any,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    streams: tuple[str | Connection | None, ...] = (),
) -> ForkServerProcess:
    """`target(*arguments)` in a process of its own; target is a module's function.

    `streams` are for its standard input, output and errors: the path of a file, or an end of a
    pipe that goes to the process.
    """
    _context.set_forkserver_preload(PRELOADED)
    with _surroundings(BEFORE):
        forkserver.ensure_running()
    process = _context.Process(
        target=_begin,
        args=(target, arguments, dict(env or os.environ), str(cwd or Path.cwd()), streams),
    )
    process.start()
    for stream in streams:
        if isinstance(stream, Connection):
            stream.close()
    return process


def program(words: Sequence[str]) -> None:
    """What the installed `chatwright` does: the target for a process."""
    from chatwright.cli import main

    sys.argv = ["chatwright", *words]
    main()


@contextmanager
def listening(
    words: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
) -> Iterator[tuple[ForkServerProcess, Iterator[str]]]:
    """`chatwright WORDS` and the lines that it writes to standard error, as they come."""
    reader, writer = _context.Pipe(duplex=False)
    process = start(program, list(words), env=env, cwd=cwd, streams=(None, os.devnull, writer))
    try:
        with open(reader.fileno(), encoding="utf-8", closefd=False) as lines:
            yield process, iter(lines)
            for _ in lines:  # so that it is not held up by a full pipe
                pass
        process.join(120)
    finally:
        process.kill()
        process.join()
        reader.close()


def run(
    words: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    said: str = "",
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """`chatwright WORDS`, as `subprocess.run` would run and report it."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("in", "out", "err")]
        for file, text in zip(files, (said, "", ""), strict=True):
            file.write_text(text, encoding="utf-8", errors="surrogateescape")
        process = start(
            program, list(words), env=env, cwd=cwd, streams=tuple(str(file) for file in files)
        )
        try:
            process.join(timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(list(words), timeout)
        finally:
            process.kill()
            process.join()
        out, err = (file.read_text(encoding="utf-8") for file in files[1:])
        return subprocess.CompletedProcess(list(words), process.exitcode, out, err)
