"""`chatwright curate`: what a user may get wrong is said, and what went can be looked up."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatwright.cli.app import app
from chatwright.errors import ChatwrightError

TEXT = "The harbour of the city opens its gate in the morning for all of the ships. " * 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "one.md").write_text(f"# One\n\n{TEXT}")
    (pages / "short page.md").write_text("# Two\n")
    return pages


def said(*words: str) -> str:
    """What a run prints, or what its error says."""
    done = CliRunner().invoke(app, ["curate", "pages", "-n", "x", "--workers", "0", *words])
    if isinstance(done.exception, ChatwrightError):
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--privacy", "pseudonym"], "pseudonyms need a key"),
        (["--key-env", "KEY"], "only pseudonyms have a key"),
        (["--language", "english"], "'english' is no language code"),
        (["--preset", "chat"], "the sources hold no conversations"),
        (["--preset", "gofer"], "there is no preset called 'gofer'"),
    ],
)
def test_what_does_not_fit_is_said(words: list[str], says: str) -> None:
    assert says in said(*words)


def test_it_says_how_to_learn_why_a_row_went() -> None:
    told = said("--preset", "documentation")
    assert "x/curated: 1 rows" in told
    assert "chatwright why x/curated 'file:pages/short page.md'" in told
