from __future__ import annotations

import re
from pathlib import Path

import pytest

from chatwright.curate.chunks import chunk_documents
from chatwright.curate.drafts import drafts, good_answer, leading_sentences
from chatwright.curate.questions import QUESTIONS, QuestionsSettings, make_questions
from chatwright.errors import DataError
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    Parent,
    content_id,
    write_dataset,
)
from chatwright.records.grounding import REFUSAL, REFUSAL_ZH, cited_numbers
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

THINGS = ["Engine", "Session", "Table", "Column", "Mapper", "Pool", "Dialect", "Inspector"]
VERBS = ["open", "close", "refresh", "describe"]

ENGLISH = "\n\n".join(
    [
        "# {0} API",
        "Everything about the {0} is on this page, and it is long enough to be read.",
        "## Working with the {0} safely",
        "A {0} is used safely when one thread owns it for as long as it lives.",
        "## API",
        "### `class lib.{0}(name: str)`",
        "Keeps track of the {0} state for the whole program.",
        "New in version 1.4.",
        *(
            f"#### `method lib.{{0}}.{verb}(force: bool = False) → None`\n\n"
            f"{verb.capitalize()} the {{0}} and everything that it holds on to.\n\n"
            "**Parameters:**\n\n"
            f"- **force** – whether to {verb} the {{0}} although it is in use\n\n"
            f"**Returns:**\n\nthe number of {{0}} parts that were there to {verb}."
            for verb in VERBS
        ),
    ]
)
CHINESE = """# {0} 手册

这一页讲的是 {0} 的全部内容。

## {0} 的线程安全问题

一个 {0} 只能由一个线程拥有，直到它被关闭为止。

## 接口

### `class lib.zh.{0}`

保存整个程序里 {0} 的全部状态。

#### `method lib.zh.{0}.flush(force: bool = False) → None`

把 {0} 里未保存的变更写入数据库。

**参数:**

- **force** – 即使 {0} 正在使用也强制写入
"""


def pages() -> list[Document]:
    out = []
    for language, template in (("en", ENGLISH), ("zh", CHINESE)):
        for thing in THINGS:
            text = template.format(thing if language == "en" else f"Zh{thing}")
            uri = f"https://x.org/{language}/{thing}.html"
            out.append(
                Document(
                    id=content_id("test", text), text=text, uri=uri, source="test", license="MIT",
                    language=language, meta={"title": text.splitlines()[0][2:]},
                )
            )  # fmt: skip
    return out


def settings(**changes: object) -> QuestionsSettings:
    return QuestionsSettings.model_validate({"input": "pages", "limit": 1000, **changes})


@pytest.fixture(scope="module")
def made() -> list[Conversation]:
    return list(make_questions(pages(), settings(unanswerable=0.15), seed=3))


def test_a_page_gives_every_kind() -> None:
    found = {(d.kind, d.name, d.parameter): d.answer for d in drafts(pages()[0])}
    assert found["class", "Engine", ""] == "Keeps track of the Engine state for the whole program."
    assert found["version", "Engine", ""] == "New in version 1.4."
    assert found["call", "Engine.close()", ""].startswith("Close the Engine")
    assert found["parameter", "Engine.close()", "force"].startswith("whether to close the Engine")
    assert found["returns", "Engine.close()", ""].startswith("the number of Engine parts")
    assert ("section", "Working with the Engine safely", "") in found
    assert ("section", "API", "") not in found


def test_an_answer_is_the_page_s_own_words_and_cites_the_right_passage(
    made: list[Conversation],
) -> None:
    texts = {page.id: " ".join(page.text.split()) for page in pages()}
    rows = {chunk.id: chunk for page in pages() for chunk in chunk_documents(page)}
    answerable = [c for c in made if c.meta["answerable"]]
    assert len(answerable) > 80
    for conversation in answerable:
        question, answer = conversation.meta["question"], conversation.meta["answer"]
        ids, number = conversation.meta["passage_ids"], conversation.meta["gold_number"]
        system, user, said = conversation.messages
        assert [m.role for m in (system, user, said)] == ["system", "user", "assistant"]
        assert said.content == f"{answer} [{number}]"
        assert cited_numbers(said.content, len(ids)) == [number]
        assert ids[number - 1] in conversation.meta["gold"]
        assert conversation.parents[0] in texts and answer in texts[conversation.parents[0]]
        assert set(ids) <= set(conversation.parents)
        assert user.content.endswith(question)
        # the words are in the passage of that number, and in no other that is shown
        shown = re.split(r"(?m)^\[\d\] ", user.content)[1:]
        holding = [n for n, text in enumerate(shown, 1) if answer in " ".join(text.split())]
        assert holding == [number]
        assert conversation.uri == rows[ids[number - 1]].uri
        assert answer not in question


def test_where_the_passage_is_withheld_the_answer_says_so(made: list[Conversation]) -> None:
    withheld = [c for c in made if not c.meta["answerable"]]
    assert 0.05 < len(withheld) / len(made) < 0.3
    for conversation in withheld:
        assert conversation.messages[-1].content in (REFUSAL, REFUSAL_ZH)
        assert conversation.meta["gold"] == [] and conversation.meta["gold_number"] is None
        assert cited_numbers(conversation.messages[-1].content, 9) == []


def test_questions_speak_the_page_s_language(made: list[Conversation]) -> None:
    chinese = [c for c in made if c.language == "zh"]
    assert len(chinese) >= 20
    for conversation in chinese:
        assert re.search("[\u4e00-\u9fff]", conversation.meta["question"])
        assert "编号的段落" in conversation.messages[0].content
    assert all("问题：" not in c.messages[1].content for c in made if c.language == "en")


