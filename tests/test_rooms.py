"""A room imports from rooms before it in the flow, never from rooms after it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "chatwright"

# In the order in which data walks; every room may import the base.
BASE = {
    "closing", "errors", "lazy", "machine", "progress", "version", "records", "workspace", "stage",
    "sources",
}  # fmt: skip
ROOMS = [
    "collect",
    "curate",
    "tokenizer",
    "model",
    "generate",
    "train",
    "assist",
    "evaluate",
    "compress",
    "govern",
    "serve",
]
TOP = {"recipe", "build", "cli"}


def _imports(file: Path) -> set[str]:
    """The rooms that a file imports, whether at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; write chatwright.… in full"
            names = [node.module or ""]
            if node.module == "chatwright":
                names = [f"chatwright.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("chatwright.")}
    return found


def _rooms() -> list[str]:
    names = {p.stem if p.is_file() else p.name for p in SOURCE.iterdir()}
    return sorted(n for n in names if not n.startswith(("_", ".")) and n != "py")


@pytest.mark.parametrize("room", _rooms())
def test_room_imports_only_what_comes_before_it(room: str) -> None:
    if room in TOP:
        return
    path = SOURCE / room
    files = list(path.rglob("*.py")) if path.is_dir() else [SOURCE / f"{room}.py"]
    if room in BASE:
        allowed = BASE
    else:
        assert room in ROOMS, f"{room} is a new room: give it a place in the order"
        allowed = BASE | set(ROOMS[: ROOMS.index(room) + 1])
    for file in files:
        public = {name for name in _imports(file) if not name[0].isupper() and name[0] != "_"}
        wrong = public - allowed - {room}
        assert not wrong, f"{file.relative_to(SOURCE)} imports {sorted(wrong)}, which come after it"


def test_the_order_names_only_rooms_that_are_there() -> None:
    there = set(_rooms())
    assert there >= set(ROOMS) | BASE | TOP
