"""Languages by script, by votes, and line by line; short lines of our own in 22 languages."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_lines import LINES
from pydantic import ValidationError

from chatwright.curate.candidate import Candidate
from chatwright.curate.executors import Guard
from chatwright.curate.lang import votes
from chatwright.curate.lang.lines import line_languages, may_be_mixed, shares, without
from chatwright.curate.lang.scripts import line_scripts, main_script, script_letters
from chatwright.curate.lang.settings import LanguageSettings
from chatwright.curate.lang.step import LanguageStep, make_step
from chatwright.curate.language import Language, detect_language, detect_languages, sample
from chatwright.curate.rules import Stages
from chatwright.records import Document

EN = " ".join(LINES["en"])
DE = " ".join(LINES["de"])
ZH = "".join(LINES["zh"][:8])
HANT = "".join(LINES["zh"][-3:])


def test_short_lines_are_told_and_the_second_vote_helps() -> None:
    every = [(code, line) for code, lines in LINES.items() for line in lines]
    texts = [line for _, line in every]
    alone = detect_languages(texts, unsure=0)
    voted = detect_languages(texts)

    def wrong(found: list[Language]) -> list[tuple[str, Language, str]]:
        pairs = zip(every, found, strict=True)
        return [(c, f, line) for (c, line), f in pairs if f.code not in (c, None)]

    assert len(wrong(voted)) <= 3, wrong(voted)
    assert len(wrong(voted)) < len(wrong(alone))
    told = sum(found.code is not None for found in voted)
    assert told >= 0.95 * len(every)


@pytest.mark.parametrize("code", ["zh", "ja", "ko", "th", "el"])
def test_a_script_of_one_language_settles_it(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "first_vote", lambda text: pytest.fail("asked"))
    for line in LINES[code]:
        if code != "ja" or any("\u3041" <= c <= "\u30ff" for c in line):
            assert detect_language(line).code == code


def _voting(
    monkeypatch: pytest.MonkeyPatch, first: tuple[str | None, float], second: str | None
) -> list[str]:
    asked: list[str] = []

    def other(text: str) -> str | None:
        asked.append(text)
        return second

    monkeypatch.setattr(votes, "first_vote", lambda text: first)
    monkeypatch.setattr(votes, "second_vote", other)
    return asked


@pytest.mark.parametrize(
    ("first", "second", "script", "expected"),
    [
        (("en", 0.9), "de", "Latn", ("en", 0.9)),  # sure: nobody else is asked
        (("en", 0.5), "en", "Latn", ("en", 0.75)),  # agreement halves the doubt
        (("en", 0.2), "nl", "Latn", ("nl", 0.4)),  # half of what the first left open
        (("en", 0.2), None, "Latn", ("en", 0.2)),
        (("ru", 0.9), "nl", "Latn", ("nl", 0.5)),  # Russian is not written in Latin letters
        (("ru", 0.9), "ru", "Latn", (None, 0.0)),
        ((None, 0.0), "ar", "Arab", ("ar", 0.5)),
        (("xx", 0.9), None, "Latn", ("xx", 0.9)),  # of whose letters nothing is known
    ],
)
def test_two_votes(
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str | None, float],
    second: str | None,
    script: str,
    expected: tuple[str | None, float],
) -> None:
    asked = _voting(monkeypatch, first, second)
    code, chance = votes.vote("some text", script)
    assert code == expected[0] and chance == pytest.approx(expected[1])
    assert bool(asked) is (first[0] != "xx" and expected != ("en", 0.9))


def test_a_detector_that_fails_has_no_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def detect(self, *args: object, **more: object) -> None:
            raise RuntimeError("broken")

        classify = detect

    monkeypatch.setattr(votes, "_first", Broken)
    monkeypatch.setattr(votes, "_second", Broken)
    assert detect_language(EN, "fr") == Language("fr", 0.0)


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_letters_are_counted_as_a_plain_loop_counts_them(text: str) -> None:
    counted = script_letters(text)
    assert sum(counted.values()) == sum(c.isalpha() for c in text if ord(c) < 0x20000) + sum(
        0x20000 <= ord(c) <= 0x3134F for c in text
    )
    plain = sum(
        c.isalpha() and ("\u0400" <= c <= "\u052f" or "\u1c80" <= c <= "\u1c8f") for c in text
    )
    assert counted.get("Cyrl", 0) == plain
    sizes = sum(size for _, size in line_scripts(text))
    assert sizes == sum(counted.values()) + 2 * counted.get("Hani", 0)
    found = detect_language(text)
    assert 0 <= found.confidence <= 1


def test_a_long_text_is_told_by_its_beginning_middle_and_end() -> None:
    text = sample("\n".join(["start here"] * 5000 + ["middle words"] * 5000 + ["end of it"] * 5000))
    assert (
        len(text) < 1100 and "start here" in text and "middle words" in text and "end of it" in text
    )
    assert sample("```\ncode only\n```\nwords `x` https://a.b/c **bold** 12") == "words bold"
    assert sample("") == ""


def test_time_is_linear_and_pages_are_quick() -> None:
    for piece in ("`", "``a", "https://", "ab ", "\u4e2d", "#", "\n", "a\n```\n"):
        text = piece * (200_000 // len(piece))
        start = time.perf_counter()
        detect_language(text)
        may_be_mixed(text, "Latn")
        assert time.perf_counter() - start < 1.5, piece


def test_each_line_of_a_mixed_page() -> None:
    page = (
        f"# Bus\n\n{EN}\n\n{DE}\n\n```\nDer Code bleibt, was er ist und war.\n```\n\n{ZH}\n\nOK\n"
    )
    lines = line_languages(page, "en")
    assert [line.code for line in lines] == [
        "en", None, "en", None, "de", None, None, None, None, None, "zh", None, "en", None,
    ]  # fmt: skip
    assert [line.is_code for line in lines].count(True) == 3
    found = shares(lines)
    assert list(found) == sorted(found, key=lambda c: -found[c])
    assert sum(found.values()) == pytest.approx(1, abs=0.001)
    rest = without(page, lines, {"de", "zh"})
    assert rest == f"# Bus\n\n{EN}\n\n```\nDer Code bleibt, was er ist und war.\n```\n\nOK\n"
    assert without(page, lines, {"de", "zh", "en"}) == (
        "```\nDer Code bleibt, was er ist und war.\n```\n"
    )


def test_a_heading_in_han_is_japanese_on_a_japanese_page() -> None:
    japanese = "\n".join(["\u6771\u4eac\u90fd\u6e0b\u8c37\u533a\u6848\u5185", *LINES["ja"][:4]])
    assert {line.code for line in line_languages(japanese, "ja")} == {"ja"}


@pytest.mark.parametrize(
    ("text", "script", "mixed"),
    [
        (EN, "Latn", False),
        (f"{EN}\n{ZH}", "Latn", True),
        (
            f"{ZH}\n\u4f7f\u7528 Python \u8bfb\u53d6 CSV \u6587\u4ef6\u5e76\u8f93\u51fa",
            "Hani",
            False,
        ),
        (f"{ZH}\n```\n{EN}\n```", "Hani", False),
        (f"{ZH}\n{EN}", "Hani", True),
        ("\n".join(LINES["ja"]), "Jpan", False),
        ("\n".join(LINES["ko"]), "Hang", False),
        ("", None, False),
    ],
)
def test_which_pages_may_be_mixed(text: str, script: str | None, mixed: bool) -> None:
    assert may_be_mixed(text, script) is mixed
    if text and not mixed and "```" not in text:
        assert main_script(script_letters(sample(text))) == script


def _run(text: str, chosen: LanguageSettings | None = None, hint: str | None = None) -> Candidate:
    candidate = Candidate(
        Document("i", text, "u", "s", language=hint), "curate", text,
        anchors=[(line, line[2:]) for line in text.split("\n") if line.startswith("# ")],
    )  # fmt: skip
    step = pickle.loads(pickle.dumps(make_step(chosen)))
    step([candidate])
    return candidate


def test_the_step_notes_language_script_and_shares() -> None:
    for text, code, script in (
        (EN, "en", "Latn"), (ZH, "zh", "Hans"), (HANT, "zh", "Hant"),
        (" ".join(LINES["ja"]), "ja", "Jpan"), (" ".join(LINES["ko"]), "ko", "Kore"),
        (" ".join(LINES["ru"]), "ru", "Cyrl"),
    ):  # fmt: skip
        row = _run(text)
        assert (row.language.code, row.meta) == (code, {"script": script})
        assert row.lines == [] and row.text == text
    mixed = _run(f"{EN}\n\n{DE}\n")
    assert set(mixed.meta["languages"]) == {"en", "de"}
    assert _run("1 + 1", hint="fr-CA").language == Language("fr", 0.0)
    never = _run(f"{EN}\n\n{DE}\n", LanguageSettings(lines="never"))
    assert "languages" not in never.meta
    assert "languages" not in _run(EN, LanguageSettings(lines="always")).meta


def test_rules_of_languages() -> None:
    keep = LanguageSettings(keep=["en", "zh"], confidence=0.6)
    assert [(e.rule, e.bound, e.detail) for e in _run(DE, keep).lines] == [
        ("language", "en or zh", "de")
    ]
    assert _run(EN, keep).lines == [] and _run("1 + 1", keep).lines == []
    sure = LanguageSettings(keep=["en"], confidence=1.0, lines="never")
    (line,) = _run(EN, sure).lines
    assert (line.rule, line.bound, line.detail) == ("language-confidence", "min 1", "en")
    assert line.value is not None and line.value < 1


def test_rules_of_scripts() -> None:
    simplified = LanguageSettings(scripts=["Latn", "Hans"])
    (line,) = _run(HANT, simplified).lines
    assert (line.action, line.rule, line.bound, line.detail) == (
        "drop", "script", "Latn or Hans", "Hant",
    )  # fmt: skip
    for text in (EN, ZH, "\u4e2d\u6587\u4e2d\u6587\u4e2d\u6587"):  # the last shows neither
        assert _run(text, simplified).lines == []


def test_lines_of_other_languages_are_taken_out_and_logged() -> None:
    page = (
        f"# Bus timetable of the town\n\n{EN}\n{EN}\n\n"
        f"# Fahrplan der Stadt und des Landes\n\n{DE}\n"
    )
    row = _run(page, LanguageSettings(drop_lines=True))
    assert row.text == f"# Bus timetable of the town\n\n{EN}\n{EN}\n"
    assert row.anchors == [("# Bus timetable of the town", "Bus timetable of the town")]
    (line,) = row.lines
    assert (line.action, line.rule, line.value, line.bound) == (
        "edit",
        "other-language-lines",
        2.0,
        "en",
    )
    assert line.detail == "lines taken out: de 2"
    both = _run(page, LanguageSettings(drop_lines=True, keep=["en", "de"]))
    assert both.text == page and both.lines == []
    other = _run(page, LanguageSettings(drop_lines=True, keep=["fr"]))
    assert [e.rule for e in other.lines] == ["language"]


def test_one_bad_row_does_not_take_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from chatwright.curate.lang import step as module

    def fail(text: str, *rest: object) -> Language:
        if "bad" in text:
            raise RuntimeError("no")
        return Language("en", 1.0)

    monkeypatch.setattr(module, "tell_language", fail)
    rows = [Document(t, t, t, "s") for t in ("good one", "bad one", "good two")]
    steps = Stages((), (LanguageStep(LanguageSettings()),))
    judged = steps(list(enumerate(rows)), "c", Guard())
    assert [one.whole.dropped for one in judged] == [False, True, False]
    (line,) = judged[1].whole.lines
    assert line.rule == "error" and "no" in (line.detail or "")


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValidationError, match="unsure"):
        LanguageSettings(unsure=2)
    with pytest.raises(ValidationError, match="lins"):
        LanguageSettings(lins="auto")  # type: ignore[call-arg]
