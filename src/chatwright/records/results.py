"""What a finished result (dataset, checkpoint, evaluation, report, assistant) says it is."""

from __future__ import annotations

import json
from pathlib import Path

# The file of a result's folder that holds its fingerprint; an assistant is such a file itself.
_DESCRIPTIONS = ("dataset.json", "evaluation.json", "lineage.json")


def result_fingerprint(path: Path) -> str | None:
    """The fingerprint that a finished result carries; None where there is none that can be read."""
    files = [path / name for name in _DESCRIPTIONS] if path.is_dir() else [path]
    for file in files:
        try:
            value = json.loads(file.read_text(encoding="utf-8")).get("fingerprint")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(value, str):
            return value
    return None