def test_the_right_number_varies_and_no_question_comes_twice(made: list[Conversation]) -> None:
    numbers = [c.meta["gold_number"] for c in made if c.meta["answerable"]]
    assert all(numbers.count(n) > len(numbers) / 6 for n in (1, 2, 3))
    asked = [c.meta["question"].casefold() for c in made]
    assert len(asked) == len(set(asked)) and len({c.id for c in made}) == len(made)


def test_a_small_limit_still_covers_pages_and_kinds() -> None:
    few = list(make_questions(pages(), settings(limit=24, unanswerable=0), seed=1))
    assert len(few) == 24
    assert len({c.parents[0] for c in few}) >= 10 and len({c.meta["kind"] for c in few}) >= 5


def test_the_same_seed_gives_the_same_rows_in_any_order_of_kinds() -> None:
    one = [c.id for c in make_questions(pages(), settings(limit=40), seed=5)]
    assert one == [c.id for c in make_questions(pages(), settings(limit=40), seed=5)]
    assert one != [c.id for c in make_questions(pages(), settings(limit=40), seed=6)]
    assert one == [c.id for c in make_questions(pages(), settings(limit=40, seed=5), seed=6)]


def test_passages_come_from_the_input_only() -> None:
    half = pages()[::2]
    known = {chunk.id for page in half for chunk in chunk_documents(page)}
    for conversation in make_questions(half, settings()):
        assert set(conversation.meta["passage_ids"]) <= known


def test_distractors_are_what_the_search_finds(made: list[Conversation]) -> None:
    """A question about one thing's method is shown beside that method's like, not at random."""
    about = [c for c in made if c.meta["kind"] == "call" and c.language == "en"]
    near = sum("close" in c.messages[1].content for c in about if "close" in c.meta["question"])
    assert near >= 3
    titles = [t for c in about for t in re.findall(r"(?m)^\[\d\] (.*)$", c.messages[1].content)]
    assert sum("()" in t for t in titles) > len(titles) / 2


def test_an_ambiguous_name_is_made_longer_or_dropped() -> None:
    template = "# {0} types\n\n### `class lib.{0}.ENUM`\n\nThe enumeration type of {0} databases."
    two = [
        Document(id=name, text=template.format(name), uri=f"u/{name}", source="s", language="en")
        for name in ("mysql", "postgresql")
    ]
    asked = [c.meta["question"] for c in make_questions(two, settings(unanswerable=0))]
    assert asked and all("mysql.ENUM" in q or "postgresql.ENUM" in q for q in asked)
    same = [
        Document(id=str(n), text=f"# T{n}\n\n### `class A`\n\nThe thing that is number {n}.",
                 uri=f"u/{n}", source="s", language="en")
        for n in range(2)
    ]  # fmt: skip
    assert list(make_questions(same, settings())) == []


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        ("Write all pending changes to the database.", True),
        ("把未保存的变更写入数据库。", True),
        ("`class lib.Engine(name)`", False),
        ("See also the other page about it.", False),
        ("Return self.", False),
        ("An unclosed `code span is here now.", False),
        ("A list of these things,", False),
        (" ".join(["word"] * 80), False),
    ],
)
def test_quality(answer: str, good: bool) -> None:
    assert good_answer(answer) is good


def test_an_answer_stops_before_what_it_announces() -> None:
    assert leading_sentences("It opens the file. For example:") == "It opens the file."
    assert leading_sentences("As in the following:") is None
    text = "First sentence of five words. " + "Second sentence goes on " * 12 + "."
    assert leading_sentences(text) == "First sentence of five words."


def test_changelogs_give_no_questions() -> None:
    text = "# 1.4 Changelog\n\n## Fixed things in the engine\n\nThe engine was repaired again."
    page = Document(id="1", text=text, uri="u", source="s")
    assert list(drafts(page)) == []


def context(tmp_path: Path, rows: list[Document]) -> StageContext:
    workspace = Workspace(tmp_path / "w")
    source = workspace.datasets / "r" / "pages"
    with write_dataset(source, Document, stage="pages", fingerprint="f0", settings={}) as out:
        for row in rows:
            out.write(row)
    return StageContext(
        recipe="r",
        stage="questions",
        seed=7,
        output=workspace.datasets / "r" / "questions",
        scratch=tmp_path / "s",
        fingerprint="f1",
        workspace=workspace,
        inputs={"pages": source},
        parents=[Parent("pages", "f0", "../pages")],
    )


def test_the_stage_writes_a_dataset_with_a_line_per_page(tmp_path: Path) -> None:
    empty = Document(id="empty", text="Nothing here.", uri="u/empty", source="test")
    stage = context(tmp_path, [*pages(), empty])
    QUESTIONS.run(settings(limit=60), stage)
    dataset = Dataset.open(stage.output)
    assert len(dataset) == 60 and dataset.info.kind == "conversation"
    assert sum(dataset.info.counts["kinds"].values()) == 60
    assert len(dataset.ledger) == len(pages()) + 1
    (line,) = dataset.ledger.for_row("empty")
    assert (line.action, line.rule, line.value) == ("drop", "no_question", 0.0)
    before = dataset.info.content_digest
    QUESTIONS.run(settings(limit=60), stage)
    assert Dataset.open(stage.output).info.content_digest == before


def test_pages_without_structure_are_an_error(tmp_path: Path) -> None:
    rows = [Document(id="1", text="Just a line.", uri="u", source="s")]
    with pytest.raises(DataError, match="no question could be derived"):
        QUESTIONS.run(settings(), context(tmp_path, rows))
