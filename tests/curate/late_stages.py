"""Stages after curation, run on small datasets as a build would run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    Message,
    Parent,
    content_id,
    fingerprint,
    write_dataset,
)
from chatwright.stage import StageContext, StageKind
from chatwright.workspace import Workspace


def page(text: str, uri: str = "", **more: Any) -> Document:
    """A document whose id is its content's."""
    return Document(
        content_id("test", f"{uri}\n{text}"), text, uri or f"t:{text[:20]}", "test", **more
    )


def chat(*turns: str, **more: Any) -> Conversation:
    """A conversation of user and assistant in turn."""
    messages = [Message("assistant" if n % 2 else "user", t) for n, t in enumerate(turns)]
    return Conversation(
        content_id("test", "\n".join(turns)), messages, f"c:{turns[0][:20]}", "test", **more
    )


def save(workspace: Workspace, name: str, rows: Sequence[Any], row_type: Any = None) -> Dataset:
    """A dataset `test/NAME` of these rows."""
    path = workspace.datasets / "test" / name
    kind = row_type or type(rows[0])
    with write_dataset(path, kind, stage=name, fingerprint=name, settings={}) as out:
        for row in rows:
            out.write(row)
    return Dataset.open(path)


def run_stage(
    workspace: Workspace, kind: StageKind, name: str, *, seed: int = 7, **values: Any
) -> Dataset | Path:
    """The result of one stage: its dataset, or the folder of any other result."""
    settings = kind.settings(**values)
    inputs = {n: workspace.datasets / "test" / n for n in settings.referenced()}
    home = getattr(workspace, kind.output)
    context = StageContext(
        recipe="test",
        stage=name,
        seed=seed,
        output=home / "test" / name,
        scratch=workspace.runs / "work" / name,
        fingerprint=fingerprint(kind.kind, settings.model_dump(mode="json"), list(inputs)),
        workspace=workspace,
        inputs=inputs,
        parents=[Parent(n, n, f"../{n}") for n in inputs],
    )
    kind.run(settings, context)
    return Dataset.open(context.output) if kind.output == "datasets" else context.output


def final_lines(dataset: Dataset) -> dict[str, str]:
    """Row id → keep or drop; fails where a row has not exactly one such line."""
    found: dict[str, str] = {}
    for line in dataset.ledger:
        if line.action in ("keep", "drop"):
            assert line.row_id not in found, line
            found[line.row_id] = line.action
    return found


def content(dataset: Dataset) -> list[bytes]:
    """The bytes of rows and ledger."""
    files = [*sorted(dataset.path.glob("part-*")), *sorted(dataset.path.glob("ledger/part-*"))]
    return [file.read_bytes() for file in files]
