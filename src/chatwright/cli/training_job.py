"""`python -m chatwright.cli.training_job`: builds the recipe of one fine-tuning job.

The server (`serve/jobs/running.py`) starts it, not a person. Reads one line of JSON from standard
input, writes one for each thing that happens to standard output, and goes when its parent does:
then standard input ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chatwright.errors import ChatwrightError
from chatwright.progress import Task

_PATIENCE = 20.0  # seconds to finish a step and save it


class Told:
    """A `Progress` that tells the parent."""

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Task]:
        say(task=name, total=total)
        yield _Quiet()

    def line(self, text: str) -> None:
        say(line=text[:500])


class _Quiet:
    def advance(self, count: int = 1) -> None:
        """The parent reads the training's own log."""

    def status(self, text: str) -> None:
        """As above."""


def say(**told: Any) -> None:
    """One line to the parent."""
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Build what the parent says. Exit code 0: done."""
    told = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.umask(0o077)
    os.nice(told["nice"])
    try:
        from chatwright.build import build
        from chatwright.recipe import load_recipe
        from chatwright.workspace import Workspace

        recipe = load_recipe(told["recipe"])
        build(recipe, Workspace(Path(told["workspace"])), progress=Told())
    except ChatwrightError as error:
        say(error=error.message, hint=error.hint)
        raise SystemExit(1) from None
    except MemoryError:
        say(error="there is not enough memory to train this model", hint=None)
        raise SystemExit(1) from None
    except Exception as error:  # its text may hold a row
        say(error=f"the training failed ({type(error).__name__})", hint=None)
        raise SystemExit(1) from None
    say(done=True)


def _end_with_parent() -> None:
    while os.read(0, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    main()
