"""Decontamination against a plain implementation with sets, in English and Chinese."""

from __future__ import annotations

import gzip
import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_stages import chat, content, final_lines, page, run_stage, save
from pydantic import ValidationError

from chatwright.curate.decontaminate.grams import Index, Item, Lengths, tokens
from chatwright.curate.decontaminate.items import Benchmark, benchmark_digest
from chatwright.curate.decontaminate.stage import (
    DECONTAMINATE,
    DecontaminateSettings,
    cut,
)
from chatwright.errors import DataError
from chatwright.records import Dataset
from chatwright.workspace import Workspace

ENGLISH = [
    "the", "of", "river", "stone", "walks", "under", "a", "bright", "old", "house", "where",
    "nobody", "sings", "songs", "at", "night",
]  # fmt: skip
CHINESE = list(
    "\u5c71\u6c34\u4e4b\u95f4\u6709\u4eba\u5bb6\u65e5\u51fa\u800c\u4f5c\u65e5\u5165\u606f\u5929\u5730\u7384\u9ec4\u5b87\u5b99\u6d2a\u8352"
)


# -- the oracle: sets of tuples, written as plainly as can be -----------------------------------


def plain_tokens(text: str) -> list[str]:
    out: list[str] = []
    word = ""
    for c in unicodedata.normalize("NFKC", text).lower() + " ":
        single = "\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u4dbf" or "\u4e00" <= c <= "\u9fff"
        if c.isalnum() and not single:
            word += c
            continue
        if word:
            out.append(word)
            word = ""
        if single:
            out.append(c)
    return out


def plain_runs(texts: tuple[str, ...]) -> set[tuple[str, ...]]:
    def size_of(words: list[str]) -> tuple[int, int]:
        han = sum(len(w) == 1 and "\u3040" <= w <= "\u9fff" for w in words)
        return (21, 13) if 2 * han >= max(1, len(words)) else (13, 8)

    pieces = [plain_tokens(text) for text in texts]
    whole = [word for piece in pieces for word in piece]
    size, _ = size_of(whole)
    found = {tuple(whole[i : i + size]) for i in range(len(whole) - size + 1)}
    for piece in [whole, *pieces]:
        size, least = size_of(piece)
        if least <= len(piece) < size:
            found.add(tuple(piece))
    return found


def plain_shares(items: list[Item], text: str) -> dict[int, float]:
    words = plain_tokens(text)
    here = {tuple(words[i : i + n]) for n in range(8, 22) for i in range(len(words) - n + 1)}
    out = {}
    for number, item in enumerate(items):
        runs = plain_runs(item.texts)
        if runs & here:
            out[number] = len(runs & here) / len(runs)
    return out


def some_text(chooser: random.Random, length: int) -> str:
    if chooser.random() < 0.5:
        words = [chooser.choice([*ENGLISH, "River", "stone,", "house."]) for _ in range(length)]
        return " ".join(words)
    return "".join(chooser.choice([*CHINESE, "\uff0c", "\u3002"]) for _ in range(length))


def generated(seed: int) -> tuple[list[Item], list[str]]:
    """Items, and texts that hold whole items, parts, near misses and nothing of them."""
    chooser = random.Random(seed)
    items = []
    for number in range(40):
        texts = tuple(some_text(chooser, chooser.choice([3, 7, 8, 12, 13, 14, 30, 60]))
                      for _ in range(chooser.choice([1, 1, 2])))  # fmt: skip
        items.append(Item("bench", f"bench.jsonl#row={number}", texts))
    rows = []
    for _ in range(120):
        parts = [some_text(chooser, chooser.randrange(5, 60))]
        for _ in range(chooser.randrange(3)):
            stolen = chooser.choice(chooser.choice(items).texts)
            words = stolen.split(" ") if " " in stolen else list(stolen)
            start = chooser.randrange(max(1, len(words) // 4))
            piece = words[start : start + chooser.randrange(9, 50)]
            if chooser.random() < 0.3 and len(piece) > 6:
                piece[chooser.randrange(len(piece))] = "changed"
            joined = (" " if " " in stolen else "").join(piece)
            parts.append(joined.upper() if chooser.random() < 0.3 else joined)
            parts.append(some_text(chooser, 10))
        rows.append(chooser.choice([" ", "\n", " \u2014 "]).join(parts))
    return items, rows


@pytest.mark.parametrize("seed", range(4))
def test_finds_what_plain_sets_find(seed: int) -> None:
    items, rows = generated(seed)
    index = Index.of(items)
    assert index.short == [n for n, item in enumerate(items) if not plain_runs(item.texts)]
    assert index.totals.tolist() == [len(plain_runs(item.texts)) for item in items]
    hits = 0
    for row in rows:
        found = {hit.item: hit.share for hit in index.find(row)}
        assert found == pytest.approx(plain_shares(items, row))
        hits += len(found)
    assert hits >= 15


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5), st.text(max_size=200))
def test_any_text_is_survived_and_items_find_themselves(texts: list[str], row: str) -> None:
    items = [Item("b", str(n), (text,)) for n, text in enumerate(texts)]
    index = Index.of(items, Lengths(3, 4, 2, 2))
    index.find(row)
    for number, text in enumerate(texts):
        hits = {hit.item: hit.share for hit in index.find(text)}
        assert hits.get(number) == (None if number in index.short else 1.0)
    _, spans = index.spans(row)
    assert spans == sorted(spans)
    assert all(0 <= a < b <= len(row) for a, b in spans)


