"""Tasks as data: from YAML and rows to items, and what is wrong with either."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from chatwright.errors import ChatwrightError, DataError, SourceError, UsageError
from chatwright.evaluate.kinds import KINDS
from chatwright.evaluate.tasks import Task, find_tasks, load_task, read_task_file, task_files
from chatwright.evaluate.tasks.rendering import Renderer, detokenized, sentence_case
from chatwright.evaluate.tasks.sources import DATA_VARIABLE
from chatwright.workspace import Workspace

ROWS = [
    {"q": "Two and two?", "options": ["three", "four"], "right": "B"},
    {"q": "天空是什么颜色?", "options": ["蓝色", "红色", "绿色"], "right": 0},
    {"q": "Who?", "options": ["me", "you"], "right": "you"},
]
TASK = """\
name: mine
kind: choice
sources:
  - source: items.jsonl
    fields: {choices: options, gold: right}
prompt: "Question: {{ q }}\\nAnswer:"
"""


def write(folder: Path, task: str = TASK, rows: list[Any] | None = None) -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows or ROWS]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "mine.yaml").write_text(task, encoding="utf-8")
    return folder / "mine.yaml"


def load(path: Path, **how: Any) -> Task:
    return load_task(path, read_task_file(path), **how)


def test_a_task_file_and_its_rows_become_items(tmp_path: Path) -> None:
    task = load(write(tmp_path))
    assert [item.gold for item in task.items] == [1, 0, 1]  # a letter, an index, the choice itself
    assert task.items[0].choices == ("three", "four")
    assert task.items[1].options == tuple(
        ("Question: 天空是什么颜色?\nAnswer:", f" {colour}") for colour in ("蓝色", "红色", "绿色")
    )
    assert task.items[0].where == "items.jsonl#row=1"


def test_worked_examples_stand_before_every_prompt_and_are_not_asked(tmp_path: Path) -> None:
    task = load(
        write(tmp_path, TASK + "shots: 2\nseparator: '\\n--\\n'\n".replace("'", '"')), seed=1
    )
    assert len(task.items) == 1
    assert task.examples[""].count("\n--\n") == 2
    asked = task.items[0].fields["q"]
    assert asked not in task.examples[""]
    shown = [r for r in ROWS if r["q"] != asked]
    for row in shown:
        assert f"Question: {row['q']}\nAnswer: " in task.examples[""]
    assert load(write(tmp_path, TASK + "shots: 2\n"), seed=1).items == task.items
    with pytest.raises(DataError, match="4 worked examples are wanted"):
        load(write(tmp_path, TASK + "shots: 4\n"))


def test_examples_of_another_split_take_nothing_away(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(ROWS[0] | {"q": "Other?"}) + "\n")
    source = "{source: train.jsonl, fields: {choices: options, gold: right}}"
    more = f"shots: 1\nshot_sources:\n  - {source}\n"
    task = load(write(tmp_path, TASK + more))
    assert len(task.items) == 3
    assert task.examples[""] == "Question: Other?\nAnswer: four\n\n"


def test_a_limit_takes_the_same_items_whatever_their_order(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"q": f"Number {i}?"} for i in range(40)]
    few = load(write(tmp_path, rows=rows), limit=7, seed=3)
    more = load(write(tmp_path, rows=rows), limit=20, seed=3)
    turned = load(write(tmp_path, rows=rows[::-1]), limit=7, seed=3)
    prompts = {item.prompt for item in few.items}
    assert len(few.items) == 7
    assert prompts == {item.prompt for item in turned.items}
    assert prompts < {item.prompt for item in more.items}
    assert prompts != {i.prompt for i in load(write(tmp_path, rows=rows), limit=7, seed=4).items}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"q": "No gold?", "options": ["a", "b"], "right": None}, "`gold` is no gold answer"),
        ({"q": "Empty?", "options": ["a", "b"], "right": " "}, "no gold answer"),
        ({"q": "Column?", "options": ["a", "b"]}, "'right' is undefined"),
        ({"q": "Prompt?"}, "'options' is undefined"),
        ({"options": ["a", "b"], "right": 0}, "`prompt`: 'q' is undefined"),
        ({"q": "Out?", "options": ["a", "b"], "right": 2}, "there are 2 choices"),
        ({"q": "Letter?", "options": ["a", "b"], "right": "E"}, "no index, letter or choice"),
        ({"q": "Word?", "options": ["a", "b"], "right": "maybe"}, "no index, letter or choice"),
        ({"q": "One?", "options": ["a"], "right": 0}, "two texts or more"),
        ({"q": "Hole?", "options": ["a", "", "c"], "right": 2}, "choice 1 is empty"),
        ({"q": "Null?", "options": ["a", None, "c"], "right": "C"}, "choice 1 is empty"),
        ({"q": "Which?", "options": ["3", "0", "1", "2"], "right": "2"}, "the place of another"),
        ({"q": None, "options": ["a", "b"], "right": 0}, "a value is null"),
        ("{broken", "bad json"),
    ],
)
def test_a_bad_row_is_listed_with_its_place_and_the_others_are_asked(
    tmp_path: Path, row: Any, reason: str
) -> None:
    task = load(write(tmp_path, rows=[ROWS[0], row, ROWS[1]]))
    assert len(task.items) == 2
    ((where, why),) = task.skipped
    assert where == "items.jsonl#row=2" and reason in why


def test_no_good_row_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no item .* can be asked; the first: items.jsonl#row=1"):
        load(write(tmp_path, rows=[{"q": "?"}]))


@pytest.mark.parametrize(
    ("change", "message", "place"),
    [
        ("kinds: choice\n", "unknown key; did you mean kind", "mine.yaml:7 (kinds)"),
        ("shots: many\n", "valid integer", "mine.yaml:7 (shots)"),
        ("kind: quiz\n", "not YAML", "mine.yaml:7"),
        ("metrics: 3\n", "valid list", "(metrics)"),
        ("name: [\n", "not YAML", "mine.yaml"),
    ],
)
def test_a_wrong_task_file_names_line_and_key(
    tmp_path: Path, change: str, message: str, place: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, TASK + change))
    assert message in caught.value.message
    assert place in str(caught.value.where)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: choice", "kind: quiz", "'choice', 'cloze'"),
        ("kind: choice", "kind: classification", "needs `labels`"),
        ('prompt: "Question', 'prompt: "{{ Question', "`prompt` is not a template"),
        ("choices: options", 'choices: "options ["', "`fields.choices` is not an expression"),
        ("source: items.jsonl", "source: nowhere.jsonl", "cannot be had"),
        ("name: mine", "name: My Task", "pattern"),
    ],
)
def test_a_task_that_cannot_be_says_why(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ChatwrightError) as caught:
        load(write(tmp_path, TASK.replace(old, new)))
    assert message in caught.value.message
    assert caught.value.where


def test_what_is_missing_inside_a_list_is_missing(tmp_path: Path) -> None:
    task = TASK.replace("choices: options", 'choices: "[q, absent]"')
    with pytest.raises(DataError, match="'absent' is undefined"):
        load(write(tmp_path, task))
    with pytest.raises(DataError, match="'absent' is undefined"):
        load(write(tmp_path, TASK.replace("{{ q }}", "{{ [absent] }}")))


def test_equal_choices_have_letters_of_their_own(tmp_path: Path) -> None:
    rows = [{"q": "?", "options": ["same", "other", "same"], "right": "C"}]
    (item,) = load(write(tmp_path, TASK + 'answer: " {{ letter }}"\n', rows)).items
    assert [answer for _, answer in item.options] == [" A", " B", " C"] and item.gold == 2


def test_examples_can_be_of_the_items_own_subject(tmp_path: Path) -> None:
    rows = [
        {"q": f"{subject} {n}?", "options": ["yes", "no"], "right": 0, "subject": subject}
        for subject in ("law", "art")
        for n in range(3)
    ]
    task = load(write(tmp_path, TASK + "shots: 2\nshots_by: subject\n", rows))
    assert len(task.items) == 2
    for item in task.items:
        shown = task.before(item)
        assert shown.count(f"Question: {item.group} ") == 2 and item.fields["q"] not in shown
    with pytest.raises(DataError, match="3 worked examples are wanted for law and there are 2"):
        load(write(tmp_path, TASK + "shots: 3\nshots_by: subject\n", rows[1:]))
    (tmp_path / "mine.yaml").unlink()


def test_sources_do_not_lead_out_of_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    for place in ("data:../items.jsonl", "package:../catalogue/piqa.yaml"):
        with pytest.raises(DataError, match="out of its folder"):
            load(write(tmp_path, TASK.replace("items.jsonl", place)))


def test_templates_cannot_reach_python(tmp_path: Path) -> None:
    task = TASK.replace("{{ q }}", "{{ q.__class__.__mro__ }}")
    with pytest.raises(DataError, match="no item"):
        load(write(tmp_path, task))


def test_names_paths_and_averages_are_found(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "both.yaml").write_text("name: both\nkind: average\nmembers: [mine.yaml, arc]\n")
    found = [spec.name for _, spec in find_tasks([str(tmp_path / "both.yaml"), "piqa"])]
    assert found == ["mine", "arc_easy", "arc_challenge", "arc", "both", "piqa"]
    workspace = Workspace(tmp_path / "workspace")
    (workspace.root / "tasks").mkdir(parents=True)
    path.rename(workspace.root / "tasks" / "mine.yaml")
    assert [spec.name for _, spec in find_tasks(["mine"], workspace)] == ["mine"]
    with pytest.raises(UsageError, match="no task called 'arc_eazy'") as caught:
        find_tasks(["arc_eazy"])
    assert "arc_easy" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no such task file"):
        find_tasks(["none.yaml"])
    (tmp_path / "loop.yaml").write_text("name: loop\nkind: average\nmembers: [loop.yaml]\n")
    with pytest.raises(DataError, match="member of itself"):
        find_tasks([str(tmp_path / "loop.yaml")])


def test_every_built_in_task_is_valid_and_cites_its_source() -> None:
    files = task_files()
    wanted = {
        "arc_easy", "arc_challenge", "hellaswag", "piqa", "openbookqa", "copa", "commonsense_qa",
        "winogrande", "wsc", "boolq", "lambada", "gsm8k", "humaneval", "wikitext2", "banking77",
        "crows_pairs", "winobias", "ceval", "cmmlu", "cold", "core",
    }  # fmt: skip
    assert wanted <= files.keys()
    for name, path in files.items():
        spec = read_task_file(path)
        assert spec.name == name and spec.title and spec.citation
        if spec.kind != "average":
            assert spec.license, name
            assert KINDS[spec.kind].metrics(spec)
            Renderer(spec, str(path))


def test_built_in_tasks_read_the_shared_data(shared_data: Path) -> None:
    counts = {
        "arc_easy": (2376, 4), "arc_challenge": (1172, 4), "piqa": (1838, 2),
        "openbookqa": (500, 4), "copa": (100, 2), "commonsense_qa": (1221, 4),
        "winogrande": (1267, 2), "wsc": (273, 2), "boolq": (3270, 2), "crows_pairs": (1508, 2),
    }  # fmt: skip
    for name, (items, choices) in counts.items():
        path = task_files()[name]
        task = load_task(path, read_task_file(path))
        assert (len(task.items), len(task.items[0].choices)) == (items, choices), name
        assert not task.skipped, name
    path = task_files()["gsm8k"]
    task = load_task(path, read_task_file(path), limit=3)
    assert task.examples[""].count("Question:") == 5 and "<<" not in task.examples[""]
    assert all(item.references[0].replace(",", "").lstrip("-").isdigit() for item in task.items)


def test_an_exam_is_a_folder_of_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-Eval's layout (val and dev, with ids) and CMMLU's (capitals)."""
    for split, question in (("val", "1+1=?"), ("dev", "2+2=?")):
        folder = tmp_path / "eval" / "ceval" / split
        folder.mkdir(parents=True)
        rows = (
            f"id,question,A,B,C,D,answer\n0,{question},1,2,3,4,{'B' if split == 'val' else 'D'}\n"
        )
        (folder / f"high_school_math_{split}.csv").write_text(rows * 1, encoding="utf-8")
    (tmp_path / "eval" / "cmmlu" / "test").mkdir(parents=True)
    (tmp_path / "eval" / "cmmlu" / "test" / "anatomy.csv").write_text(
        ",Question,A,B,C,D,Answer\n0,心脏在哪里?,胸腔,腹腔,头部,手,A\n", encoding="utf-8"
    )
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    path = task_files()["ceval"]
    spec = read_task_file(path).model_copy(update={"shots": 1})
    task = load_task(path, spec)
    (item,) = task.items
    assert item.fields["subject"] == "high school math"
    assert item.prompt == "1+1=?\nA. 1\nB. 2\nC. 3\nD. 4\n答案\uff1a"
    assert item.gold == 1
    assert task.examples["high school math"].endswith(
        "2+2=?\nA. 1\nB. 2\nC. 3\nD. 4\n答案\uff1aD\n\n"
    )
    assert [answer for _, answer in item.options] == ["A", "B", "C", "D"]
    path = task_files()["cmmlu"]
    task = load_task(path, read_task_file(path).model_copy(update={"shots": 0}))
    assert task.items[0].gold == 0 and "心脏在哪里" in task.items[0].prompt


