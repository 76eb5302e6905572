"""Every rule that the code can write into a ledger has words of its own; others get right ones."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chatwright
from chatwright.curate import why
from chatwright.curate.explain_words import SENTENCES, words_of
from chatwright.curate.measures import MEASURES
from chatwright.curate.measuring.lines import LineRules
from chatwright.curate.normal.step import DETAILS
from chatwright.curate.privacy.kinds import PII_TYPES
from chatwright.curate.quality import load_preset, preset_names
from chatwright.curate.safety.settings import SCORES
from chatwright.records import Conversation, LedgerEntry, Message, Parent, write_dataset
from chatwright.records.schema import Action

SOURCE = Path(chatwright.__file__).parent
ACTIONS: tuple[Action, ...] = ("keep", "drop", "edit", "merge")
# Where a call's rule stands among its arguments.
_PLACES = {"drop": 0, "edit": 0, "merge": 0, "Lost": 0, "_Bad": 0, "Note": 0}
_PLACES |= {"Failed": 1, "Line": 2, "LedgerEntry": 4}


def entry(action: Action, rule: str, **more: object) -> LedgerEntry:
    return LedgerEntry("id", "https://a.test/", "s", action, rule, **more)  # type: ignore[arg-type]


def _names(node: ast.AST) -> list[str]:
    """The strings that an argument may be: itself, or either side of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return [*_names(node.body), *_names(node.orelse)]
    return []


