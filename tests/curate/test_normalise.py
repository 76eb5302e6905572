"""Normal form beyond encoding: width, punctuation per language, script, spelling; what stays."""

# ruff: noqa: E501  (a case a line)

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatwright.curate.candidate import Candidate
from chatwright.curate.normal.chinese import chinese_script
from chatwright.curate.normal.settings import NormaliseSettings
from chatwright.curate.normal.step import DETAILS, make_step
from chatwright.curate.normalise import normalise, normalise_line, split_code
from chatwright.records import Document

ALL = NormaliseSettings(chinese="t2s", spelling="american")
USUAL = NormaliseSettings()

# Typed with escapes where an editor might fold the sign that is the point.
CASES = [
    # full-width letters and digits
    ("\uff21\uff22\uff23\uff11\uff12\uff13\u3000\uff58\uff19", "ABC123 x9"),
    ("\u4ef7\u683c\uff12\uff10\uff05\u3002", "\u4ef7\u683c20%\u3002"),
    ("\uff76\uff9e\uff72\uff84\uff9e", "\u30ac\u30a4\u30c9"),
    ("\uff0d \uff0a \uff03", "\uff0d \uff0a \uff03"),  # plain ones would be markup
    # Chinese lines
    ("\u4f60\u597d,\u4e16\u754c!", "\u4f60\u597d\uff0c\u4e16\u754c\uff01"),
    ("\u4f60\u597d, \u4e16\u754c.", "\u4f60\u597d\uff0c\u4e16\u754c\u3002"),
    ("\u662f\u5417?\u662f.", "\u662f\u5417\uff1f\u662f\u3002"),
    ("\u4f7f\u7528Python,\u7136\u540e\u8fd0\u884c.", "\u4f7f\u7528Python\uff0c\u7136\u540e\u8fd0\u884c\u3002"),
    ("\u65f6\u95f4:10:30\u5f00\u59cb", "\u65f6\u95f4\uff1a10:30\u5f00\u59cb"),
    ("\u6253\u5f00\u6587\u4ef6.txt\u770b\u770b", "\u6253\u5f00\u6587\u4ef6.txt\u770b\u770b"),
    ("\u5706\u5468\u7387\u662f3.14,\u4e0d\u662f3,000", "\u5706\u5468\u7387\u662f3.14\uff0c\u4e0d\u662f3,000"),
    ("\u5377\u79ef(CNN)\u7f51\u7edc", "\u5377\u79ef\uff08CNN\uff09\u7f51\u7edc"),
    ("\u8c03\u7528f(x)\u5373\u53ef", "\u8c03\u7528f(x)\u5373\u53ef"),
    ("\u4ed6\u8bf4\"\u597d\u7684\"\u3002", "\u4ed6\u8bf4\u201c\u597d\u7684\u201d\u3002"),
    ("\u7b49\u7b49...", "\u7b49\u7b49\u2026\u2026"),
    ("\u4e00. \u6807\u9898", "\u4e00. \u6807\u9898"),
    ("**\u6ce8\u610f**:\u8bf7\u770b", "**\u6ce8\u610f**\uff1a\u8bf7\u770b"),
    # what is protected in them
    ("\u770bhttps://a.cn/b,c?d=1,\u8c22\u8c22", "\u770bhttps://a.cn/b,c?d=1,\u8c22\u8c22"),
    ("\u90ae\u7bb1:a.b@163.com,\u8c22\u8c22", "\u90ae\u7bb1\uff1aa.b@163.com\uff0c\u8c22\u8c22"),
    ("\u7528`\u503c,\u503c`\u5c31\u884c", "\u7528`\u503c,\u503c`\u5c31\u884c"),
    ("\u56fe![\u4e2d](\u4e2d,\u6587.png)", "\u56fe![\u4e2d](\u4e2d,\u6587.png)"),
    ("\u503c!=0\u4e14std::\u7a7a", "\u503c!=0\u4e14std::\u7a7a"),
    # lines that are not Chinese
    ("Hello\uff0cworld\u3002Next", "Hello, world. Next"),
    ("foo\uff08bar\uff09", "foo (bar)"),
    ("It\u2019s \u201cfine\u201d", "It's \"fine\""),
    ("\u201eGut\u201c", "\u201eGut\u201c"),
    ("\uff11\uff0c\uff10\uff10\uff10", "1,000"),
    ("\u3053\u308c\u306f,\u672c.", "\u3053\u308c\u306f,\u672c."),  # Japanese stays
    ("A long English sentence with \u4e2d\u6587, in it.", "A long English sentence with \u4e2d\u6587, in it."),
    ("\u4ed6\u8bf4\u201c\u597d\u201d", "\u4ed6\u8bf4\u201c\u597d\u201d"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_width_and_punctuation(text: str, expected: str) -> None:
    assert normalise(text, USUAL).text == expected + "\n"
    assert normalise_line(text, USUAL)[0] == expected


def test_without_settings_only_the_encoding_is_mended() -> None:
    text = "\uff21\u4f60\u597d,\u4e16\u754c! It\u2019s colour\n"
    assert normalise(text).text == text


def test_traditional_becomes_simplified_and_japanese_stays() -> None:
    found = normalise("\u8acb\u4fdd\u7559`\u8acb`\u6536\u64da\u3002\n\nnext", ALL)
    assert found.text == "\u8bf7\u4fdd\u7559`\u8acb`\u6536\u636e\u3002\n\nnext\n"
    assert found.edits == {"simplified": 1}
    japanese = (
        "\u9818\u53ce\u66f8\u306f\u5927\u5207\u306b\u4fdd\u7ba1\n\u6771\u4eac\u90fd\u6a5f\u95a2\n"
    )
    assert normalise(japanese, ALL).text == japanese
    taiwanese = NormaliseSettings(chinese="tw2sp")
    assert normalise("\u8edf\u9ad4", taiwanese).text == "\u8f6f\u4ef6\n"


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("\u8acb\u4fdd\u7559\u60a8\u7684\u6536\u64da", "Hant"),
        ("\u8bf7\u4fdd\u7559\u60a8\u7684\u6536\u636e", "Hans"),
        ("\u4e2d\u6587", "Hani"),
        ("\u8acb\u8bf7", "Hani"),
        ("", "Hani"),
    ],
)
def test_which_chinese_script(text: str, script: str) -> None:
    assert chinese_script(text) == script


