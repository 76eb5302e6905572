"""Test items in the training data: what is found of them, and what is said where none can know."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tasks import make_task, write_task

from chatwright.evaluate import evaluate_models
from chatwright.evaluate.contamination import item_runs, notes, run_hashes, search, training_data
from chatwright.evaluate.tasks import Task
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.progress import Silent
from chatwright.records import (
    Conversation,
    Document,
    Message,
    Preference,
    write_dataset,
)
from chatwright.tokenizer import Tokenizer
from chatwright.workspace import Workspace

# (question, right, wrong); the training rows below hold the first two of each language.
ITEMS = [
    (
        "Which of the two keepers lights the lamp of the northern tower on a winter evening?",
        "the older keeper",
        "the younger keeper",
    ),
    (
        "Why do the people of the valley open both gates of the old lock in early spring?",
        "so that the ice can leave",
        "so that boats can turn",
    ),
    (
        "What does the miller do with the stone when the stream runs dry at the end of summer?",
        "he lifts it and cuts new grooves",
        "he sells it to the next village",
    ),
    ("北边灯塔的灯在冬天的傍晚由两位看守中的哪一位点亮？", "年长的看守", "年轻的看守"),
    ("山谷里的人们为什么在早春打开旧船闸的两道闸门？", "让冰流走", "让船掉头"),
    ("夏末溪水干涸的时候，磨坊主人怎样处理那块磨石？", "抬起来重新凿槽", "卖给邻村"),
]
FOUND = {"mine/0", "mine/1", "mine/3", "mine/4"}
TRAINED = [
    # Word for word, inside other text.
    f"A note from the guide book. {ITEMS[0][0]} Answer: {ITEMS[0][1]}. More on the next page.",
    f"旅行手册里的一段话。{ITEMS[3][0]}答案：{ITEMS[3][1]}。下一页还有更多内容。",
    # Other case and punctuation; full-width marks and spaces.
    "WHY — do the people of the Valley, open BOTH gates (of the old lock) in early spring... "
    "so that the ice can leave!",
    "山谷里的人们, 为什么 在早春 打开 旧船闸的 两道闸门?! 让冰流走",
    # The same said differently.
    "When summer ends and there is no water, the stone is lifted by the miller, who then cuts new "
    "grooves into it before the rain comes.",
    "到了夏天快要结束、溪里没有水时，磨坊的主人会把石头抬起来，重新凿出沟槽。",
    "Nothing to do with any of it: a page about boats, ropes, sails and the price of tar. " * 3,
]
ROWS = [{"q": q, "options": [right, wrong], "right": 0} for q, right, wrong in ITEMS]
SPEC: dict[str, Any] = {
    "kind": "choice",
    "prompt": "Question: {{ q }}\nAnswer:",
    "fields": {"choices": "options", "gold": "right"},
    "metrics": ["acc"],
}


def dataset(path: Path, texts: Sequence[str], kind: str = "documents") -> Path:
    row_type: Any = {
        "documents": Document,
        "conversations": Conversation,
        "preferences": Preference,
    }[kind]
    with write_dataset(path, row_type, stage=path.name, fingerprint=path.name, settings={}) as out:
        for n, text in enumerate(texts):
            name, uri = f"{path.name}-{n}", f"u{n}"
            if kind == "documents":
                out.write(Document(name, text, uri, "test"))
            elif kind == "conversations":
                out.write(
                    Conversation(name, [Message("user", text), Message("assistant", "…")], uri, "s")
                )
            else:
                prompt = [Message("user", "Tell me.")]
                out.write(Preference(name, prompt, text, "no", "judge", uri, "test"))
    return path


def checkpoint(
    path: Path, *, data: Any, parents: Sequence[Path] = (), model: Any = None, **settings: Any
) -> Path:
    """A tiny model whose lineage says that it was trained on `data`."""
    tokenizer = Tokenizer.train(TRAINED, 400)
    config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=256)
    lineage = {
        "fingerprint": f"{path.name}-fp",
        "stage": path.name,
        "settings": {"data": data, "model": model or {"depth": 1}, **settings},
        "parents": [
            {
                "name": parent.name,
                "fingerprint": parent.name,
                "path": os.path.relpath(parent.absolute(), path.absolute()),
            }
            for parent in parents
        ],
    }
    return save_model(Transformer.random(config, seed=0), tokenizer, path, lineage=lineage)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return make_task(tmp_path, ROWS, **SPEC)


def about(model: Path, task: Task, workspace: Workspace | None = None) -> dict[str, Any]:
    found = search(model, [task], Silent(), workspace)
    return notes(found, [task])["mine"]


@pytest.mark.parametrize("kind", ["documents", "conversations", "preferences"])
def test_items_are_found_word_for_word_and_retouched_but_not_paraphrased(
    place: Workspace, task: Task, kind: str
) -> None:
    trained = dataset(place.datasets / "c" / "train", TRAINED, kind)
    model = checkpoint(place.models / "c" / "sft", data="train", parents=[trained])
    found = about(model, task)
    assert set(found["contamination"]["items"]) == FOUND
    assert found["contamination"]["contaminated"] == 4
    assert found["contamination"]["share"] == pytest.approx(4 / 6)
    assert found["contamination"]["too_short"] == 0
    assert found["text"] == "4 of 6 items found in train (7 training rows)"


def test_the_score_without_them_stands_beside(place: Workspace, tmp_path: Path) -> None:
    trained = dataset(place.datasets / "c" / "train", TRAINED)
    model = checkpoint(place.models / "c" / "sft", data="train", parents=[trained])
    path = write_task(tmp_path, ROWS, **SPEC)
    found = evaluate_models({"sft": "c/sft"}, tasks=[str(path)], workspace=place)
    note = found.tasks[0].notes["sft"]["contamination"]
    clean = [
        line["answers"]["sft"]["scores"]["acc"] for line in found.answers if line["id"] not in FOUND
    ]
    assert len(clean) == 2
    assert note["clean"] == {"mine/acc": sum(clean) / 2}
    assert "sft, all tasks: 4 of 6 items found in train (7 training rows)" in found.table()
    # Nothing found: nothing to take away.
    other = dataset(place.datasets / "c" / "other", TRAINED[4:])
    checkpoint(place.models / "c" / "clean", data="other", parents=[other])
    found = evaluate_models({"m": "c/clean"}, tasks=[str(path)], workspace=place)
    assert found.tasks[0].notes["m"]["contamination"]["items"] == []
    assert "clean" not in found.tasks[0].notes["m"]["contamination"]
    assert model.exists()


def test_the_templates_words_neither_hide_nor_prove(place: Workspace, tmp_path: Path) -> None:
    """A short item in another prompt is found; a prompt's fixed words alone are not an item."""
    fixed = "Read the following question with care and answer it with one of the choices given:"
    rows = [
        {
            "q": "Where does the ferry rest in winter?",
            "options": ["in the harbour", "at sea"],
            "y": 0,
        },
        {"q": "Who counts the sheep of the northern hill?", "options": ["Ann", "Bo"], "y": 1},
        {"q": "What grows beside the southern canal in May?", "options": ["reeds", "corn"], "y": 0},
    ]
    task = make_task(
        tmp_path,
        rows,
        kind="choice",
        prompt=fixed + " {{ q }}\nAnswer:",
        fields={"choices": "options", "gold": "y"},
    )
    trained = dataset(
        place.datasets / "c" / "train",
        [
            f"{fixed} Something else altogether?",
            "Q: Where does the ferry rest in winter? In the harbour.",
            "Who counts the sheep of the northern hill? - Nobody knows.",
        ],
    )
    model = checkpoint(place.models / "c" / "sft", data="train", parents=[trained])
    # The second has 8 words without its answer; the third is nowhere.
    assert set(about(model, task)["contamination"]["items"]) == {"mine/0", "mine/1"}