def test_equal_hashes_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every run of a text gets the hash of a run of the item: only the words can tell.
    item = Item("b", "1", (" ".join(ENGLISH[:13]),))
    index = Index.of([item])
    only = index._tables[0].hashes[0]
    monkeypatch.setattr(
        Index, "_hashes", lambda self, numbers, size: only.repeat(len(numbers) - size + 1)
    )
    assert not index.find(" ".join(ENGLISH[::-1]))
    assert index.find("x y " + " ".join(ENGLISH[:13]))[0].share == 1


def test_case_width_and_punctuation_do_not_count() -> None:
    assert tokens("Don't STOP, \uff21\uff22\uff11!") == ["don", "t", "stop", "ab1"]
    item = Item("b", "1", ("One two three four five six seven eight nine ten, eleven twelve 13!",))
    index = Index.of([item])
    said = "ONE two\nthree four \u201cfive\u201d six seven eight nine (ten) eleven-twelve, \uff113?"
    assert index.find(said)[0].share == 1
    assert not index.find(said.replace("six", "6"))


def test_lengths_are_as_documented() -> None:
    words = [f"w{n}" for n in range(1, 15)]
    index = Index.of([Item("b", "1", (" ".join(words),))])
    assert index.find("x " + " ".join(words[:13]) + " y")[0].found == 1
    assert not index.find(" ".join(words[:12]) + " x " + " ".join(words[12:]))
    han = "".join(chr(0x4E00 + n) for n in range(40))
    index = Index.of([Item("b", "1", (han,))])
    assert index.find("\u5929" + han[3:24] + "\u5730")[0].found == 1
    assert not index.find(han[:20] + "\u5929" + han[20:])
    # Shorter ones as a whole: 8 words, 13 characters; a question is found without its answer.
    short = Index.of([Item("b", str(n), t) for n, t in enumerate(
        [(" ".join(words[:8]),), (" ".join(words[:7]),), (han[:13],), (han[:12],),
         (" ".join(words[:9]), "yes")])])  # fmt: skip
    assert short.short == [1, 3]
    assert [hit.item for hit in short.find("so " + " ".join(words[:9]) + " then")] == [0, 4]
    assert [hit.item for hit in short.find("\u5929" + han[:13])] == [2]


def test_a_long_text_is_searched_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    items, rows = generated(5)
    index = Index.of(items)
    short = [index.spans(row) for row in rows]
    monkeypatch.setattr("chatwright.curate.decontaminate.grams._LONG", 10)
    assert [index.spans(row) for row in rows] == short


def test_a_hundred_thousand_odd_characters_take_no_time() -> None:
    items, _ = generated(1)
    index = Index.of(items)
    for text in (
        "\u5c71" * 100_000,
        "a" * 100_000,
        "the " * 25_000,
        "\u0301" * 100_000,
        "_" * 100_000,
    ):
        index.find(text)
        index.spans(text)


# -- the stage ----------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


QUESTION = "Which of the seven rivers of the old kingdom freezes first when the winter comes early?"
HAN = (
    "\u8bf7\u95ee\u5728\u53e4\u4ee3\u7684\u4e03\u6761\u6cb3\u6d41\u5f53\u4e2d\uff0c\u54ea"
    "\u4e00\u6761\u5728\u51ac\u5929\u6700\u5148\u7ed3\u51b0\uff0c\u54ea\u4e00\u6761\u4ece"
    "\u4e0d\u7ed3\u51b0\uff1f"
)