def rules_in_code() -> dict[str, str]:
    """Rule names that stand in calls of curate/, collect/ and assist/, each with a file."""
    found: dict[str, str] = {}
    for room in ("curate", "collect", "assist"):
        for file in sorted((SOURCE / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                place = _PLACES.get(name)
                if place is None or len(node.args) <= place:
                    continue
                for rule in _names(node.args[place]):
                    if re.fullmatch(r"[a-z][a-z_-]+", rule):
                        found[rule] = str(file.relative_to(SOURCE))
    return found


def made_rules() -> list[tuple[Action, str]]:
    """Rules whose names are made from tables."""
    lines = [
        f"line-{name}"
        for preset in preset_names()
        for rules in load_preset(preset).lines.values()
        for name in rules.phrases
    ]
    return [
        *(("drop", m) for m in MEASURES),
        *(("drop", s) for s in SCORES),
        *(("edit", d) for d in DETAILS),
        *(("edit", f"pii-{t.replace('_', '-')}") for t in PII_TYPES),
        *(("drop", f"pii-{t.replace('_', '-')}") for t in PII_TYPES),
        *(("edit", line) for line in lines),
        *(("drop", r) for r in ("timeout", "memory", "died")),
        *(("drop", r) for r in ("duplicate-url", "duplicate-document", "near-duplicate")),
        *(("edit", r) for r in ("duplicate-paragraphs", "duplicate-lines")),
        *(("drop", r) for r in ("quality-model", "perplexity", "robots", "opt-out", "noindex")),
        *((a, "mixture") for a in ("keep", "drop")),
        *(("keep", r) for r in ("questions", "chunks", "label", "test-item", "revisit")),
    ]


def is_general(action: Action, rule: str) -> bool:
    """Whether the line gets the sentence that fits anything."""
    said = words_of(entry(action, rule, value=1.0, bound="max 2"), "")
    return re.match(rf"\w+ by the rule {re.escape(rule)}: ", said) is not None and (
        rule not in MEASURES
    )


def test_every_rule_of_the_code_has_words() -> None:
    found = rules_in_code()
    assert len(found) > 50  # the search itself works
    assert {"near-duplicate", "extract", "unreadable", "repeated", "outside"} <= set(found)
    silent = {
        rule: file
        for rule, file in found.items()
        if all(is_general(action, rule) for action in ACTIONS)
    }
    assert not silent, f"no sentence in explain_words.py for: {silent}"


@pytest.mark.parametrize(("action", "rule"), made_rules())
def test_made_rules_have_words(action: Action, rule: str) -> None:
    assert not is_general(action, rule)


@pytest.mark.parametrize(("action", "rule"), list(SENTENCES))
def test_templates_hold_with_everything_and_with_nothing(action: Action, rule: str) -> None:
    full = entry(action, rule, value=3.0, bound="max 2", other_id="o", detail="why")
    for one, other in ((full, "https://o.test/"), (entry(action, rule), "")):
        said = words_of(one, other)
        assert said.strip() == said and len(said) > 3
        assert not re.search(r"[{}]|None|\(\)|  |: *$|, *$", said), said


@given(
    st.sampled_from(ACTIONS),
    st.text(min_size=1, max_size=20),
    st.none() | st.floats(),
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20),
)
def test_no_line_is_without_words(
    action: Action, rule: str, value: float | None, bound: str | None, detail: str | None
) -> None:
    said = words_of(entry(action, rule, value=value, bound=bound, detail=detail), "other")
    assert said


def test_an_unknown_rule_is_told_with_all_that_is_known() -> None:
    line = entry("drop", "new-rule", value=0.5, bound="max 0.1", other_id="o", detail="because")
    assert words_of(line, "https://o.test/") == (
        "dropped by the rule new-rule: 0.5, where max 0.1 is asked (because); the other row is "
        "https://o.test/"
    )


def test_a_survivor_is_named_with_its_similarity() -> None:
    line = entry(
        "drop", "near-duplicate", value=0.97, bound="below 0.7", other_id="o",
        detail="the longest of 3 stays",
    )  # fmt: skip
    said = words_of(line, "https://o.test/")
    assert "https://o.test/" in said and "0.97" in said and "the longest of 3" in said
    assert "2 rows" in words_of(entry("merge", "near-duplicate", value=2.0), "")


def test_line_rules_of_ones_own_are_named() -> None:
    assert LineRules(phrases={"cookies": ("cookie",)}, source="me").phrases
    said = words_of(entry("edit", "line-cookies", value=1.0), "")
    assert said == "edited: 1 line taken out by the rule for lines 'cookies'"


def test_a_conversation_is_followed_through_every_dataset(tmp_path: Path) -> None:
    """Redacted twice, then dropped for one that is nearly the same, which stays."""
    chats = [
        Conversation(
            f"c{n}", [Message("user", f"hi {n}"), Message("assistant", "hello")], f"chat:{n}", "s"
        )
        for n in range(2)
    ]
    stages = ("read", "first", "second")
    for above, stage in zip((None, *stages), stages, strict=False):
        before = [] if above is None else [Parent(above, above, f"../{above}")]
        with write_dataset(
            tmp_path / stage, Conversation, stage=stage, fingerprint=stage, settings={},
            parents=before,
        ) as out:  # fmt: skip
            for chat in chats[: 1 if stage == "second" else 2]:
                out.write(chat)
            line = ("c1", "chat:1", stage)
            if stage == "read":
                out.log(LedgerEntry(*line, "keep", "read", 10.0, detail="bytes"))
                continue
            done = "replaced by its type"
            out.log(LedgerEntry(*line, "edit", "pii-email", 1.0, detail=done))
            if stage == "first":
                out.log(LedgerEntry(*line, "keep", "curated", 3.0))
                continue
            out.log(LedgerEntry(*line, "drop", "near-duplicate", 0.9, "below 0.7", "c0"))
            out.log(LedgerEntry("c0", "chat:0", stage, "merge", "near-duplicate", 1.0))
            out.log(LedgerEntry("c0", "chat:0", stage, "keep", "curated", 3.0))
    told = why(tmp_path / "second", "chat:1")
    assert told.status == "dropped"
    assert [t.entry.stage for t in told.told] == ["read", "first", "first", "second", "second"]
    assert "before" not in told.told[1].words
    assert told.told[3].words == (
        "edited: e-mail addresses, 1 in all, replaced by its type; it was looked for in "
        f"{tmp_path / 'first'} before"
    )
    assert "nearly the same as chat:0" in told.told[-1].words and "0.9" in told.told[-1].words
    (survivor,) = told.others
    assert (survivor.uri, survivor.status) == ("chat:0", "kept")
    assert told.lines[-1] == f"  - kept: chatwright why {tmp_path / 'second'} chat:0"
    assert told.to_json()["others"] == [{"row_id": "c0", "uri": "chat:0", "status": "kept"}]
    assert "one row nearly the same" in why(tmp_path / "second", "c0").told[-2].words
