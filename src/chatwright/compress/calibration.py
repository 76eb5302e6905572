"""Text that shows which inputs a model's matrices really see."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright.errors import DataError, UsageError

if TYPE_CHECKING:
    from chatwright.workspace import Workspace

_SAMPLE = "calibration.txt"
# Rows of a dataset that are read at most, spread evenly over it: more than any method uses.
_MOST_ROWS = 2_000


def calibration_texts(
    source: str | os.PathLike[str] | None = None, *, workspace: Workspace | None = None
) -> list[str]:
    """Texts of a dataset of the workspace, a dataset's folder or a text file (UTF-8).

    Of a conversation, what everybody says in it; of a preference, the prompt and the chosen answer.
    None gives the built-in sample: Chatwright's own documents, English and Chinese. Raises
    `DataError` for what cannot be read or holds no text, `UsageError` for a name that is neither.
    """
    if source is None:
        text = resources.files("chatwright.compress").joinpath(_SAMPLE).read_text("utf-8")
        return [part.strip() for part in text.split("\f") if part.strip()]
    name = os.fspath(source)
    path = Path(name)
    inside = workspace.datasets / name if workspace is not None else None
    if inside is not None and (inside / "dataset.json").is_file():
        texts = _of_dataset(inside)
    elif (path / "dataset.json").is_file():
        texts = _of_dataset(path)
    elif path.is_file():
        texts = [_of_file(path)]
    else:
        raise UsageError(
            f"there is no dataset and no text file called {name!r}",
            where="--calibration",
            hint="chatwright datasets lists the workspace's datasets",
        )
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise DataError("there is no text in it", where=name, hint="give another --calibration")
    return texts


def _of_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"this file cannot be read as UTF-8 text: {error}", where=str(path)) from (
            error
        )


def _of_dataset(path: Path) -> list[str]:
    from chatwright.records import Conversation, Dataset, Document

    rows = Dataset.open(path)
    count = len(rows)
    step = max(1, -(-count // _MOST_ROWS))
    texts = []
    for index, row in enumerate(rows):
        if index % step:
            continue
        if isinstance(row, Document):
            texts.append(row.text)
        elif isinstance(row, Conversation):
            texts.append("\n\n".join(message.content for message in row.messages))
        else:
            texts.append("\n\n".join([*(m.content for m in row.prompt), row.chosen]))
    return texts
