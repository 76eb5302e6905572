"""`chatwright backup FILE` and `chatwright restore FILE`: the chat service's database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import DatabaseOption, JsonOption, WorkspaceOption


def backup(
    path: Annotated[Path, typer.Argument(help="The file to write, like chat.jsonl.zst.")],
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
    json_out: JsonOption = False,
) -> None:
    """Copy the chat service's database into one file; the server may go on meanwhile.

    Content stays encrypted in it. Keep the master key (chat.key in the workspace) elsewhere:
    without it nothing in the copy can be read.

    Example: `chatwright backup chat-2026-11-26.jsonl.zst`
    """
    from chatwright.cli.people import opened_store
    from chatwright.serve.operations.backup import back_up

    with opened_store(database, workspace) as store:
        counts = back_up(store, path)
    _tell("backed up", path, counts, json_out)


def restore(
    path: Annotated[Path, typer.Argument(help="A file that `chatwright backup` wrote.")],
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
    json_out: JsonOption = False,
) -> None:
    """Fill an empty database with a copy, of this kind of database or another.

    The master key must be the one of the database that was copied. Stop the server first.

    Example: `chatwright restore chat-2026-11-26.jsonl.zst --database postgresql:///chatwright`
    """
    from chatwright.serve.operations.backup import restore as fill
    from chatwright.serve.store import open_store
    from chatwright.workspace import Workspace

    store = open_store(database, folder=Workspace(workspace).root)
    try:
        counts = fill(store, path)
    finally:
        store.close()
    _tell("restored", path, counts, json_out)


def _tell(what: str, path: Path, counts: dict[str, int], json_out: bool) -> None:
    from chatwright.cli.console import console

    if json_out:
        print(json.dumps({"file": str(path), "rows": counts}))
        return
    told = ", ".join(f"{counts[name]} {name}" for name in ("people", "conversations", "messages"))
    console().print(f"{what}: {told}  ({path})")
