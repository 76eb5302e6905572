"""Reading the small JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chatwright.errors import ModelError


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint as a dict. Raises `ModelError` naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            "this file is missing",
            where=str(path),
            hint="the folder is not a whole model; fetch or build it again",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"this file cannot be read: {error}",
            where=str(path),
            hint="fetch or build the model again",
        ) from error
    if not isinstance(value, dict):
        raise ModelError("this file is not a JSON object", where=str(path))
    return value
