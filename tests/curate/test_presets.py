"""Presets as tables: who says so, which language, how they combine; C4's lines; the step."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.candidate import Candidate
from chatwright.curate.language import Language
from chatwright.curate.measures import MEASURES, measure
from chatwright.curate.measuring.lines import LineRules, is_terminated, remove_lines
from chatwright.curate.measuring.step import make_step
from chatwright.curate.measuring.tables import main as print_tables
from chatwright.curate.measuring.tables import preset_table
from chatwright.curate.quality import (
    Bound,
    failures,
    load_preset,
    load_presets,
    preset_names,
)
from chatwright.errors import UsageError
from chatwright.records import Document

STOP = "\u3002"
CHINESE = [
    f"这座城市的历史很长，也有很多人住在这里{STOP}",
    f"春天的时候，河边的树都开了花，人们在树下散步{STOP}",
    f"他在年初写了一本书，讲的是和朋友一起旅行的事{STOP}",
    f"为了让孩子们读到这本书，出版社把价格定得很低{STOP}",
    f"后来这本书被翻译成了英文，也有人把它拍成了电影{STOP}",
    f"第二年的冬天，作者又回到河边，记下了新的变化{STOP}",
]
ENGLISH = [
    "The city that we visited is old, and many people have lived by its river for centuries.",
    "In spring the trees along the water open their flowers, and families come to sit below them.",
    "A writer of the town made a small book about a journey with friends through the mountains.",
    "To let children read it, the publisher set a low price and gave copies to every school.",
    "Years later it was translated, and a film of it won a prize at a festival in the capital.",
    "Last winter the author went back to the river and wrote down what had changed since then.",
]


def row(text: str, language: str | None) -> Candidate:
    document = Document("id", text, "https://a.test/", "test")
    return Candidate(document, "curate", text, language=Language(language, 1.0))


def test_the_presets_of_the_issue_are_there_and_every_rule_says_who_says_so() -> None:
    assert {"gopher", "c4", "fineweb", "fineweb2-zh", "chat", "documentation", "web"} <= set(
        preset_names()
    )
    for name in preset_names():
        preset = load_preset(name)
        bounds = [b for table in preset.rules.values() for b in table.values()]
        for source in [b.source for b in bounds] + [r.source for r in preset.lines.values()]:
            assert any(c.isdigit() for c in source) or "Chatwright:" in source, (name, source)


def test_fineweb2_has_the_bounds_of_cmn_hani() -> None:
    found = {name: str(bound) for name, bound in load_preset("fineweb2-zh").bounds("zh").items()}
    expected = {
        "mean_word_length": "min 1, max 5",
        "alphabetic_word_ratio": "min 0.735",
        "terminal_line_ratio": "min 0.106",
        "new_line_ratio": "max 0.178",
        "duplicate_line_ratio": "max 0.287",
    }
    duplicates = (0.198, 0.182, 0.167, 0.154, 0.14, 0.127)
    for n, bound in enumerate(duplicates, start=5):
        expected[f"duplicate_{n}_gram_ratio"] = f"max {bound:g}"
    for n, bound in enumerate((0.256, 0.201, 0.171), start=2):
        expected[f"top_{n}_gram_ratio"] = f"max {bound:g}"
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("name", ["gopher", "c4", "fineweb", "fineweb2-zh", "web", "chat"])
def test_no_english_rule_is_applied_to_chinese(name: str) -> None:
    preset = load_preset(name)
    english = preset.rules.get("en", {})
    chinese = preset.bounds("zh")
    # Rules on English words; each is another bound for Chinese, or none.
    for measure_name in ("mean_word_length", "alphabetic_word_ratio", "stop_word_count"):
        mine = english.get(measure_name)
        if mine is not None and measure_name in chinese:
            assert (chinese[measure_name].min, chinese[measure_name].max) != (mine.min, mine.max)
    assert "stop_word_count" not in chinese
    text = "\n".join(CHINESE)
    assert failures(measure(text), preset, "zh") == []
    assert failures(measure(text), preset, "zh-Hant-TW") == []


@pytest.mark.parametrize("name", ["gopher", "c4", "fineweb", "web", "chat"])
def test_good_english_is_kept(name: str) -> None:
    assert failures(measure("\n\n".join(ENGLISH)), load_preset(name), "en") == []


def test_chinese_terminal_punctuation_counts() -> None:
    ends = [STOP, "\uff01", "\uff1f", f"{STOP}\u201d", "\uff01\u300d", f"{STOP}\uff09", "!", ".'"]
    assert all(is_terminated("他说" + end) for end in ends)
    assert not any(is_terminated("他说" + end) for end in ("", "\uff0c", "\uff1a", "\u2026\u2026"))
    assert not is_terminated("Read more...") and not is_terminated("Home") and not is_terminated("")
    found = measure("\n".join(line.rstrip(STOP) for line in CHINESE))
    assert [f.rule for f in failures(found, load_preset("fineweb2-zh"), "zh")] == [
        "terminal_line_ratio"
    ]


@pytest.mark.parametrize(
    ("preset", "language", "text", "rule"),
    [
        ("gopher", "en", ("buy cheap shoes now online " * 40), "top_2_gram_ratio"),
        ("gopher", "en", "\n".join(ENGLISH * 2), "duplicate_10_gram_ratio"),
        ("gopher", "zh", "便宜的鞋子在这里" * 40, "duplicate_5_gram_ratio"),
        ("gopher", "fr", "mot " * 49, "word_count"),
        ("gopher", "th", "ก" * 200, "character_count"),
        ("c4", "en", " ".join(ENGLISH) + " Lorem ipsum dolor sit amet.", "lorem_ipsum_count"),
        ("c4", "en", " ".join(ENGLISH) + "\nif (x) { y }.", "curly_bracket_count"),
        ("c4", "zh", "\n".join(CHINESE[:4]), "sentence_count"),
        ("c4", "de", "\n".join(ENGLISH), "long_line_count"),
        ("fineweb", "en", "\n".join(x.rstrip(".") for x in ENGLISH), "terminal_line_ratio"),
        ("fineweb", "en", "I sing.\nI dance.\nAnd that.\n" + ENGLISH[0], "short_line_ratio"),
        ("fineweb", "en", "\n".join([*ENGLISH, ENGLISH[0]]), "duplicate_line_character_ratio"),
        ("fineweb", "zh", "\n".join([*CHINESE, *CHINESE[:2]]), "duplicate_line_character_ratio"),
        ("fineweb2-zh", "zh", "\n".join(x[:4] + STOP for x in CHINESE * 2), "new_line_ratio"),
        ("chat", "en", "?! ?! :) :) ... ok", "alphabetic_word_ratio"),
    ],
)  # fmt: skip
def test_a_rule_drops_what_it_is_for(preset: str, language: str, text: str, rule: str) -> None:
    assert rule in [f.rule for f in failures(measure(text), load_preset(preset), language)]


def test_several_presets_ask_for_everything_that_any_of_them_asks_for() -> None:
    both = load_presets(["gopher", "c4"])
    for language in ("en", "zh", "fr", "th", None):
        for name in ("gopher", "c4"):
            for rule, bound in load_preset(name).bounds(language).items():
                mine = both.bounds(language)[rule]
                assert bound.min is None or (mine.min is not None and mine.min >= bound.min)
                assert bound.max is None or (mine.max is not None and mine.max <= bound.max)
    strict = load_presets(["gopher", "fineweb"]).bounds("en")["duplicate_line_character_ratio"]
    assert strict.max == 0.01 and "datatrove" in strict.source and "Rae" not in strict.source
    assert load_presets("gopher") is load_preset("gopher")
    assert load_presets(["gopher", "gopher"]).name == "gopher"


def test_fineweb_includes_gopher_and_c4_without_terminal_punctuation() -> None:
    fineweb, gopher = load_preset("fineweb"), load_preset("gopher")
    assert set(gopher.bounds("en")) <= set(fineweb.bounds("en"))
    lines = fineweb.line_rules("en")
    assert lines is not None and not lines.terminal_punctuation and lines.min_words == 3
    assert fineweb.line_rules("zh") is None
    c4 = load_preset("c4").line_rules("en")
    assert c4 is not None and c4.terminal_punctuation


def test_contradictions_and_circles_are_told(tmp_path: Path) -> None:
    def file(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    low = file("low.yaml", "{name: a, about: b, rules: {any: {word_count: {max: 9, source: s}}}}")
    with pytest.raises(UsageError, match=r"contradict.*word_count"):
        load_presets(["gopher", low])
    circle = str(tmp_path / "circle.yaml")
    file(
        "circle.yaml",
        f"{{name: a, about: b, includes: ['{circle}'], "
        "rules: {any: {word_count: {max: 9, source: s}}}}",
    )
    with pytest.raises(UsageError, match="includes itself"):
        load_preset(circle)
    with pytest.raises(UsageError, match="no preset called"):
        load_presets(["gopher", "gofer"])
    with pytest.raises(UsageError, match="name a preset"):
        load_presets([])
    bad = file("bad.yaml", "{name: a, about: b, lines: {en: {min_wrds: 1, source: s}}, rules: {}}")
    with pytest.raises(UsageError, match="min_wrds"):
        load_preset(bad)


_BOUND = st.builds(
    lambda low, size, kind: Bound(
        min=None if kind == 1 else low, max=None if kind == 2 else low + size, source=f"s{low}"
    ),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 2),
)


@given(_BOUND, _BOUND, st.integers(-2, 20))
def test_both_bounds_hold_where_each_holds(one: Bound, other: Bound, value: int) -> None:
    def holds(bound: Bound) -> bool:
        return (bound.min is None or value >= bound.min) and (
            bound.max is None or value <= bound.max
        )

    try:
        both = one.both(other)
    except ValueError:
        assert not (holds(one) and holds(other))
        return
    assert holds(both) == (holds(one) and holds(other))
    assert set(both.source.split("; ")) <= {one.source, other.source}


C4_PAGE = """# A short history

