"""docs/security.md says which test shows what: each of them is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

# What the service is to survive; a word of each must be in the table.
SURVIVES = (
    "foreign ids", "another's stream", "forged, expired, revoked", "header and cookie confusion",
    "CSRF", "DNS rebinding", "SSRF", "path traversal", "zip slip", "pickle", "GGUF", "NaN",
    "nesting", "grammar and regex bombs", "chat template", "send slowly", "read slowly", "Range",
    "multipart", "XSS", "image beacons", "special tokens", "poisoned document", "cache and timing",
    "CSV", "log injection", "PDF bombs", "brute force", "user enumeration",
)  # fmt: skip


def cited() -> list[str]:
    """`file::name` of every test that the page names; `::name` is of the file before."""
    found, file = [], ""
    for one in re.findall(r"`((?:tests/[\w/]+\.py)?(?:::\w+)?)`", PAGE):
        if one.startswith("tests/"):
            file = one.split("::")[0]
        if one:
            found.append(f"{file}::{one.split('::')[1]}" if "::" in one else file)
    return sorted(set(found))


@cache
def places() -> dict[str, set[str]]:
    """In which files there is a test of each name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.M):
            found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize("one", cited())
def test_a_cited_test_is_there(one: str) -> None:
    file, _, name = one.partition("::")
    assert (ROOT / file).is_file() or name, f"there is no {file}"
    if name:
        assert file in places().get(name, ()), f"{name} is in {places().get(name)}"


def test_every_attack_has_a_line_and_every_line_a_test() -> None:
    table = PAGE.split("## Attacks, and what happens", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    for line in lines:
        assert line.count(" | ") == 2 and "test_" in line.rsplit(" | ", 1)[1], line
    names = " ".join(line.split(" | ")[0] for line in lines).lower()
    for attack in SURVIVES:
        assert attack.lower() in names, attack


def test_every_attack_that_is_tested_is_told() -> None:
    """Nothing in the files of attacks is left out of the page by mistake: each file is cited."""
    for file in sorted((ROOT / "tests" / "serve").glob("test_attacks_*.py")):
        assert any(one.startswith(f"tests/serve/{file.name}") for one in cited()), file.name


def test_the_figures_are_those_of_the_program() -> None:
    from chatwright.serve import connections
    from chatwright.serve.limits import Limits

    limits = Limits()
    assert f"head has {connections.HEAD_SECONDS:.0f} s" in PAGE
    assert f"its JSON {limits.body_seconds:.0f} s" in PAGE
    assert f"after {limits.stall_seconds:.0f} s in which nothing was read" in PAGE
    assert f"other answers after {connections.UNREAD_SECONDS:.0f} s" in PAGE
    assert f"the engine has {limits.active} places" in PAGE
