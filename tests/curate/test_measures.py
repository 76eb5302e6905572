"""Measures against plainly written oracles; quality tables; language; normal form."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.curate.language import detect_language
from chatwright.curate.measures import MEASURES, measure, split_words
from chatwright.curate.normalise import normalise, split_code
from chatwright.curate.quality import Bound, Preset, failures, load_preset, preset_names
from chatwright.errors import UsageError

ENGLISH = (
    "The session holds the objects that you have loaded, and it is the place where changes to "
    "them are collected. It writes them to the database when you commit, and with a rollback it "
    "forgets them. To be safe, open one session for each request and close it at the end. "
)
CHINESE = (
    "会话保存您加载的对象，并收集对它们的修改。提交时，它会把这些修改写入数据库；回滚时，它会丢弃这些修改。"
    "为了安全起见，请为每个请求打开一个会话，并在结束时关闭它。这是我们推荐的做法，也是最简单的做法。"
)
_WORD = st.text(alphabet="abcXY1#.…,-", min_size=1, max_size=9)
_LINE = st.lists(_WORD, min_size=1, max_size=6).map(" ".join)
_LINES = st.lists(_LINE.map(lambda s: "a" + s), min_size=1, max_size=12)


@given(_LINES)
def test_english_measures_equal_their_plain_definitions(lines: list[str]) -> None:
    found = measure("\n".join(lines))
    words = [word for line in lines for word in line.split()]
    bare = [word.strip(".,;:!?\"'()[]") for word in words]
    assert found["word_count"] == len(words)
    assert found["character_count"] == sum(map(len, lines))
    real = [b for b in bare if any(c in "abcXY1" for c in b)]
    assert found["mean_word_length"] == pytest.approx(sum(map(len, real)) / len(real))
    symbols = 0
    for line in lines:
        symbols += line.count("#") + line.replace("...", "…").count("…")
    assert found["symbol_word_ratio"] == pytest.approx(symbols / len(words))
    with_letter = [w for w in words if any(c in "abcXY" for c in w)]
    assert found["alphabetic_word_ratio"] == pytest.approx(len(with_letter) / len(words))
    seen: set[str] = set()
    again = again_characters = 0
    for line in lines:
        if line in seen:
            again += 1
            again_characters += len(line)
        seen.add(line)
    assert found["duplicate_line_ratio"] == pytest.approx(again / len(lines))
    assert found["duplicate_line_character_ratio"] == pytest.approx(
        again_characters / sum(map(len, lines))
    )


def test_markdown_marks_are_not_words_and_code_is_not_prose() -> None:
    found = measure("# A title\n\n- **one** `two`\n- three...\n\n```python\nx = 1\ny = 2\n```\n")
    assert found["word_count"] == 5 + 6
    assert found["bullet_line_ratio"] == pytest.approx(2 / 3)
    assert found["ellipsis_line_ratio"] == pytest.approx(1 / 3)
    assert 0.2 < found["code_ratio"] < 0.4
    assert found["symbol_word_ratio"] == pytest.approx(1 / 5)


def test_chinese_words_come_from_a_dictionary() -> None:
    assert split_words("我们喜欢机器学习 and Python") == [
        "我们",
        "喜欢",
        "机器",
        "学习",
        "and",
        "Python",
    ]
    found = measure(CHINESE)
    assert 1 <= found["mean_word_length"] <= 3
    assert 40 < found["word_count"] < 100
    assert found["han_ratio"] == 1 and found["stop_word_count_zh"] >= 3
    assert found["stop_word_count"] == 0, "no English rule on Chinese"
    assert found["terminal_line_ratio"] == 1


def test_every_measure_is_there_for_any_text() -> None:
    for text in ("", "\n\n", "```\n", "，。", "#"):
        found = measure(text)
        assert tuple(found) == MEASURES
        assert all(value >= 0 for value in found.values())


def test_web_preset_keeps_good_text_in_both_languages() -> None:
    web = load_preset("web")
    english = "\n\n".join(ENGLISH + f"Paragraph {n}." for n in range(3))
    chinese = "\n\n".join(f"第{n}段：" + CHINESE for n in "一二三")
    assert failures(measure(english), web, "en") == []
    assert failures(measure(chinese), web, "zh") == []
    # English rules on Chinese text would drop it: that is why they are not applied.
    failed = {f.rule for f in failures(measure(chinese), web, "en")}
    assert failed == {"mean_word_length", "stop_word_count"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("few words only", "word_count"),
        ((ENGLISH + "\n") * 5, "duplicate_line_ratio"),
        (
            "\n".join(f"- item {n} of the list that has no end" for n in range(40)),
            "bullet_line_ratio",
        ),
        ("1234 5678 " * 60, "alphabetic_word_ratio"),
    ],
)
def test_web_preset_drops(text: str, rule: str) -> None:
    assert rule in [f.rule for f in failures(measure(text), load_preset("web"), "en")]


@given(st.floats(0, 2), st.none() | st.floats(0, 2), st.none() | st.floats(0, 2))
def test_failures_follow_the_bounds(value: float, low: float | None, high: float | None) -> None:
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        return
    rules = {"any": {"code_ratio": Bound(min=low, max=high, source="here")}}
    preset = Preset(name="p", about="", rules=rules)
    inside = (low is None or low <= value) and (high is None or value <= high)
    assert (
        failures({**dict.fromkeys(MEASURES, 0.0), "code_ratio": value}, preset, "xx") == []
    ) is inside


def test_every_shipped_rule_names_its_source() -> None:
    assert {"documentation", "web"} <= set(preset_names())
    for name in preset_names():
        for table in load_preset(name).rules.values():
            assert all(len(bound.source) > 10 for bound in table.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nabout: y\nrules: {any: {word_cuont: {min: 1, source: s}}}", "word_cuont"),
        ("name: x\nabout: y\nrules: {any: {word_count: {min: 9, max: 1, source: s}}}", "above max"),
        ("name: x\nabout: y\nrules: {any: {word_count: {min: 1}}}", "source"),
        ("name: [", "YAML"),
    ],
)
def test_a_broken_preset_says_which_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_preset(str(file))


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UsageError, match="documentation"):
        load_preset("gofer")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        (CHINESE, "zh"),
        ("使用 Session.execute() 执行 select(User) 语句，并返回 Result 对象。", "zh"),
        ("セッションはデータベースとの会話を管理し、変更をまとめて保存します。", "ja"),
        ("La session contient les objets que vous avez chargés dans la base de données.", "fr"),
        ("Die Sitzung enthält die Objekte, die aus der Datenbank geladen wurden.", "de"),
        ("```python\nimport this\nprint('the and of to')\n```", None),
        ("", None),
    ],
)
def test_language(text: str, code: str | None) -> None:
    found = detect_language(text)
    assert found.code == code
    assert 0 <= found.confidence <= 1


def test_the_page_own_language_decides_only_without_prose() -> None:
    assert detect_language("1 + 1", hint="fr").code == "fr"
    assert detect_language(ENGLISH, hint="fr").code == "en"


def test_normalise_repairs_and_counts() -> None:
    found = normalise(
        "cafÃ© costs 5\u00a0$ today  \r\n\r\n\r\n\r\ne\u0301t\u00e9\u200b \x07bell\n"
        "```\ncafÃ©\u00a0\x07  \n\n\n\nend\n```\n中文，全角。"
    )
    assert found.text == (
        "café costs 5 $ today\n\nété bell\n```\ncafÃ©\u00a0\x07  \n\n\n\nend\n```\n中文，全角。\n"
    )
    assert (found.lines_repaired, found.lines_changed) == (1, 2)


_MARKDOWN = st.lists(
    st.text(alphabet="ab中é\u00a0 \t`~#-\n\x07e\u0301", max_size=12), max_size=12
).map("\n".join)


@given(_MARKDOWN)
def test_normalise_is_stable_and_leaves_code_alone(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once
    code = [run for is_code, run in split_code(text) if is_code]
    after = [run for is_code, run in split_code(once) if is_code]
    assert [c.strip("\n") for c in code if c.strip()] == [c.strip("\n") for c in after] or not once
    prose = "\n".join(run for is_code, run in split_code(once) if not is_code)
    assert unicodedata.is_normalized("NFC", prose) and "\u00a0" not in prose


@given(_MARKDOWN)
def test_split_code_loses_nothing(text: str) -> None:
    assert "\n".join(run for _, run in split_code(text)) == text
