"""Answers kept for the next time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chatwright.errors import DataError
from chatwright.evaluate.answers import AnswerCache, answer_key


def test_what_was_added_is_there_for_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "answers.db"
    with AnswerCache(file) as cache:
        cache.add({"a": {"nll": [1.5], "text": "文"}, "b": {"nll": [2.0]}})
        cache.add({"b": {"nll": [3.0]}})
    with AnswerCache(file) as cache:
        assert cache.get(["a", "b", "c"]) == {
            "a": {"nll": [1.5], "text": "文"},
            "b": {"nll": [3.0]},
        }
        many = {str(i): {"i": i} for i in range(1_200)}
        cache.add(many)
        assert cache.get(many) == many


def test_a_key_depends_on_model_task_and_item() -> None:
    keys = {
        answer_key(*parts)
        for parts in (
            ("m", "t", "i"),
            ("n", "t", "i"),
            ("m", "u", "i"),
            ("m", "t", "j"),
            ("mt", "", "i"),
        )
    }
    assert len(keys) == 5


def test_memory_alone_needs_no_file() -> None:
    with AnswerCache(None) as cache:
        cache.add({"a": {"x": 1}})
        assert cache.get(["a"]) == {"a": {"x": 1}}


def test_a_killed_writer_loses_nothing_that_was_added(tmp_path: Path) -> None:
    file = tmp_path / "answers.db"
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from chatwright.evaluate.answers import AnswerCache\n"
        f"cache = AnswerCache(Path({str(file)!r}))\n"
        "cache.add({'a': {'x': 1}})\n"
        "cache._db.execute('BEGIN IMMEDIATE')\n"
        "cache._db.execute('INSERT INTO answers VALUES (?, ?)', ('b', '{}'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with AnswerCache(file) as cache:
        assert cache.get(["a", "b"]) == {"a": {"x": 1}}
        cache.add({"b": {"y": 2}})


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "answers.db"
    file.write_bytes(b"not a database, but long enough to look at" * 40)
    with pytest.raises(DataError, match="cannot be read") as caught:
        AnswerCache(file)
    assert caught.value.where == str(file) and "remove" in str(caught.value.hint)


def test_damage_inside_is_named_and_half_a_character_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "answers.db"
    with AnswerCache(file) as cache:
        cache.add({"a": {"text": "half \ud83d of one"}})
        assert cache.get(["a"]) == {"a": {"text": "half \ud83d of one"}}
        with pytest.raises(ValueError):
            cache.add({"b": {"nll": float("nan")}})
        cache.add({"b": {"nll": 1.0}})
        cache._db.execute("UPDATE answers SET value = '{\"nll' WHERE key = 'b'")
        with pytest.raises(DataError, match="cannot be read") as caught:
            cache.get(["b"])
        assert caught.value.where == str(file)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        AnswerCache(tmp_path / "file" / "answers.db")


def test_a_full_disk_is_told_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnswerCache(tmp_path / "answers.db")
    cache.add({"a": {"x": 1}})
    cache._db.execute("PRAGMA max_page_count = 1")  # the smallest disk that there is
    with pytest.raises(DataError, match="could not be kept"):
        cache.add({str(i): {"text": "x" * 1_000} for i in range(500)})
    assert cache.get(["a"]) == {"a": {"x": 1}}
    cache.close()
    with sqlite3.connect(tmp_path / "answers.db") as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (1,)