def test_spelling_is_an_edit_on_request() -> None:
    british = (
        "The colour of the centre is grey, and they organised the travelling. Colour matters. "
        "We went to the Labour Party in Pearl Harbor. See https://x.org/colour and `colour`.\n"
    )
    american = (
        "The color of the center is gray, and they organized the traveling. Color matters. "
        "We went to the Labour Party in Pearl Harbor. See https://x.org/colour and `colour`.\n"
    )
    found = normalise(british, NormaliseSettings(spelling="american"))
    assert found.text == american and found.edits == {"spelling": 1}
    back = normalise(american, NormaliseSettings(spelling="british"))
    assert back.text == british
    # Words that are the same in both, or mean something else in one.
    same = "I advise the surprised programmer to exercise the meter; analyses of promises differ.\n"
    for spelling in ("american", "british"):
        assert normalise(same, NormaliseSettings(spelling=spelling)).text == same
    french = "Le centre de la couleur organise un theatre au centre de la ville.\n"
    assert normalise(french, NormaliseSettings(spelling="american")).text == french


def test_each_kind_of_edit_is_counted() -> None:
    text = "caf\u00c3\u00a9 bell\x07\ne\u0301\n\uff21\n\u597d,\u597d\nIt\u2019s\na  b\nplain\n"
    found = normalise(text, USUAL)
    assert found.edits == {
        "controls": 1, "mojibake": 1, "nfc": 1, "spaces": 1, "width": 1, "punctuation": 1,
        "quotes": 1,
    }  # fmt: skip
    assert (found.lines_changed, found.lines_repaired) == (6, 1)


