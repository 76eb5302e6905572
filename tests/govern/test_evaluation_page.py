"""The page of an evaluation: says everything, lets nothing in, chooses by rule, stays small."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from built_house import HOSTILE, HOSTILE_URI, Built

from chatwright.evaluate.results import Evaluation, Metric, Skipped, TaskRecord
from chatwright.govern.choices import calibration, confusion
from chatwright.govern.contrast import contrast, contrasts, margin, shares
from chatwright.govern.evaluation_page import render_evaluation
from chatwright.govern.items import differing, sample_size, show_item
from chatwright.govern.scores import forest, score_table, task_rows
from chatwright.govern.stages import ReportSettings, run_report
from task_results import TASKS, measure

LOADING = {"src", "srcset", "data", "poster", "action", "formaction", "background", "manifest"}
VOID = {"meta", "br"}
ACC = Metric("t/acc", "Accuracy", "higher", "share", "over the items", task="t")


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.pieces.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.pieces).split())


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return measure(("base", "sft"), resamples=500)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> Page:
    lineage = {
        "fingerprint": "fp" * 20,
        "parents": [{"name": "held-out", "fingerprint": "h-fp", "path": "../held-out"}],
    }
    return Page(render_evaluation(evaluation, notes=["a note to read"], lineage=lineage))


def test_it_says_everything(page: Page, evaluation: Evaluation) -> None:
    for expected in (
        "base against sft", "525 items of 8 tasks", "English and Chinese",
        "sft against base: of 8 tasks, better on 7, no clear difference on 1",
        "ARC (average)", "CORE", "Mean over ARC-Easy, ARC-Challenge, Banking77, C-Eval",
        "multiple choice · 5-shot · 80 items · Chinese", "own scale; less is better",
        "sft: 7 items (5.8 %) found in its training data; without them",
        "was not checked. base: it was not trained with Chatwright",
        "sft: 7 of 120 items found in questions (4,000 training rows)",
        "log-probability of the right text",
        "arc_easy: >= base - 1", "does not hold", "a note to read",
        "only base right", "sft is right, base is wrong", "both wrong",
        "points off the line", "Banking77", "What is taken for what",
        "1 item could not be scored", "no gold answer in file:gsm8k.jsonl, line 41",
        "hf:test/sft", "held-out", "Linux x86_64, 2 cores", "Clark et al. 2018",
    ):  # fmt: skip
        assert expected in page.words, expected
    value = evaluation.models[1].metrics["arc_easy/acc_norm"]
    assert f"{100 * value.value:.1f} %" in page.words
    assert page.tags["mark"] > 5  # words in which generated texts differ
    assert page.tags["svg"] == 2  # calibration, one for each model
    assert [v for _, n, v in page.attributes if n == "class" and v == "heat"] == ["heat"] * 2
    assert "zh" in {v for t, n, v in page.attributes if t == "article" and n == "lang"}


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    forbidden = {"script", "iframe", "img", "link", "object", "embed", "base", "form"}
    assert not forbidden & set(page.tags)
    for tag, name, value in page.attributes:
        assert name not in LOADING and not name.startswith("on"), (tag, name)
        if name == "href":
            assert value.startswith("#"), value
        if name == "style":
            assert re.fullmatch(r"((left|width|--v):-?[\d.]+%;?)+", value), value
    policies = [v for _, n, v in page.attributes if n == "content" and "default-src" in v]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    for _, name, value in page.attributes:
        if name == "href":
            assert value[1:] in ids


def test_hostile_text_is_shown_as_text(evaluation: Evaluation) -> None:
    hostile = Evaluation.from_json(json.loads(json.dumps(evaluation.to_json())))
    hostile.answers = json.loads(json.dumps(evaluation.answers))
    for line in hostile.answers:
        line["prompt"] = HOSTILE + line["prompt"]
        if line["choices"]:
            line["choices"] = [HOSTILE + c for c in line["choices"]]
        elif line["gold"]:
            line["gold"] = HOSTILE
        line["id"] += HOSTILE
        line["language"] = '"><script>'
        for answer in line["answers"].values():
            if answer["text"]:
                answer["text"] += HOSTILE
    for task in hostile.tasks:
        task.title += HOSTILE
        task.citation, task.source = HOSTILE, HOSTILE_URI
    hostile.skipped = [Skipped(HOSTILE, HOSTILE)]
    hostile.gates[0]["gate"] = HOSTILE
    hostile.settings[HOSTILE] = HOSTILE
    text = render_evaluation(hostile, notes=[HOSTILE], title=HOSTILE)
    read = Page(text)
    assert not {"script", "img", "iframe"} & set(read.tags)
    assert read.words.count("<script>alert(1)</script>") > 100
    assert "{{7*7}}" in read.words
    assert not any(name.startswith("on") for _, name, _ in read.attributes)


@pytest.mark.parametrize("models", [("sft",), ("base", "sft", "small")])
def test_one_model_and_three(models: tuple[str, ...]) -> None:
    evaluation = measure(models, resamples=100)
    read = Page(render_evaluation(evaluation))
    if len(models) == 1:
        assert "Items it gets wrong" in read.words and "wrong, the surest first" in read.words
        assert "Differences" not in read.words and "against" not in read.words
    else:
        assert "base against sft and others" in read.words
        assert "small against base" in read.words and "sft against base" in read.words
        assert read.tags["svg"] == 3
    assert render_evaluation(evaluation) == render_evaluation(evaluation)


def test_figures_without_answers_and_without_tasks() -> None:
    evaluation = measure(("base", "sft"), TASKS[:1], resamples=100)
    read = Page(render_evaluation(evaluation, []))
    assert "ARC-Easy" in read.words and "Items on which they differ" not in read.words
    empty = Page(render_evaluation(Evaluation({}, 0, [], [])))
    assert "How it was measured" in empty.words


def test_twenty_thousand_items_stay_small_and_quick() -> None:
    evaluation = measure(("base", "sft"), resamples=20)
    evaluation.answers = [
        {**line, "id": f"{line['id']}-{n}", "prompt": line["prompt"] + " 很长" * 2_000}
        for n in range(39)
        for line in evaluation.answers
    ]
    assert len(evaluation.answers) > 20_000
    started = time.perf_counter()
    text = render_evaluation(evaluation)
    assert time.perf_counter() - started < 20
    assert len(text.encode()) < 3_000_000
    read = Page(text)
    # The test's 39 copies of each item: 8 of each kind fit, of 39 times as many.
    shown = re.search(r"([\d,]+) of ([\d,]+) are shown", read.words)
    assert shown and int(shown[2].replace(",", "")) > 5_000
    assert "characters before this are left out" in read.words
    tiny = Page(render_evaluation(evaluation, budget=50_000))
    assert "counted and not shown" in tiny.words or "at most 1 of" in tiny.words
    none = Page(render_evaluation(evaluation, budget=0))
    assert "counted and not shown" in none.words and none.tags["article"] == 0


def line(number: int, gold: int, **logprobs: list[float]) -> dict[str, Any]:
    """An item with three choices; each model chooses the likeliest."""
    return {
        "task": "t", "id": f"t/{number}", "prompt": "?", "choices": [" a", " b", " c"],
        "gold": gold, "kind": "choice", "language": "en",
        "answers": {
            m: {"choice": int(np.argmax(v)), "logprobs": v, "text": None,
                "scores": {"acc": float(np.argmax(v) == gold)}}
            for m, v in logprobs.items()
        },
    }  # fmt: skip


def test_items_are_split_and_ordered_by_margin() -> None:
    lines = [
        line(1, 0, a=[0, -1, -2], b=[-2, 0, -1]),  # only a right
        line(2, 0, a=[-0.1, 0, -9], b=[0, -9, -9]),  # only b right, narrow for a
        line(10, 0, a=[-9, 0, -9], b=[0, -9, -9]),  # only b right, wide
        line(9, 0, a=[-9, 0, -9], b=[0, -9, -9]),  # as wide: by number, not by text
        line(4, 2, a=[0, -1, -2], b=[0, -1, -2]),  # both wrong
        line(5, 1, a=[-3, 0, -3], b=[-3, 0, -3]),  # both right
    ]
    found = contrast(lines, "acc", ACC, ("a", "b"), title="T", name="t")
    assert found is not None and found.binary
    assert dict(zip(found.names, found.counts, strict=True)) == {
        "both right": 1, "only a right": 1, "only b right": 3, "both wrong": 1,
    }  # fmt: skip
    ahead, behind = found.groups
    assert [q["id"] for q in ahead.lines] == ["t/9", "t/10", "t/2"]
    assert [q["id"] for q in behind.lines] == ["t/1"]
    assert sum(width for *_, width in found.parts) == pytest.approx(100, abs=0.1)
    alone = contrast(lines, "acc", ACC, ("a",), title="T")
    assert alone is not None
    assert [q["id"] for q in alone.groups[0].lines] == ["t/9", "t/10", "t/4", "t/2"]
    assert contrast([], "acc", ACC, ("a", "b"), title="T") is None


def test_graded_items_follow_the_direction_of_the_metric() -> None:
    lines = [
        {"task": "t", "id": f"t/{n}", "answers": {"a": {"scores": {"bits": a}},
                                                  "b": {"scores": {"bits": b}}}}
        for n, (a, b) in enumerate([(1.0, 0.8), (1.0, 0.5), (1.0, 1.3), (1.0, 1.0)])
    ]  # fmt: skip
    bits = Metric("t/bits", "Bits", "lower", "number", "", task="t")
    found = contrast(lines, "bits", bits, ("a", "b"), title="T")
    assert found is not None and not found.binary
    assert found.counts == (1, 1, 2)
    assert [q["id"] for q in found.groups[0].lines] == ["t/1", "t/0"]  # b needs fewer bits
    # Right and wrong where less is better (an item on which the model was toxic, say).
    toxic = Metric("t/toxic", "Toxic", "lower", "share", "", task="t")
    split = contrast(
        [{"task": "t", "id": "x", "answers": {"a": {"scores": {"toxic": 1.0}},
                                              "b": {"scores": {"toxic": 0.0}}}}],
        "toxic", toxic, ("a", "b"), title="T",
    )  # fmt: skip
    assert split is not None and split.counts == (0, 0, 1, 0)


def test_shares_follow_the_metric() -> None:
    assert shares([np.log(0.5), np.log(0.25), np.log(0.25)], ["a", "b", "c"], "acc") == (
        pytest.approx([0.5, 0.25, 0.25])
    )
    # By bytes: −6 over 6 beats −4 over 2, though it is less likely.
    by_length = shares([-6.0, -4.0], ["abcdef", "ab"], "acc_norm")
    assert by_length[0] > 0.5 > shares([-6.0, -4.0], ["abcdef", "ab"], "acc")[0]
    # A Chinese character is three bytes.
    assert shares([-3.0, -1.0], ["中", "a"], "acc_norm") == pytest.approx([0.5, 0.5])
    assert shares(None, ["a"], "acc") == [] == shares([1.0], ["a", "b"], "acc")
    assert shares([-np.inf, -np.inf], ["a", "b"], "acc") == []
    assert margin(line(1, 0, a=[0.0, 0.0, -99.0]), "a", "acc") == pytest.approx(0, abs=1e-9)


def test_the_chosen_one_never_contradicts_the_score() -> None:
    item = line(1, 0, a=[-1.0, -2.0, -3.0], b=[-1.0, -2.0, -3.0])
    # A metric that compares otherwise (less the unconditional likelihood, say) said b was wrong.
    item["answers"]["b"] |= {"scores": {"acc": 0.0}, "choice": 2}
    shown = show_item(item, ("a", "b"), ACC, "acc")
    picked = [[share[2] for share in c.shares if share] for c in shown.choices]
    assert picked == [[True, False], [False, False], [False, True]]
    assert [c.gold for c in shown.choices] == [True, False, False]
    assert [s.right for s in shown.sides] == [True, False]


def test_of_many_choices_those_that_matter_are_shown() -> None:
    item = line(1, 50, a=[-float(abs(i - 10)) for i in range(77)], b=[-1.0] * 77)
    item["choices"] = [f"label {i}" for i in range(77)]
    item["answers"]["b"]["choice"] = 33
    shown = show_item(item, ("a", "b"), ACC, "acc")
    texts = [c.text for c in shown.choices]
    assert {"label 50", "label 10", "label 9", "label 11"} <= set(texts)
    assert len(texts) == 6 and shown.more_choices == 71


def test_differing_words_are_marked() -> None:
    first, second = differing("The cat sat <b>", "The dog sat <b>")
    assert first == "The <mark>cat</mark> sat &lt;b&gt;"
    assert second == "The <mark>dog</mark> sat &lt;b&gt;"
    first, second = differing("运动会如期开幕了。", "运动会在雨中开幕了。")
    assert first == "运动会<mark>如期</mark>开幕了。"
    assert second == "运动会<mark>在雨中</mark>开幕了。"
    assert differing("same", "same") == ("same", "same")
    assert "mark" not in "".join(differing("alpha beta", "门 窗 户"))  # nothing in common
    assert differing("", "new") == ("", "new")


def test_long_texts_keep_the_question() -> None:
    item = {"task": "t", "id": "t/1", "prompt": "x" * 5_000 + "THE QUESTION?", "gold": "g",
            "answers": {"a": {"text": "y" * 5_000, "scores": {"em": 0.0}}}}  # fmt: skip
    shown = show_item(item, ("a",), replace(ACC, name="t/em"), "em")
    assert shown.prompt.endswith("THE QUESTION?") and len(shown.prompt) == 1_200
    assert shown.left_out.startswith("3,813 characters")
    assert len(shown.sides[0].text) < 1_700


def test_what_was_made_of_an_answer_is_said() -> None:
    def side(**answer: Any) -> str:
        item = {"task": "t", "id": "t/1", "prompt": "?", "gold": "8",
                "answers": {"a": {"scores": {"em": 1.0}, **answer}}}  # fmt: skip
        return show_item(item, ("a",), replace(ACC, name="t/em"), "em").sides[0].about

    assert side(text="so 8", answer="8") == "taken as: 8"
    assert side(text="def f", outcome="failed", error="line 2:\n AssertionError") == (
        "failed line 2: AssertionError"
    )
    assert side(logprobs=[-1.234]) == "log-probability of the right text: −1.23"
    cloze = {"task": "t", "id": "t/1", "gold": "late", "answers": {"a": {"logprobs": [-0.7]}}}
    assert margin(cloze, "a", "acc") == pytest.approx(np.exp(-0.7))


def test_calibration_against_hand_worked_bins() -> None:
    sure = [np.log(0.9), np.log(0.1)]
    lines = [
        {"gold": 0 if n < 30 else 1, "choices": ["a", "b"], "answers": {"m": {"logprobs": sure}}}
        for n in range(40)
    ]  # 90 % sure, 75 % right
    found = calibration(lines, "m")
    assert found is not None and found.count == 40
    assert found.error == pytest.approx(0.15)
    (only,) = found.bins
    assert (only.confidence, only.accuracy, only.count) == (pytest.approx(0.9), 0.75, 40)
    assert only.low < 0.75 < only.high
    assert calibration(lines[:20], "m") is None and calibration(lines, "nosuch") is None


def test_confusions_are_counted() -> None:
    def item(gold: Any, **answer: Any) -> dict[str, Any]:
        return {"gold": gold, "choices": [" cat", " dog"], "answers": {"m": answer}}

    lines = [
        item(0, choice=0), item(0, choice=1), item(1, choice=1), item(1, text=" dog "),
        item("dog", text="a fish"), item(None, choice=0),
    ]  # fmt: skip
    found = confusion(lines, "m")
    assert found is not None
    assert found.labels == ["cat", "dog", "(none of them)"]
    assert found.matrix == [[1, 1, 0], [0, 2, 1], [0, 0, 0]]
    assert (found.mistakes, found.top) == (2, 2)
    many = [
        {"gold": n % 77, "choices": [f"l{i}" for i in range(77)],
         "answers": {"m": {"choice": 3 if n % 77 == 4 else n % 77}}}
        for n in range(154)
    ]  # fmt: skip
    wide = confusion(many, "m")
    assert wide is not None and wide.matrix == []
    assert wide.pairs == [("l4", "l3", 2)]
    assert confusion(lines, "nosuch") is None


def test_places_on_tracks_and_forests(evaluation: Evaluation) -> None:
    averages, tasks = task_rows(evaluation)
    assert [t.record.name for t in averages] == ["arc", "core"]
    first = tasks[0].first
    assert first.metric.name == "arc_easy/acc_norm" and first.chance == 25.0
    estimate = evaluation.models[0].metrics["arc_easy/acc_norm"]
    assert first.cells[0].at == pytest.approx(100 * estimate.value, abs=0.01)
    bits = next(t for t in tasks if t.record.name == "wikitext").first
    assert bits.own and bits.chance is None
    for cell in bits.cells:
        assert cell.at is not None and 0 <= cell.low <= cell.at <= cell.high <= 100
    (plot,) = forest(evaluation, [*averages, *tasks])
    values = [float(d.value.removesuffix(" pp").replace("−", "-")) for _, d in plot.rows]
    assert values == sorted(values, reverse=True)
    assert len(plot.rows) == 8  # not the one in bits, nor the centred average
    core = averages[1].first
    assert not core.own and core.chance is None  # from 0, a guesser, to 1
    value = evaluation.models[0].metrics["core/average"].value
    assert core.cells[0].at == pytest.approx(100 * value, abs=0.01)
    for _, d in plot.rows:
        assert 0 <= d.low <= d.at <= d.high <= 100
        assert (d.at > 50) == (not d.value.startswith("−"))
    # A metric that a task has no figure of does not lead it.
    evaluation.tasks[2].primary, before = "nosuch", evaluation.tasks[2].primary
    assert task_rows(evaluation)[1][0].first.metric.name == "arc_easy/acc"
    evaluation.tasks[2].primary = before


def test_the_table_for_a_terminal(evaluation: Evaluation) -> None:
    columns, rows = score_table(evaluation)
    assert columns[2:4] == ["base#", "sft#"] and len({len(r) for r in (columns, *rows)}) == 1
    assert rows[0][0] == "ARC (average)" and rows[0][6] == "better"
    three, rows = score_table(measure(("base", "sft", "small"), TASKS[:1], resamples=50))
    assert three == ["task", "metric", "base#", "sft#", "small#"]
    assert rows[0][4].endswith(("worse", "no clear difference"))


def test_samples_shrink_until_they_fit(evaluation: Evaluation) -> None:
    found = contrasts(evaluation, evaluation.answers, ("base", "sft"))
    assert [c.name for c in found][:2] == ["arc_easy", "arc_challenge"]
    assert sample_size(found, 10**7) == 8
    sizes = [sample_size(found, budget) for budget in (200_000, 100_000, 40_000, 0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == 0 and sizes[0] > 0


def test_the_report_of_a_build_groups_scores_by_task(built: Built) -> None:
    file = built.evaluation / "evaluation.json"
    old = json.loads(file.read_text())
    measured = measure(("before", "after"), resamples=100)
    questions = Evaluation.from_json(old)
    for model, other in zip(measured.models, questions.models, strict=True):
        model.metrics |= other.metrics
        model.reference = other.reference
    measured.metrics = (*questions.metrics, *measured.metrics)
    measured.comparisons += questions.comparisons
    kept = {k: old[k] for k in ("fingerprint", "stage", "recipe", "parents")}
    file.write_text(json.dumps(measured.to_json() | kept), encoding="utf-8")
    with (built.evaluation / "answers.jsonl").open("a", encoding="utf-8") as answers:
        answers.writelines(json.dumps(q) + "\n" for q in measured.answers)
    context = built.context("report", evaluation=built.evaluation)
    run_report(ReportSettings(stages=["evaluation"], samples=6), context)
    read = Page((context.output / "report.html").read_text(encoding="utf-8"))
    rows = [v for t, n, v in read.attributes if t == "tr" and n == "class" and "task" in v]
    assert rows == ["task average"] * 2 + ["task"] * 8
    assert "multiple choice · 120 items" in read.words and "Token F1" in read.words
    assert "chatwright compare garden/evaluation" in read.words
    assert "ARC (average) (%)" in read.words  # a tile
    assert "arc_easy/0" not in read.words  # items of tasks have a page of their own
    assert "gained most" in read.words


def test_notes_of_contamination() -> None:
    record = TaskRecord("t", "T", "choice", "acc", 10)
    found = measure(("sft",), TASKS[:1], resamples=20)
    found.tasks = [replace(record, name="arc_easy", primary="acc")]
    found.tasks[0].notes = {"sft": {"contamination": {"checked": True, "contaminated": 0}}}
    assert "no item found in its training data" in Page(render_evaluation(found)).words
    found.tasks[0].notes = {"sft": {"contamination": {"checked": False, "reason": "no lineage"}}}
    words = Page(render_evaluation(found)).words
    assert "was not checked. sft: no lineage." in words and "no item found" not in words
