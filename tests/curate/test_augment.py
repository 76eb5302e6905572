"""Augmentation: what must not be touched comes out as it went in; copies are rows with parents."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chatwright.curate import why
from chatwright.curate.augment import Rates, augment_row, augment_text
from chatwright.curate.augment_stage import AugmentSettings
from chatwright.curate.sections import parse_blocks
from chatwright.curate.spans import free_words, held_spans
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    Message,
    Preference,
    Row,
    write_dataset,
)
from chatwright.records.lineage import ancestors, descendants
from chatwright.workspace import Workspace

HELD = [
    "`session.execute()`",
    "[the docs](https://docs.test/a_b?c=1#d)",
    "https://example.org/x/y.html?q=word%20word",
    "www.example.cn/路径",
    "someone@example.org",
    "3.14",
    "2026-11-26",
    "**very much so**",
    "*重要的是*",
    "$a + b = c$",
    "<b>bold words</b>",
    "![a picture](x.png)",
    "{name of it}",
    "create_engine",
    "getElementById",
    "not",
    "一百二十",
    "不",
    "C++",
    "v1.2",
]
BLOCKS = [
    "```python\nfor word in words of text:\n    print(word and more)\n```",
    "~~~\nsome text in a fence with `one tick\n~~~",
    "    indented code with several words in it",
    "| a table | with words |\n|---|---|\n| and more | words here |",
    "# A heading of several words",
    "## 标题里的词语不应该改变",
    "<pre>\nsome words in html\nand more of them\n</pre>",
    "<!-- a comment of\nseveral lines here -->",
    "$$\na formula with words\n$$",
    "[ref]: https://x.test the title words",
]
WORDS = "the session holds a transaction until it is committed or rolled back again"
ENGLISH = WORDS.split(" ")
CHINESE = [
    "引擎是连接数据库的起点",
    "它管理着连接池",
    "请问如何编写高效的爬虫程序",
    "映射的类与表之间的关系由声明式基类描述",
]

word = st.sampled_from(ENGLISH)
sentence = st.lists(word | st.sampled_from(HELD), min_size=3, max_size=14).map(" ".join)
chinese = st.lists(st.sampled_from(CHINESE + HELD), min_size=1, max_size=4).map("，".join)
lines = st.tuples(
    st.sampled_from(["", "- ", "3. ", "> ", "  - [ ] "]), st.one_of(sentence, chinese)
).map(lambda pair: pair[0] + pair[1] + ("。" if pair[1][-1] > "\u3000" else "."))
markdown = st.lists(st.one_of(lines, st.sampled_from(BLOCKS)), min_size=1, max_size=6).map(
    "\n\n".join
)


@settings(max_examples=150, deadline=None)
@given(markdown, st.integers(0, 2**32))
def test_what_is_held_comes_out_as_it_went_in(text: str, seed: int) -> None:
    rates = Rates(0.2, 0.2, 0.2, 0.5)
    changed = augment_text(text, rates, random.Random(seed))
    if changed is None:
        return
    assert changed.text != text
    assert held_spans(changed.text) == held_spans(text)
    # Independently of our own idea of what is held:
    for piece in [*HELD, *BLOCKS]:
        if len(piece) > 1:
            assert changed.text.count(piece) == text.count(piece), piece
    assert re.findall(r"\d+", changed.text) == re.findall(r"\d+", text)
    assert [(b.kind, b.level) for b in parse_blocks(changed.text)] == [
        (b.kind, b.level) for b in parse_blocks(text)
    ]
    assert changed.words <= max(2, 0.5 * len(free_words(text)))
    assert len(changed.text.split("\n")) == len(text.split("\n"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.integers(0, 2**32))
def test_any_text_is_survived(text: str, seed: int) -> None:
    changed = augment_text(text, Rates(), random.Random(seed))
    assert changed is None or held_spans(changed.text) == held_spans(text)
    for found in free_words(text):
        assert text[found.start : found.end] == found.text and found.text.strip()


def words_of(text: str) -> Counter[str]:
    return Counter(w.text.casefold() for w in free_words(text))


def test_each_operation_does_what_its_name_says() -> None:
    text = " ".join(ENGLISH) + ", said somebody else."
    for seed in range(20):
        chooser = random.Random(seed)
        swapped = augment_text(text, Rates(0.2, 0, 0), chooser)
        assert swapped and swapped.swapped == 2 and swapped.deleted == swapped.inserted == 0
        assert words_of(swapped.text) == words_of(text)
        moved = [a != b for a, b in zip(swapped.text.split(), text.split(), strict=True)]
        assert sum(moved) == 4
        deleted = augment_text(text, Rates(0, 0.2, 0), chooser)
        assert deleted and deleted.deleted == 3
        gone = words_of(text) - words_of(deleted.text)
        assert gone.total() == 3 and not words_of(deleted.text) - words_of(text)
        assert deleted.text.startswith("the ") and "  " not in deleted.text
        inserted = augment_text(text, Rates(0, 0, 0.2), chooser)
        assert inserted and inserted.inserted == 3
        more = words_of(inserted.text) - words_of(text)
        assert more.total() == 3 and set(more) <= set(words_of(text))


def test_chinese_is_changed_by_words() -> None:
    text = "请问如何使用数据库编写一个高效的爬虫程序？"
    cut = [w.text for w in free_words(text)]
    assert "如何" in cut and "数据库" in cut and "爬虫" in cut
    for seed in range(20):
        swapped = augment_text(text, Rates(0.1, 0, 0), random.Random(seed))
        assert swapped and sorted(swapped.text) == sorted(text) and swapped.text.endswith("？")
        deleted = augment_text(text, Rates(0, 0.1, 0), random.Random(seed))
        assert deleted and len(deleted.text) < len(text)
        assert any(text.replace(w, "", 1) == deleted.text for w in cut)


@pytest.mark.parametrize("text", ["", "Hello there", "`code` 3 + 4", "# Only a heading here", "好"])
def test_a_text_with_too_few_words_has_no_copy(text: str) -> None:
    assert augment_text(text, Rates(), random.Random(1)) is None


def rows() -> list[Conversation]:
    out = []
    for i in range(40):
        messages = [
            Message("system", "You answer questions about the handbook in short sentences."),
            Message("user", f"How does the session in chapter {i} hold a transaction open?"),
            Message("assistant", "It holds it until the work is committed or rolled back."),
            Message("user", CHINESE[i % 4] + "吗？"),
            Message("assistant", "是的，它管理着一个连接池。"),
        ]
        out.append(Conversation(f"id-{i}", messages, f"file:chat-{i}", "test", meta={"n": i}))
    return out


def test_of_conversations_the_users_words_change() -> None:
    row = rows()[0]
    made = augment_row(row, Rates(), copies=3, seed=1)
    assert len(made) == 3 == len({copy.id for copy, _ in made})
    said = {tuple(m.content for m in copy.messages) for copy, _ in made}  # type: ignore[union-attr]
    assert len(said) == 3
    for copy, changed in made:
        assert isinstance(copy, Conversation)
        assert copy.parents == [row.id] and copy.id != row.id and copy.source == row.source
        counts = copy.meta["augmented"]
        assert 2 * counts["swapped"] + counts["deleted"] + counts["inserted"] == changed.words > 0
        for new, old in zip(copy.messages, row.messages, strict=True):
            assert new.role == old.role
            if old.role != "user":
                assert new == old
    assert row == rows()[0]
    other = augment_row(row, Rates(), copies=1, seed=1, roles=("assistant",))[0][0]
    assert other.messages[1] == row.messages[1] and other.messages != row.messages  # type: ignore[union-attr]


def test_answers_that_people_compared_are_never_touched() -> None:
    asked = [Message("user", " ".join(ENGLISH)), Message("assistant", "Say more about it then.")]
    row = Preference("p", asked, "chosen words are these", "the others", "human", "u", "s")
    for copy, _ in augment_row(row, Rates(), copies=4, seed=3):
        assert isinstance(copy, Preference)
        assert (copy.chosen, copy.rejected, copy.judge) == (row.chosen, row.rejected, row.judge)
        assert copy.prompt[0] != row.prompt[0] and copy.prompt[1] == row.prompt[1]


def save(workspace: Workspace, name: str, rows: list[Any]) -> Dataset:
    path = workspace.datasets / "test" / name
    with write_dataset(path, type(rows[0]), stage=name, fingerprint=name, settings={}) as out:
        for row in rows:
            out.write(row)
    return Dataset.open(path)


def parts(dataset: Dataset) -> list[bytes]:
    return [(Path(dataset.path) / part["file"]).read_bytes() for part in dataset.info.parts]


def test_the_stage_writes_rows_copies_and_lines(workspace: Workspace, run: Any) -> None:
    tiny = Conversation("tiny", [Message("user", "Hi"), Message("assistant", "Hi.")], "t", "test")
    save(workspace, "chats", [*rows(), tiny])
    made = run("augment", "more", input="chats", copies=2, share=0.5, swap=0.2)
    found: list[Row] = list(made.rows)
    originals = [row for row in found if not row.parents]
    copies = [row for row in found if row.parents]
    assert [row.id for row in originals] == [*(row.id for row in rows()), "tiny"]
    chosen = {row.parents[0] for row in copies}
    tried = len(chosen) + made.info.counts["unchangeable"]
    assert tried == round(0.5 * 41) and len(copies) == 2 * len(chosen)
    assert made.info.counts | {"unchangeable": 0} == {
        "in": 41,
        "kept": 41,
        "copies": len(copies),
        "unchangeable": 0,
    }
    for row in originals:
        (line,) = made.ledger.for_row(row.id)
        assert (line.action, line.rule) == ("keep", "augment")
        assert line.value == (2 if row.id in chosen else 0)
    for row in copies:
        (line,) = made.ledger.for_row(row.id)
        assert (line.action, line.rule, line.other_id) == ("edit", "augmented", row.parents[0])
    assert parts(run("augment", "again", input="chats", copies=2, share=0.5, swap=0.2)) == parts(
        made
    )
    other = run("augment", "other", input="chats", copies=2, share=0.5, swap=0.2, seed=99)
    assert parts(other) != parts(made)


def test_the_order_of_rows_does_not_matter(workspace: Workspace, run: Any) -> None:
    save(workspace, "chats", rows())
    save(workspace, "turned", rows()[::-1])
    one = run("augment", "one", input="chats", share=0.3)
    two = run("augment", "two", input="turned", share=0.3)
    assert sorted(row.id for row in one.rows) == sorted(row.id for row in two.rows)


def test_copies_can_replace_their_rows(workspace: Workspace, run: Any) -> None:
    save(workspace, "chats", rows())
    made = run("augment", "more", input="chats", share=0.25, keep_originals=False)
    assert len(made) == 40 and sum(bool(row.parents) for row in made.rows) == 10
    dropped = [line for line in made.ledger if line.action == "drop"]
    assert len(dropped) == 10 and all("in its place" in str(line.detail) for line in dropped)


def test_why_and_lineage_lead_from_a_copy_to_its_page_and_back(
    workspace: Workspace, collected: Any, run: Any
) -> None:
    text = "A guide of ours.\n\n" + "The session holds a transaction until it is committed. " * 3
    collected("pages", [("guide.md", text)])
    made = run("augment", "more", input="pages")
    page, copy = made.rows
    assert isinstance(copy, Document) and copy.parents == [page.id]
    told = "\n".join(why(made, copy.id, workspace).lines)
    assert "made from https://docs.test/guide.md" in told and "swapped" in told
    told = "\n".join(why(made, page.id, workspace).lines)
    assert "kept, with 1 changed copy made of it" in told and "Made from it:" in told
    # Who objects to the page finds the copy too.
    assert {(s.row_id, s.depth) for s in descendants(workspace, page.id)} == {
        (page.id, 0),
        (copy.id, 1),
    }
    assert [s.row_id for s in ancestors(made, copy.id)][-1] == page.id


def test_settings_that_change_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing would be changed"):
        AugmentSettings(input="x", swap=0, delete=0, insert=0)
    with pytest.raises(ValidationError):
        AugmentSettings(input="x", copies=0)
