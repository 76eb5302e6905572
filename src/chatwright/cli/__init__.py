"""The command line: one module per verb; each parses, calls and prints."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from chatwright.errors import ChatwrightError

INTERRUPTED = 130  # what shells expect after Ctrl-C


def main() -> None:
    """The `chatwright` command. Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    from chatwright.cli.app import app

    # `kill` and a service manager's stop should end a build as gently as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except ChatwrightError as error:
        from chatwright.cli.console import print_error

        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer makes this of Ctrl-C before it comes here
            _say_stopped()
        raise
    except BrokenPipeError:
        # The reader (`| head`) left. Python would complain again while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _say_stopped() -> None:
    print("\nstopped; run the same command again to go on", file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
