"""Two results on disk become one comparison: the same figures, and nothing compared unlike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.pairing import alone, pair, side
from chatwright.evaluate.recompute import item_values
from chatwright.evaluate.results import Evaluation, Skipped, summarise
from chatwright.evaluate.stored import (
    Stored,
    find_evaluation,
    find_reference,
    list_evaluations,
    read_evaluation,
)
from task_results import TASKS, measure, write

SMALL = tuple(replace(t, items=max(8, t.items // 4)) for t in TASKS)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("results")
    return {
        "both": write(measure(("base", "sft"), SMALL), root / "both"),
        "base": write(measure(("base",), SMALL), root / "base"),
        "two": write(measure(("small", "sft"), SMALL), root / "two"),
    }


def read(path: Path) -> Stored:
    return read_evaluation(path)


def changed(path: Path, to: Path, change: Callable[[Evaluation], None]) -> Stored:
    """A copy of a result with something about it changed."""
    stored = read(path)
    change(stored.evaluation)
    return read(write(stored.evaluation, to))


def test_it_equals_measuring_both_together(results: dict[str, Path]) -> None:
    pairing = pair(
        side(read(results["base"]), "base"), side(read(results["two"]), "two", "sft"), resamples=300
    )
    together = read(results["both"]).evaluation
    paired = pairing.evaluation
    assert [m.name for m in paired.models] == ["base", "sft"]
    for one, other in zip(paired.models, together.models, strict=True):
        assert one.reference == other.reference
        assert one.metrics == other.metrics
    assert {c.metric: c.difference for c in paired.comparisons} == {
        c.metric: c.difference for c in together.comparisons
    }
    assert {c.metric: c.verdict for c in paired.comparisons} == {
        c.metric: c.verdict for c in together.comparisons
    }
    assert "arc/average" in paired.models[0].metrics  # averages too, plain and centred
    assert "core/average" in paired.models[0].metrics
    assert paired.answers == together.answers
    assert {t.name: t.items for t in paired.tasks} == {t.name: t.items for t in together.tasks}
    assert pairing.notes == []
    assert pairing.sources["sft"] == {
        "path": str(results["two"]), "fingerprint": "two-fp", "label": "sft",
    }  # fmt: skip
    again = Evaluation.from_json(json.loads(json.dumps(paired.to_json())))
    assert again.to_json()["models"] == paired.to_json()["models"]


def test_the_order_of_the_sides_turns_the_difference(results: dict[str, Path]) -> None:
    base, sft = side(read(results["base"]), "b"), side(read(results["two"]), "t", "sft")
    one, other = pair(base, sft, resamples=200), pair(sft, base, resamples=200)
    there = {c.metric: c.difference.value for c in one.evaluation.comparisons}
    back = {c.metric: c.difference.value for c in other.evaluation.comparisons}
    assert there.keys() == back.keys() and len(there) > 8
    assert all(there[k] == pytest.approx(-back[k]) for k in there)


def test_equal_labels_get_the_name_of_their_result(
    results: dict[str, Path], tmp_path: Path
) -> None:
    later = changed(
        results["both"], tmp_path / "later", lambda e: e.models[0].metrics.pop("gsm8k/exact_match")
    )
    pairing = pair(
        side(read(results["both"]), "old:sft", "sft"), side(later, "new:sft", "sft"), resamples=50
    )
    assert [m.name for m in pairing.evaluation.models] == ["sft (old)", "sft (new)"]
    assert set(pairing.evaluation.answers[0]["answers"]) == {"sft (old)", "sft (new)"}
    first = pairing.evaluation.comparisons[0].difference
    assert (first.value, first.significant) == (0.0, False)
    same_source = pair(
        side(read(results["both"]), "r", "sft"), side(later, "r", "sft"), resamples=9
    )
    assert len({m.name for m in same_source.evaluation.models}) == 2


def test_tasks_that_were_not_the_same_are_left_out_and_named(
    results: dict[str, Path], tmp_path: Path
) -> None:
    def change(e: Evaluation) -> None:
        tasks = {t.name: t for t in e.tasks}
        tasks["arc_easy"].shots = 5
        tasks["c_eval"].digest = "another-digest-of-other-items"
        e.tasks = [t for t in e.tasks if t.name != "lambada"]

    other = changed(results["two"], tmp_path / "other", change)
    pairing = pair(side(read(results["base"]), "base"), side(other, "other", "sft"), resamples=50)
    notes = "\n".join(pairing.notes)
    assert "arc_easy: left out, it was not the same task (shots 0 and 5)" in notes
    assert "c_eval: left out" in notes and "another-dige…" in notes
    assert "lambada: only base was measured on it" in notes
    assert "arc: left out, its tasks are not all shared" in notes
    shared = {t.name for t in pairing.evaluation.tasks}
    assert shared == {"arc_challenge", "gsm8k", "banking77", "summaries", "wikitext"}
    assert {q["task"] for q in pairing.evaluation.answers} == shared
    assert not any(m.task in ("arc", "core", "c_eval") for m in pairing.evaluation.shown)


def test_items_that_differ_are_listed_and_those_of_one_side_counted(
    results: dict[str, Path], tmp_path: Path
) -> None:
    def change(e: Evaluation) -> None:
        e.answers[0]["prompt"] += " (changed)"
        e.answers[1]["gold"] = 3 - e.answers[1]["gold"] if e.answers[1]["gold"] != 1 else 0
        del e.answers[5]
        e.answers[7]["id"] = "arc_easy/new"

    other = changed(results["two"], tmp_path / "other", change)
    pairing = pair(side(read(results["base"]), "base"), side(other, "other", "sft"), resamples=50)
    assert pairing.evaluation.skipped == [
        Skipped("arc_easy/0", "not the same in both results: prompt"),
        Skipped("arc_easy/1", "not the same in both results: gold"),
    ]
    assert "3 items were asked of only one of the two, and are left out" in pairing.notes
    task = next(t for t in pairing.evaluation.tasks if t.name == "arc_easy")
    assert task.items == SMALL[0].items - 4
    estimate = pairing.evaluation.models[0].metrics["arc_easy/acc"]
    assert estimate.count == SMALL[0].items - 4


def test_an_average_whose_parts_are_not_known_is_left_out(
    results: dict[str, Path], tmp_path: Path
) -> None:
    def change(e: Evaluation) -> None:
        next(t for t in e.tasks if t.name == "core").parts = ["gone/acc"]

    wrong = changed(results["base"], tmp_path / "wrong", change)
    pairing = pair(side(wrong, "wrong"), side(read(results["two"]), "two", "sft"), resamples=50)
    assert any("core/average: left out" in note for note in pairing.notes)
    assert "arc/average" in pairing.evaluation.models[0].metrics


def test_settings_and_machines_that_differ_are_noted(
    results: dict[str, Path], tmp_path: Path
) -> None:
    def change(e: Evaluation) -> None:
        e.settings |= {"seed": 1, "limit": 10}
        e.machine["torch"] = "1.0"

    other = changed(results["two"], tmp_path / "other", change)
    pairing = pair(side(read(results["base"]), "base"), side(other, "other", "sft"), resamples=50)
    assert "setting seed: 0 and 1" in pairing.notes
    assert not any("limit" in note for note in pairing.notes)  # the items themselves tell
    assert any("different machines" in note for note in pairing.notes)
    assert "torch" not in pairing.evaluation.machine


def test_questions_and_pages_of_before_tasks_are_paired_too(tmp_path: Path) -> None:
    def result(model: str, f1: list[float], bits: float) -> Stored:
        lines: list[dict[str, Any]] = [
            {
                "id": f"q{n}", "question": f"问题 {n}?", "reference": "答案", "answerable": True,
                "answers": {model: {"text": "答", "scores": {"token_f1": value},
                                    "reference_nll": 4.0 + n, "reference_tokens": 2}},
            }
            for n, value in enumerate(f1)
        ]  # fmt: skip
        lines.append({"id": "p", "uri": "u", "bytes": 100, "bits_per_byte": {model: bits}})
        values = {model: item_values(lines, model, Evaluation({}, 0, [], []).metrics)}
        assert values[model]["bits_per_byte"]["p"] == (pytest.approx(100 * bits), 100.0)
        assert values[model]["perplexity"]["q1"] == (5.0, 2.0)
        models, _ = summarise(values, {model: model}, resamples=50)
        return read(write(Evaluation({}, 3, models, [], answers=lines), tmp_path / model))

    pairing = pair(
        side(result("a", [0.1, 0.3], 1.5), "a"), side(result("b", [0.5, 0.9], 1.0), "b"),
        resamples=200,
    )  # fmt: skip
    found = {c.metric: c for c in pairing.evaluation.comparisons}
    assert found["token_f1"].difference.value == pytest.approx(0.5)
    assert found["bits_per_byte"].difference.value == pytest.approx(-0.5)
    assert found["perplexity"].difference.value == 0
    assert pairing.evaluation.items == 3


def test_what_cannot_be_compared_is_refused(results: dict[str, Path], tmp_path: Path) -> None:
    base, two = read(results["base"]), read(results["two"])
    with pytest.raises(UsageError, match="both sides are the model 'sft'"):
        pair(side(two, "two", "sft"), side(two, "two", "sft"))
    with pytest.raises(UsageError, match="it holds 2 models: say which") as error:
        side(two, "two")
    assert error.value.hint == "one of: two:small, two:sft"
    with pytest.raises(UsageError, match="no model called 'nosuch'"):
        side(two, "two", "nosuch")
    with pytest.raises(UsageError, match="nothing to compare 'base' with"):
        alone(base, "base")
    with pytest.raises(UsageError, match="nothing to compare"):
        alone(two, "two:sft", "sft")
    assert alone(two, "two").evaluation is two.evaluation
    assert alone(two, "two").lineage["fingerprint"] == "two-fp"

    other = read(write(measure(("sft",), SMALL[:1]), tmp_path / "easy"))
    rest = read(write(measure(("base",), SMALL[1:3]), tmp_path / "rest"))
    with pytest.raises(DataError, match="no task in common"):
        pair(side(rest, "rest"), side(other, "easy"))

    def renamed(e: Evaluation) -> None:
        for line in e.answers:
            line["id"] += "x"

    with pytest.raises(DataError, match="no item in common"):
        pair(
            side(base, "base"), side(changed(results["two"], tmp_path / "ids", renamed), "i", "sft")
        )
    figures = write(replace_answers(base.evaluation), tmp_path / "figures")
    with pytest.raises(DataError, match="no answers, only figures"):
        pair(side(read(figures), "figures"), side(two, "two", "sft"))


def replace_answers(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, answers=[])


def test_broken_values_are_named(results: dict[str, Path], tmp_path: Path) -> None:
    def broken(e: Evaluation) -> None:
        e.answers[3]["answers"]["base"]["values"] = {"acc": ["much", 1]}

    other = changed(results["base"], tmp_path / "broken", broken)
    with pytest.raises(DataError, match="item arc_easy/3, model base"):
        pair(side(other, "broken"), side(read(results["two"]), "two", "sft"))

    def ragged(e: Evaluation) -> None:
        e.answers[3]["answers"]["base"]["values"]["acc"] = [1.0, 1.0, 2.0]

    other = changed(results["base"], tmp_path / "ragged", ragged)
    pairing = pair(side(other, "r"), side(read(results["two"]), "two", "sft"), resamples=50)
    assert any("arc_easy/acc: left out" in note for note in pairing.notes)


def test_results_are_found_by_name_path_and_label(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folder = write(measure(("base",), SMALL[:1]), runs / "quickstart" / "evaluation")
    write(measure(("base",), SMALL[:1]), runs / "quickstart" / ".half")
    assert find_evaluation("quickstart/evaluation", runs) == folder
    assert find_evaluation(str(folder), runs) == folder
    assert find_evaluation(str(folder / "evaluation.json"), runs) == folder
    assert find_evaluation("quickstart", runs) is None
    assert find_reference("quickstart/evaluation:base", runs) == (folder, "base")
    assert find_reference("quickstart/evaluation", runs) == (folder, None)
    assert find_reference("nosuch:base", runs) is None and find_reference(":", runs) is None
    colon = write(measure(("base",), SMALL[:1]), runs / "a:b")
    assert find_reference("a:b", runs) == (colon, None)
    assert list_evaluations(runs) == ["a:b", "quickstart/evaluation"]
    (folder / "answers.jsonl").write_text('{"id": "x"}\n{"id":')
    with pytest.raises(DataError, match="line 2"):
        read_evaluation(folder)
    (folder / "answers.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="`id`"):
        read_evaluation(folder)
    (folder / "evaluation.json").write_text('{"format": "something"}')
    with pytest.raises(DataError, match="not an evaluation"):
        read_evaluation(folder)