Home
The city is old, and many people have lived by its river for centuries.[1]
- A writer of the town made **a small book about a journey.**
Please enable Javascript to see this page.
Read our privacy policy before you go on with this page.
Read more about the journey...

```python
no_terminal_mark
```

The end is near.
It is.
"""


def test_c4_takes_lines_out_and_each_is_told() -> None:
    candidate = row(C4_PAGE, "en")
    make_step("c4")([candidate])
    assert candidate.text == (
        "The city is old, and many people have lived by its river for centuries.\n"
        "- A writer of the town made **a small book about a journey.**\n\n"
        "```python\nno_terminal_mark\n```\n\nThe end is near.\n"
    )
    edits = {e.rule: (e.value, e.detail) for e in candidate.lines if e.action == "edit"}
    assert edits == {
        "line-terminal-punctuation": (3, "lines, the first: A short history"),
        "line-citations": (
            1,
            "lines, the first: The city is old, and many people have lived by its river for",
        ),
        "line-javascript": (1, "lines, the first: Please enable Javascript to see this page."),
        "line-policy": (
            1,
            "lines, the first: Read our privacy policy before you go on with this page.",
        ),
        "line-min-words": (1, "lines, the first: It is."),
    }
    # Three sentences are left, and the code block's words do not make more.
    last = candidate.lines[-1]
    assert (last.action, last.rule, last.value, last.bound) == (
        "drop",
        "sentence_count",
        3.0,
        "min 5",
    )


def test_chinese_lines_go_by_chinese_marks() -> None:
    text = "\n".join(
        ["首页", *CHINESE, f"阅读我们的隐私政策{STOP}", f"是的{STOP}", "x" * 1001 + STOP]
    )
    candidate = row(text, "zh")
    make_step("c4")([candidate])
    assert candidate.text.strip().split("\n") == CHINESE
    rules = {e.rule: e.value for e in candidate.lines}
    assert rules == {
        "line-terminal-punctuation": 1,
        "line-policy": 1,
        "line-min-words": 1,
        "line-word-length": 1,
    }
    assert not candidate.dropped and candidate.measures["sentence_count"] == 6


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("It is old.[1] So is this[12][3].", "It is old. So is this."),
        ("History[edit] of a claim.[citation needed]", "History of a claim."),
        ("A claim.[citation[1] needed]", "A claim."),
        ("See [1](https://a.test) and net[0].weight and `x[1]`.", None),
        ("See [1](https://a.test), net[0].weight, [[1]] and [1[2]].", None),
        ("Then x[1]y.", None),
    ],
)
def test_citations_go_and_indices_stay(line: str, left: str | None) -> None:
    rules = LineRules(citations=True, source="s")
    assert remove_lines(line, rules).text.rstrip("\n") == (left or line)


_RULES = LineRules(
    terminal_punctuation=True,
    min_words=2,
    max_word_length=9,
    citations=True,
    phrases={"policy": ("use cookies",)},
    source="s",
)


@given(st.text(alphabet="ab .!\n[1]#*`中\u3002-{", max_size=80))
@settings(deadline=None)
def test_lines_taken_out_once_are_all(text: str) -> None:
    once = remove_lines(text, _RULES)
    again = remove_lines(once.text, _RULES)
    assert again.text == once.text and not again.counts
    if not once.counts:
        assert once.text == text


def test_the_step_measures_what_is_left_and_tells_every_failure() -> None:
    good, short, empty = (
        row("\n".join(ENGLISH), "en"),
        row("# Home ###", "en"),
        row("Home\nUp", "en"),
    )
    good.measures = {"link_ratio": 0.25}
    step = make_step(["gopher", "c4"])
    rows = [good, short, empty]
    step(rows)
    assert not good.dropped and good.lines == [] and good.text == "\n".join(ENGLISH)
    assert tuple(good.measures) == MEASURES and good.measures["link_ratio"] == 0.25
    assert short.dropped and short.lines[-1].rule == "empty"
    assert [e.rule for e in empty.lines] == ["line-terminal-punctuation", "empty"]
    web = row("few words # # #", None)
    make_step("gopher")([web])
    assert [e.rule for e in web.lines] == ["word_count"]
    assert web.lines[0].value == 5 and "hash_word_ratio 0.6 (max 0.1)" in (
        web.lines[0].detail or ""
    )
    assert pickle.loads(pickle.dumps(step)) == step
    again = row(good.text, "en")
    step([again])
    assert again.measures == good.measures | {"link_ratio": 0.0}
    talk = row("Who?\nMe.\n" + "\n".join(ENGLISH), "en")
    make_step("c4", edit_lines=False)([talk])
    assert talk.text.startswith("Who?") and not talk.lines


@pytest.mark.parametrize("name", preset_names())
def test_the_guide_shows_every_preset_as_it_is(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "quality.md"
    table = preset_table(load_preset(name))
    # To make it anew: python -m chatwright.curate.measuring.tables NAME
    assert f"### {name}\n\n{table}\n" in guide.read_text(encoding="utf-8")
    print_tables([name])
    assert capsys.readouterr().out == f"{table}\n\n"


def test_every_measure_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "quality.md").read_text("utf-8")
    measured = guide.partition("## What is measured")[2].partition("## The tables")[0]
    shown = set(re.findall(r"`(\w+)`", measured))
    implied = {n for n in MEASURES if n.startswith(("top_", "duplicate_"))}
    assert set(MEASURES) - implied <= shown <= set(MEASURES)