def test_items_of_a_few_words_are_counted_and_not_sought(place: Workspace, tmp_path: Path) -> None:
    rows = [
        {"q": "Two and two?", "options": ["four", "five"], "right": 0},
        {"q": "天是什么颜色？", "options": ["蓝", "红"], "right": 0},  # 7 characters
        ROWS[0],
    ]
    task = make_task(tmp_path, rows, **SPEC | {"prompt": "{{ q }}"})
    trained = dataset(place.datasets / "c" / "train", ["Two and two? four", "天是什么颜色？蓝"])
    model = checkpoint(place.models / "c" / "sft", data="train", parents=[trained])
    found = about(model, task)["contamination"]
    assert found["items"] == [] and found["too_short"] == 2
    assert [sorted(item_runs(item)) for item in task.items] == [[], [], [13]]


def test_every_kind_of_task_is_sought(place: Workspace, tmp_path: Path) -> None:
    question, right, wrong = ITEMS[0]
    begin, end = question[:40], question[40:] + " " + right
    tasks = [
        make_task(
            tmp_path,
            [{"prompt": question, "references": [right]}],
            name="generation",
            kind="generation",
        ),
        make_task(tmp_path, [{"text": TRAINED[0]}], name="text", kind="text"),
        make_task(
            tmp_path,
            [{"c": [begin, begin + " not"], "end": end, "y": 0}],
            name="per-choice",
            kind="choice",
            prompt="{{ choice }}",
            answer="{{ end }}",
            fields={"choices": "c", "gold": "y"},
        ),
        make_task(
            tmp_path,
            [{"context": question.rpartition(" ")[0], "continuation": "evening?"}],
            name="cloze",
            kind="cloze",
            prompt="{{ context }}",
        ),
        make_task(
            tmp_path,
            [{"chosen": f"{question} {right}", "rejected": wrong}],
            name="preference",
            kind="preference",
            prompt="",
        ),
    ]
    trained = dataset(place.datasets / "c" / "train", TRAINED)
    model = checkpoint(place.models / "c" / "sft", data="train", parents=[trained])
    found = search(model, tasks, Silent())
    assert found.found == {task.name: {f"{task.name}/0"} for task in tasks}


