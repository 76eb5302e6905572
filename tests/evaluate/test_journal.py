"""The journal survives kills and never mixes two evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatwright.evaluate.journal import FILE, Journal


def test_results_come_back_after_reopening(tmp_path: Path) -> None:
    Journal(tmp_path, "f1").add("after", "answer", {"a": {"text": "好\n的"}, "b": {"text": ""}})
    again = Journal(tmp_path, "f1")
    assert again.get("after", "answer", "a") == {"text": "好\n的"}
    assert again.has_all("after", "answer", ["a", "b"])
    assert not again.has_all("before", "answer", ["a"])
    assert again.get("after", "likelihood", "a") is None


def test_another_fingerprint_sees_nothing(tmp_path: Path) -> None:
    Journal(tmp_path, "f1").add("m", "answer", {"a": {"n": 1}})
    assert Journal(tmp_path, "f2").get("m", "answer", "a") is None


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    first = Journal(tmp_path, "f")
    first.add("m", "answer", {"a": {"n": 1}})
    first.add("m", "answer", {"b": {"n": 2}})
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-cut])
    second = Journal(tmp_path, "f")
    assert second.get("m", "answer", "a") == {"n": 1}
    assert second.get("m", "answer", "b") is None
    second.add("m", "answer", {"c": {"n": 3}})
    third = Journal(tmp_path, "f")
    assert (third.get("m", "answer", "a"), third.get("m", "answer", "c")) == ({"n": 1}, {"n": 3})


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "f")
    journal.add("m", "answer", {"a": {"n": 1}})
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\xff\xfe garbage\n[1, 2]\n{"fingerprint": "f"}\n')
    assert Journal(tmp_path, "f").get("m", "answer", "a") == {"n": 1}