def test_the_second_source_serves_where_the_first_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gzip.open(tmp_path / "items.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    fields = "fields: {choices: options, gold: right}"
    task = TASK.replace(
        f"  - source: items.jsonl\n    {fields}",
        f"  - source: data:none.jsonl\n    {fields}\n  - source: items.jsonl.gz\n    {fields}",
    )
    path = write(tmp_path, task)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert load(path).origin == "items.jsonl.gz"
    (tmp_path / "items.jsonl.gz").unlink()
    with pytest.raises(SourceError) as caught:
        load(path)
    assert "data:none.jsonl" in caught.value.message and DATA_VARIABLE in str(caught.value.hint)


def test_a_digest_is_of_how_items_are_asked(tmp_path: Path) -> None:
    digest = load(write(tmp_path)).digest()
    assert load(write(tmp_path, TASK + "title: Other\ncitation: Somebody\n")).digest() == digest
    assert load(write(tmp_path, TASK.replace("Question:", "Q:"))).digest() != digest
    assert load(write(tmp_path, TASK + "shots: 1\n")).digest() != digest
    assert load(write(tmp_path), limit=2).digest() == digest  # fewer items, asked alike


def test_small_text_helpers() -> None:
    assert sentence_case("a man sits. he stands! then") == "a man sits. He stands! Then"
    assert detokenized('the 8 @-@ bit " game " , 1 @,@ 000 ( or so ) .') == (
        'the 8-bit "game", 1,000 (or so).'
    )