def test_a_base_from_elsewhere_is_said(place: Workspace, task: Task, tmp_path: Path) -> None:
    trained = dataset(place.datasets / "c" / "train", TRAINED[4:])
    base = "smollm2-135m-instruct"
    first = checkpoint(place.models / "c" / "one", data="train", parents=[trained], model=base)
    found = about(first, task)
    said = "what smollm2-135m-instruct was trained on is not known here"
    assert found["text"] == f"0 of 6 items found in train (3 training rows); {said}"
    # However many trainings lie between.
    second = checkpoint(
        place.models / "c" / "two", data="train", parents=[trained, first], model="one"
    )
    assert about(second, task)["contamination"]["reason"] == said
    bare = tmp_path / "bare"
    shutil.copytree(first, bare)
    (bare / "lineage.json").unlink()
    nothing = about(bare, task)
    assert nothing["contamination"] == {
        "checked": False,
        "reason": "its training data is not known here (it was not trained with Chatwright)",
    }
    assert nothing["text"].startswith("contamination not checked: its training data")


def test_rows_of_an_earlier_training_count_and_held_out_rows_do_not(
    place: Workspace, task: Task
) -> None:
    early = dataset(place.datasets / "c" / "early", TRAINED[:2])
    late = dataset(place.datasets / "c" / "late", TRAINED[2:3])
    held = dataset(place.datasets / "c" / "held", [row["q"] for row in ROWS])
    base = checkpoint(place.models / "c" / "base", data="early", parents=[early])
    model = checkpoint(
        place.models / "c" / "sft",
        data=["late", {"data": "late", "weight": 2}],
        parents=[late, base, held],
        model="base",
        validation="held",
    )
    found = about(model, task)["contamination"]
    assert found["items"] == ["mine/0", "mine/1", "mine/3"]
    assert sorted(found["datasets"]) == ["early", "late"] and found["reason"] == ""


def test_a_gap_in_the_lineage_is_said(place: Workspace, task: Task) -> None:
    gone = dataset(place.datasets / "c" / "gone", TRAINED[:1])
    there = dataset(place.datasets / "c" / "there", TRAINED[1:2])
    model = checkpoint(place.models / "c" / "sft", data=["gone", "there"], parents=[gone, there])
    shutil.rmtree(gone)
    found = about(model, task)
    assert found["contamination"]["items"] == ["mine/3"]
    assert found["text"].endswith("(1 training rows); gone, which it was trained on, is gone")
    shutil.rmtree(there)
    found = about(model, task)
    assert not found["contamination"]["checked"]
    assert found["text"] == (
        "contamination not checked: gone, which it was trained on, is gone; "
        "there, which it was trained on, is gone"
    )


def test_results_of_other_recipes_are_found_in_the_workspace(place: Workspace, task: Task) -> None:
    dataset(place.datasets / "other" / "train", TRAINED[:1])
    checkpoint(place.models / "other" / "base", data="other/train")
    model = checkpoint(place.models / "c" / "sft", data="other/train", model="other/base")
    found = about(model, task, place)
    assert found["contamination"]["items"] == ["mine/0"]
    assert found["contamination"]["reason"] == ""
    alone = about(model, task)  # nobody says where to look
    assert not alone["contamination"]["checked"] and "other/train" in alone["text"]


def test_a_lineage_without_data_is_no_clean_bill(place: Workspace, task: Task) -> None:
    model = checkpoint(place.models / "c" / "odd", data=None)
    assert about(model, task)["text"] == (
        "contamination not checked: its lineage names no training data"
    )
    text = json.dumps({"fingerprint": "x", "settings": None, "parents": []})
    (model / "lineage.json").write_text(text)
    assert training_data(model)[1] == "its lineage names no training data"


words = st.lists(st.sampled_from(["a", "b", "ab", "ba", "会", "话", "session", ""]), max_size=12)


@given(words, words, st.integers(1, 6))
def test_hashes_are_equal_where_the_runs_are_and_nowhere_else(
    first: list[str], second: list[str], size: int
) -> None:
    def runs(row: list[str]) -> list[tuple[str, ...]]:
        return [tuple(row[i : i + size]) for i in range(len(row) - size + 1)]

    one, two = run_hashes(first, size), run_hashes(second, size)
    assert one.dtype == np.uint64 and len(one) == len(runs(first))
    for run_one, hash_one in zip(runs(first), one.tolist(), strict=True):
        for run_two, hash_two in zip(runs(second), two.tolist(), strict=True):
            assert (run_one == run_two) == (hash_one == hash_two)