def benchmarks(folder: Path) -> list[dict[str, Any]]:
    rows = [{"id": "q1", "query": QUESTION, "choices": ["the first", "the last"], "gold": 1},
            {"id": "q2", "query": "Too short?", "choices": [], "gold": 0}]  # fmt: skip
    with gzip.open(folder / "rivers.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    (folder / "zh.csv").write_text(f"number,text\n1,{HAN}\n", encoding="utf-8")
    (folder / "lines.txt").write_text(
        "\nShort line.\n" + " ".join(ENGLISH) + "\n", encoding="utf-8"
    )
    return [
        {
            "file": str(folder / "rivers.jsonl.gz"),
            "columns": ["query", "choices"],
            "id_column": "id",
        },
        {"file": str(folder / "zh.csv"), "name": "zh-rivers", "columns": ["text"]},
        {"file": str(folder / "lines.txt")},
    ]


def decontaminated(workspace: Workspace, name: str, **values: Any) -> Dataset:
    made = run_stage(workspace, DECONTAMINATE, name, **values)
    assert isinstance(made, Dataset)
    return made


def test_contaminated_rows_go_and_name_the_item(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        page("A page about rivers. Nothing of the test stands here."),
        page(f"An exam asked: {QUESTION.upper()} The last, of course."),
        page(f"\u8003\u8bd5\u9898\uff1a{HAN}"),
        page("So " + " ".join(ENGLISH) + " indeed."),
        page("Held out: " + " ".join(f"word{n}" for n in range(20))),
    ]
    save(workspace, "corpus", rows)
    held = page(" ".join(f"word{n}" for n in range(15)), "held:1")
    save(workspace, "held", [held])
    made = decontaminated(
        workspace, "clean", input="corpus", benchmarks=benchmarks(tmp_path), datasets=["held"]
    )
    assert [row.id for row in made.rows] == [rows[0].id]
    assert final_lines(made) == {rows[0].id: "keep"} | {row.id: "drop" for row in rows[1:]}
    told = {line.row_id: line for line in made.ledger}
    one = told[rows[1].id]
    assert one.rule == "test-item" and one.value and 0 < one.value <= 1
    assert one.detail and one.detail.startswith("rivers.jsonl.gz#row=1 (q1): 'Which of the seven")
    assert (told[rows[2].id].detail or "").startswith("zh-rivers")
    assert "lines.txt#line=3" in (told[rows[3].id].detail or "")
    assert told[rows[4].id].other_id == held.id and told[rows[4].id].value == 1.0
    assert made.info.counts["benchmarks"] == {
        "rivers.jsonl.gz": {"items": 2, "short": 1, "unreadable": 1, "found": 1},
        "zh-rivers": {"items": 1, "short": 0, "unreadable": 0, "found": 1},
        "lines.txt": {"items": 2, "short": 1, "unreadable": 0, "found": 1},
        "held": {"items": 1, "short": 0, "unreadable": 0, "found": 1},
    }
    again = decontaminated(
        workspace, "again", input="corpus", benchmarks=benchmarks(tmp_path), datasets=["held"]
    )
    assert content(again)[0] == content(made)[0]


def test_a_share_can_be_asked(workspace: Workspace, tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(30)]
    (tmp_path / "b.txt").write_text(" ".join(words), encoding="utf-8")
    half = page("Begin " + " ".join(words[:20]))  # 8 of 18 runs
    save(workspace, "corpus", [half, page(" ".join(words))])
    asked = {"input": "corpus", "benchmarks": [{"file": str(tmp_path / "b.txt")}]}
    assert len(decontaminated(workspace, "strict", **asked)) == 0
    made = decontaminated(workspace, "mild", share=0.5, **asked)
    assert [row.id for row in made.rows] == [half.id]
    (line,) = made.ledger.for_row(half.id)
    assert line.value == pytest.approx(8 / 18) and "8 of its 18 runs" in (line.detail or "")


def test_passages_are_cut(workspace: Workspace, tmp_path: Path) -> None:
    around = "Rivers are long and this page has much to say about them, line by line. " * 4
    row = page(f"{around}\nBefore it. {QUESTION} After it.\n{around}", meta={"title": "Rivers"})
    whole = page(f"Only this: {QUESTION}")
    save(workspace, "corpus", [row, whole])
    made = decontaminated(
        workspace, "cut", input="corpus", benchmarks=benchmarks(tmp_path), action="cut", margin=5
    )
    (kept,) = made.rows
    assert kept.id == row.id and kept.meta["title"] == "Rivers"
    assert kept.text == f"{around}\nBefore\ner it.\n{around}"
    assert kept.text.count(around.strip()) == 2 and "Befo" in kept.text
    assert kept.meta["decontaminated"]["passages"] == 1
    edit, keep = made.ledger.for_row(row.id)
    assert (edit.action, keep.action) == ("edit", "keep") and "q1" in (edit.detail or "")
    (line,) = made.ledger.for_row(whole.id)
    assert line.action == "drop" and "would be left" in (line.detail or "")
    assert made.info.counts["cut"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_nothing_of_an_item_is_left_after_cutting(seed: int) -> None:
    items, rows = generated(seed + 50)
    index = Index.of(items)
    asked = DecontaminateSettings(
        input="x", datasets=["y"], action="cut", margin=seed * 3, max_cuts=1000, min_characters=1
    )
    cuts = 0
    for row in rows:
        made = cut(index, row, asked)
        cuts += made.passages > 0
        if made.why is None:
            assert not plain_shares(items, made.text)
            left = iter(row)
            assert all(c in left for c in made.text if not c.isspace())  # nothing is put in
        if not plain_shares(items, row):
            assert made.text == row
    assert cuts > 10


def test_too_many_cuts_drop_the_row(workspace: Workspace, tmp_path: Path) -> None:
    filler = "Some other words about quite another matter stand between them here. " * 5
    row = page("\n".join([filler, QUESTION] * 4 + [filler]))
    save(workspace, "corpus", [row])
    asked = {"input": "corpus", "benchmarks": benchmarks(tmp_path), "action": "cut", "margin": 0}
    assert len(decontaminated(workspace, "four", **asked)) == 1
    made = decontaminated(workspace, "three", max_cuts=3, **asked)
    (line,) = made.ledger
    assert line.action == "drop" and "more than 3 passages" in (line.detail or "")


def test_conversations_are_searched_across_their_messages(
    workspace: Workspace, tmp_path: Path
) -> None:
    words = QUESTION.split()
    rows = [chat("Hi", "Hello."), chat(" ".join(words[:8]), " ".join(words[8:]))]
    save(workspace, "chats", rows)
    asked = {"input": "chats", "benchmarks": benchmarks(tmp_path)}
    made = decontaminated(workspace, "clean", **asked)
    assert [row.id for row in made.rows] == [rows[0].id]
    with pytest.raises(DataError, match="only documents can be cut"):
        decontaminated(workspace, "cut", action="cut", **asked)


def test_what_cannot_be_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="nothing to look for"):
        DecontaminateSettings(input="x")
    save(workspace, "corpus", [page("text")])
    benchmarks(tmp_path)
    wrong = {"file": str(tmp_path / "zh.csv"), "columns": ["question"]}
    with pytest.raises(DataError, match="no item with text in question") as caught:
        decontaminated(workspace, "x", input="corpus", benchmarks=[wrong])
    assert "number, text" in (caught.value.hint or "")


def test_a_changed_benchmark_is_a_changed_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_text("one", encoding="utf-8")
    first = benchmark_digest(Benchmark(file=str(file)))
    assert first and first != benchmark_digest(Benchmark(file=str(tmp_path)))
    file.write_text("two", encoding="utf-8")
    assert benchmark_digest(Benchmark(file=str(file))) != first
    assert re.fullmatch(r"[0-9a-f]{32}", first)


def test_real_items_are_found_in_real_text(shared_data: Path) -> None:
    with gzip.open(shared_data / "eval" / "boolq.jsonl.gz", "rt", encoding="utf-8") as file:
        asked = [json.loads(line)["query"] for _, line in zip(range(300), file, strict=False)]
    index = Index.of(Item("boolq", str(n), (text,)) for n, text in enumerate(asked))
    with gzip.open(shared_data / "pretrain" / "mixed_zh.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for _, line in zip(range(100), file, strict=False)]
    assert not any(index.find(text) for text in texts)
    for number in (0, 150, 299):
        inside = texts[0] + asked[number].split("\n")[0].upper() + texts[1]
        assert number in {hit.item for hit in index.find(inside)}
