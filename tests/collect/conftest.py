from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatwright.collect.stages import CollectSettings, run_collect
from chatwright.records import Dataset, LedgerEntry
from chatwright.stage import StageContext
from chatwright.workspace import Workspace


class Collected:
    """What a collection gave: the dataset, its rows, and its ledger by rule."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.rows = list(dataset.rows)
        self.ledger = list(dataset.ledger)

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.rows]

    def lines(self, action: str) -> list[LedgerEntry]:
        return [line for line in self.ledger if line.action == action]

    @property
    def dropped(self) -> list[tuple[str, str]]:
        """(rule, last part of the address) of what was dropped."""
        return [(line.rule, line.uri.rpartition("/")[2]) for line in self.lines("drop")]

    def check(self) -> None:
        """What holds for every collection, whatever went in."""
        ids = [row.id for row in self.rows]
        assert len(set(ids)) == len(ids)
        kept = [line.row_id for line in self.lines("keep")]
        assert kept == ids
        dropped = [line.row_id for line in self.lines("drop")]
        assert len(set(dropped)) == len(dropped)
        assert not set(dropped) & set(ids)
        assert {line.row_id for line in self.lines("edit")} <= set(ids)
        assert {line.stage for line in self.ledger} <= {"pages"}


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Collected]:
    monkeypatch.setenv("CHATWRIGHT_CACHE", str(tmp_path / "cache"))

    def run(*sources: Any, name: str = "out", **settings: Any) -> Collected:
        listed = [s if isinstance(s, dict) else {"source": str(s)} for s in sources]
        read = CollectSettings.model_validate({"sources": listed, **settings})
        workspace = Workspace(tmp_path / "workspace")
        output = workspace.root / name
        run_collect(
            read, StageContext("r", "pages", 7, output, tmp_path / "scratch", "f", workspace)
        )
        collected = Collected(Dataset.open(output))
        collected.check()
        return collected

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pages"
    path.mkdir()
    return path
