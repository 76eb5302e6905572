"""The built-in tasks read from the hub: rows as the data sets' own columns have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatwright.evaluate.tasks import Task, load_task, read_task_file, task_files
from chatwright.evaluate.tasks.sources import DATA_VARIABLE

from .conftest import Server
from .test_hub import FakeHub, lines, parquet


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(server, monkeypatch)


def load(name: str, **changes: Any) -> Task:
    path = task_files()[name]
    return load_task(path, read_task_file(path).model_copy(update=changes))


ARC = {
    "id": "1",
    "question": "Which is a planet?",
    "choices": {"text": ["the Sun", "Mars"], "label": ["A", "B"]},
    "answerKey": "B",
}
# Task, repository, file, row, (context, continuation) pairs, index of the right one.
ROWS: list[tuple[str, str, str, dict[str, Any], list[tuple[str, str]], int | None]] = [
    (
        "arc_easy", "allenai/ai2_arc", "ARC-Easy/test-00000-of-00001.parquet", ARC,
        [("Question: Which is a planet?\nAnswer:", " the Sun"),
         ("Question: Which is a planet?\nAnswer:", " Mars")], 1,
    ),
    (
        "hellaswag", "Rowan/hellaswag", "data/validation-00000-of-00001.parquet",
        {"activity_label": "Baking", "ctx_a": "[header] How to bake [title] Mix it.",
         "ctx_b": "she", "endings": ["stirs [step] the pot.", "flies."], "label": "0"},
        [("Baking: How to bake. Mix it. She", " stirs the pot."),
         ("Baking: How to bake. Mix it. She", " flies.")], 0,
    ),
    (
        "piqa", "ybisk/piqa", "plain_text/validation-00000.parquet",
        {"goal": "dry a shoe", "sol1": "Use paper.", "sol2": "Use water.", "label": 0},
        [("Question: dry a shoe\nAnswer:", " Use paper."),
         ("Question: dry a shoe\nAnswer:", " Use water.")], 0,
    ),
    (
        "openbookqa", "allenai/openbookqa", "main/test-00000-of-00001.parquet",
        {"question_stem": "Ice is", "choices": {"text": ["cold", "hot"], "label": ["A", "B"]},
         "answerKey": "A"},
        [("Ice is", " cold"), ("Ice is", " hot")], 0,
    ),
    (
        "copa", "aps/super_glue", "copa/validation-00000-of-00001.parquet",
        {"premise": "The man fell.", "choice1": "He tripped.", "choice2": "He slept.",
         "question": "cause", "label": 0},
        [("The man fell, because", " he tripped."), ("The man fell, because", " he slept.")], 0,
    ),
    (
        "commonsense_qa", "tau/commonsense_qa", "data/validation-00000-of-00001.parquet",
        {"question": "Where?", "choices": {"label": ["A", "B"], "text": ["bank", "mall"]},
         "answerKey": "A"},
        [("Question: Where?\nAnswer:", " bank"), ("Question: Where?\nAnswer:", " mall")], 0,
    ),
    (
        "winogrande", "allenai/winogrande", "winogrande_xl/validation-00000-of-00001.parquet",
        {"sentence": "Ann thanked Bo because _ had helped.", "option1": "Ann", "option2": "Bo",
         "answer": "2"},
        [("Ann thanked Bo because Ann", " had helped."),
         ("Ann thanked Bo because Bo", " had helped.")], 1,
    ),
    (
        "wsc", "ErnestSDavis/winograd_wsc", "wsc273/test-00000-of-00001.parquet",
        {"text": "The cup fits since it is small.", "pronoun": "it", "pronoun_loc": 19,
         "options": ["The cup", "The bag"], "label": 0},
        [("The cup fits since The cup", " is small."),
         ("The cup fits since The bag", " is small.")], 0,
    ),
    (
        "boolq", "google/boolq", "data/validation-00000-of-00001.parquet",
        {"passage": "Salt melts ice.", "question": "does salt melt ice", "answer": True},
        [("Passage: Salt melts ice.\nQuestion: does salt melt ice?\nAnswer:", " no"),
         ("Passage: Salt melts ice.\nQuestion: does salt melt ice?\nAnswer:", " yes")], 1,
    ),
    (
        "lambada", "EleutherAI/lambada_openai", "data/lambada_test_en.jsonl",
        {"text": "He took his coat and said goodbye"},
        [("He took his coat and said", " goodbye")], None,
    ),
    (
        "crows_pairs", "nyu-mll/crows_pairs", "data/test-00000.parquet",
        {"sent_more": "One thing.", "sent_less": "Another thing.", "bias_type": 3},
        [("", "One thing."), ("", "Another thing.")], 0,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "repository", "file", "row", "options", "gold"), ROWS, ids=[r[0] for r in ROWS]
)
def test_a_task_reads_the_hubs_columns(
    hub: FakeHub, name: str, repository: str, file: str, row: dict[str, Any],
    options: list[tuple[str, str]], gold: int | None,
) -> None:  # fmt: skip
    body = lines([row]) if file.endswith("jsonl") else parquet([row])
    hub.add(repository, {"README.md": b"# card", file: body, "other/train.jsonl": lines([row])})
    task = load(name)
    assert task.origin == f"hf:{repository}" and not task.skipped
    (item,) = task.items
    assert list(item.options) == options
    assert item.gold == gold


def test_generated_answers_and_programs(hub: FakeHub) -> None:
    rows = [
        {
            "question": f"What is {n} and 1?",
            "answer": f"{n}+1=<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}",
        }
        for n in range(7)
    ]
    hub.add("openai/gsm8k", {"main/test-00000-of-00001.parquet": parquet(rows)})
    task = load("gsm8k")
    assert len(task.items) == 2 and task.examples[""].count("#### ") == 5
    assert "<<" not in task.examples[""]
    assert task.items[0].references[0].isdigit()

    problem = {"task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f"}
    problem |= {
        "canonical_solution": "    return 1\n",
        "test": "def check(c):\n    assert c() == 1\n",
    }
    hub.add(
        "openai/openai_humaneval",
        {"openai_humaneval/test-00000-of-00001.parquet": parquet([problem])},
    )
    (item,) = load("humaneval").items
    assert item.prompt == "def f():\n" and item.fields["entry_point"] == "f"

    asked = {"key": 1, "prompt": "Write without commas.", "kwargs": [{"num_words": None}]}
    asked["instruction_id_list"] = ["punctuation:no_comma"]
    hub.add("google/IFEval", {"ifeval_input_data.jsonl": lines([asked])})
    assert [i.prompt for i in load("ifeval").items] == ["Write without commas."]


def test_texts_labels_and_preferences(hub: FakeHub) -> None:
    texts = [{"text": " = Title = \n"}, {"text": ""}, {"text": " It was 8 @-@ bit . \n"}]
    hub.add(
        "Salesforce/wikitext",
        {"wikitext-2-raw-v1/test-00000-of-00001.parquet": parquet(texts)},
    )
    assert [i.prompt for i in load("wikitext2").items] == [" = Title = \n", " It was 8-bit. \n"]

    hub.add("PolyAI/banking77", {"data/test.csv": b"text,category\nWhere is it?,card_arrival\n"})
    (item,) = load("banking77").items
    assert item.choices[item.gold or 0] == "card arrival" and len(item.choices) == 77

    chat = "\n\nHuman: Hi\n\nAssistant: {}"
    pair = {"chosen": chat.format("Hello."), "rejected": chat.format("Go away.")}
    hub.add("Anthropic/hh-rlhf", {"harmless-base/test.jsonl": lines([pair])})
    path = task_files()["harmless"]
    spec = read_task_file(path)
    source = spec.sources[1].model_copy(update={"files": ["harmless-base/test.jsonl"]})
    task = load_task(path, spec.model_copy(update={"sources": [source]}))
    assert list(task.items[0].options) == [
        ("Human: Hi\n\nAssistant:", " Hello."),
        ("Human: Hi\n\nAssistant:", " Go away."),
    ]


def test_chinese_exams_take_their_examples_from_their_own_subject(hub: FakeHub) -> None:
    def exam(subject: str, split: str, count: int) -> dict[str, bytes]:
        rows = [
            {"id": n, "question": f"{subject}{split}{n}", "A": "甲", "B": "乙", "C": "丙",
             "D": "丁", "answer": "B"}
            for n in range(count)
        ]  # fmt: skip
        return {f"{subject}/{split}-00000-of-00001.parquet": parquet(rows)}

    files: dict[str, bytes] = {}
    for subject in ("law", "art_studies"):
        files |= exam(subject, "val", 2) | exam(subject, "dev", 5)
    hub.add("ceval/ceval-exam", files)
    task = load("ceval")
    assert [item.fields["subject"] for item in task.items] == ["art studies"] * 2 + ["law"] * 2
    for item in task.items:
        subject = item.group.replace(" ", "_")
        assert task.before(item).count(f"{subject}dev") == 5
    assert [answer for _, answer in task.items[0].options] == ["A", "B", "C", "D"]
    assert json.dumps(task.examples, ensure_ascii=False).count("答案\uff1aB") == 10
