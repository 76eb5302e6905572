"""Where studies lie, and what there is."""

from __future__ import annotations

import re
from pathlib import Path

from chatwright.errors import UsageError
from chatwright.evaluate.arena.files import STUDY
from chatwright.workspace import Workspace

_NAME = re.compile(r"[^\W_][\w.-]{0,63}")
HINT = "`chatwright arena list` lists them, `chatwright arena create` starts one"


def studies_folder(workspace: Workspace) -> Path:
    """Where a workspace's studies lie."""
    return workspace.root / "arena"


def study_path(workspace: Workspace, name: str) -> Path:
    """The folder of a study by name. Raises `UsageError` for a bad or unknown name."""
    folder = studies_folder(workspace) / checked_name(name)
    if not (folder / STUDY).exists():
        raise UsageError(
            f"there is no study called {name!r}", where=str(studies_folder(workspace)), hint=HINT
        )
    return folder


def checked_name(name: str) -> str:
    """A study's name, which is its folder's: nothing that leads elsewhere."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a study's name",
            hint="use letters, digits, dots, dashes and underscores; begin with a letter or digit",
        )
    return name