_SIGNS = (
    "ab1\u4e2d\u8acb\u9ad4\u304b\uac00 \u3000\n,.!?:;()\"'`$<>[]/@&*_~-|\uff0c\u3002\uff01\uff08\uff09\uff1a"
    "\uff21\uff11\uff0e\uff0d\uff0b\uff40\uff20\uff0f\u2018\u2019\u201c\u201d\u201e\u00e9\u0301\u00c3\u00a0\t\x07"
    "\uff76\uff9e"
)
_PIECES = st.sampled_from(
    [
        "http://a.b",
        "www.a.",
        "](",
        "a@b.co",
        "colour",
        "The ",
        "...",
        "```",
        "~~~",
        "![",
        "::",
        "\u5982\u6b64",
    ]
)
_TEXT = st.lists(st.sampled_from(_SIGNS) | _PIECES, max_size=40).map("".join)


@given(_TEXT)
@example("a\uff1a//b\uff0ec`\u4e2d,\u4e2d`")
@settings(max_examples=400, deadline=None)
def test_normalising_again_changes_nothing(text: str) -> None:
    for chosen in (USUAL, ALL):
        once = normalise(text, chosen).text
        assert normalise(once, chosen).text == once


@given(_TEXT)
@settings(max_examples=200, deadline=None)
def test_code_is_left_alone_and_lines_are_kept(text: str) -> None:
    found = normalise(text, ALL)
    before = [run for is_code, run in split_code(text.replace("\r", "\n")) if is_code]
    after = [run for is_code, run in split_code(found.text) if is_code]
    assert [c.strip("\n") for c in before if c.strip()] == [
        c.strip("\n") for c in after if c.strip()
    ] or not found.text
    assert sum(map(bool, found.edits.values())) == len(found.edits)


@pytest.mark.parametrize(
    "piece",
    ["`", "$", "](", "<a", "&a", "a@", "@", "(", '"', ".", "\u4e2d.", "\u4e2d(", "\u4e2d,", "*",
     "\u4e2d*", "\uff21", "\uff08", "a.", "www.", "http://", "\u00c3\u00a9", " ", "\u3000", "-", "$a", "a@b.",
     "colour ", "\u201c", "\u8acb"],
)  # fmt: skip
def test_time_is_linear_whatever_the_line(piece: str) -> None:
    def seconds(length: int) -> float:
        text = "\u4e2d" + (piece * (length // len(piece) + 1))[:length]
        best = 9.0
        for _ in range(2):
            start = time.perf_counter()
            normalise(text, ALL)
            best = min(best, time.perf_counter() - start)
        return best

    short, long = seconds(10_000), seconds(80_000)
    # 8 times the text: a quadratic step would take 64 times as long.
    assert long < 0.1 or long < 24 * short


def _candidate(text: str) -> Candidate:
    return Candidate(Document("i", text, "file:x", "test"), "curate", text)


def test_the_step_logs_each_rule_and_treats_headings_alike() -> None:
    candidate = _candidate("# \u6807\u9898,\u4e00\n\n\uff21\u4f60\u597d,\u4e16\u754c\n")
    candidate.title = "\u6807\u9898,\u4e00"
    candidate.anchors = [("# \u6807\u9898,\u4e00", "one")]
    make_step(USUAL)([candidate])
    assert candidate.text == "# \u6807\u9898\uff0c\u4e00\n\nA\u4f60\u597d\uff0c\u4e16\u754c\n"
    assert candidate.anchors == [("# \u6807\u9898\uff0c\u4e00", "one")]
    assert candidate.title == "\u6807\u9898\uff0c\u4e00"
    assert [(e.action, e.rule, e.value) for e in candidate.lines] == [
        ("edit", "width", 1.0),
        ("edit", "punctuation", 2.0),
    ]
    assert all(e.detail == DETAILS[e.rule] for e in candidate.lines)
    again = _candidate(candidate.text)
    make_step(USUAL)([again])
    assert again.lines == []
    make_step(None)([plain := _candidate("\uff21\x07")])
    assert plain.text == "\uff21\n" and [e.rule for e in plain.lines] == ["controls"]
