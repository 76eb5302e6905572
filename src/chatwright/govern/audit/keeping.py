"""An audit on disk: `audit.json` with what it is of, so that cards and reports find it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatwright.govern.audit.results import Audit
from chatwright.records import (
    Parent,
    disk_errors,
    fingerprint,
    read_json,
    result_fingerprint,
    write_atomic,
)
from chatwright.workspace import Workspace

FILE = "audit.json"


def as_json(audit: Audit, lineage: dict[str, Any]) -> str:
    """The content of `audit.json`: the audit, and what was made from what."""
    return json.dumps({**audit.to_json(), **lineage}, ensure_ascii=False, indent=1) + "\n"


def keep(audit: Audit, folder: Path, model: str, workspace: Workspace) -> Path:
    """Write `audit.json` of an audit made outside a recipe; its parent is the checkpoint."""
    place = workspace.model(model) or Path(model)
    known = result_fingerprint(place) if place.is_dir() else None
    parents = (
        [Parent(place.name, known, os.path.relpath(place.absolute(), folder.absolute()))]
        if known is not None
        else []
    )
    lineage = {
        "fingerprint": fingerprint("audit", audit.to_json(), [known or model]),
        "stage": folder.name,
        "parents": [asdict(parent) for parent in parents],
    }
    folder.mkdir(parents=True, exist_ok=True)
    with disk_errors(folder):
        write_atomic(folder / FILE, as_json(audit, lineage))
    return folder / FILE


def read_audit(folder: Path) -> tuple[Audit, set[str]]:
    """An audit and the fingerprints of its parents. Raises `DataError` where there is none."""
    file = folder / FILE
    raw = read_json(file, "audit")
    parents = {str(p.get("fingerprint")) for p in raw.get("parents", []) if isinstance(p, dict)}
    return Audit.from_json(raw, str(file)), parents
