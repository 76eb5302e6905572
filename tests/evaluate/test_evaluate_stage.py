"""The evaluate stage from datasets and checkpoints to files, killed and resumed, with bad rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_house import House, write_rows

from chatwright.errors import DataError, UsageError
from chatwright.evaluate import Evaluation, evaluate_models
from chatwright.evaluate.journal import FILE, Journal
from chatwright.evaluate.stages import STAGES, EvaluateSettings, run_evaluate
from chatwright.records import Conversation, Document, write_dataset

SETTINGS: dict[str, Any] = {
    "models": {"before": "before", "after": "after"},
    "data": "questions",
    "knowledge": "knowledge",
    "max_tokens": 8,
    "passages": 2,
    "text": "pages",
}


def run(
    house: House, name: str, **changes: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    """Run the stage; returns evaluation.json, the answers and the output folder."""
    context = house.context(
        name,
        before=house.before,
        after=house.after,
        questions=changes.pop("questions", house.questions),
        knowledge=house.knowledge,
        pages=house.pages,
    )
    settings = EvaluateSettings.model_validate(SETTINGS | changes)
    run_evaluate(settings, context)
    lines = (context.output / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads((context.output / "evaluation.json").read_text(encoding="utf-8"))
    return found, [json.loads(line) for line in lines], context.output


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found.items() if k not in ("timing", "fingerprint", "stage")}


def test_the_stage_writes_figures_answers_and_lineage(house: House) -> None:
    found, lines, output = run(house, "evaluation")
    assert found["fingerprint"] == "evaluation-fingerprint"
    assert found["recipe"] == "tiny"
    assert list(found["models"]) == ["before", "after"]
    metrics = found["models"]["after"]["metrics"]
    assert {"token_f1", "rouge_l", "citation_right", "refused_right", "perplexity"} <= set(metrics)
    assert metrics["token_f1"]["count"] == 5  # the question without an answer is not compared
    assert metrics["refused_right"]["count"] == 1
    assert metrics["perplexity"]["count"] == 6
    assert metrics["bits_per_byte"]["count"] == 3
    for estimate in metrics.values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    questions = [line for line in lines if "question" in line]
    assert len(questions) == 6 and len(lines) == 9
    # Every figure can be had again from the lines beside it.
    f1 = [q["answers"]["after"]["scores"].get("token_f1") for q in questions]
    mean = sum(v for v in f1 if v is not None) / 5
    assert metrics["token_f1"]["value"] == pytest.approx(mean)
    nll = sum(q["answers"]["after"]["reference_nll"] for q in questions)
    tokens = sum(q["answers"]["after"]["reference_tokens"] for q in questions)
    assert metrics["perplexity"]["value"] == pytest.approx(math.exp(nll / tokens))
    assert {c["metric"] for c in found["comparisons"]} >= {"token_f1", "perplexity"}
    again = Evaluation.from_json(json.loads((output / "evaluation.json").read_text()))
    assert without_times(again.to_json())["models"] == found["models"]
    assert "Token F1" in again.table() and "before" in again.table()


def test_retrieval_finds_the_passage_and_it_is_the_assistants_own_prompt(house: House) -> None:
    _, lines, _ = run(house, "retrieval", text=None, perplexity=False)
    by_question = {q["question"]: q for q in lines}
    commit = by_question["What does commit do?"]
    assert commit["gold"][0] in commit["answers"]["after"]["passages"]
    assert commit["answers"]["after"]["scores"]["gold_shown"] == 1
    chinese = by_question["提交做什么?"]
    assert chinese["answers"]["after"]["scores"]["gold_shown"] == 1
    unanswerable = by_question["Which colours does the engine like?"]
    assert set(unanswerable["answers"]["after"]["scores"]) == {"refused_right", "words"}
    # Its passages are the row's own: a search might find some that do hold an answer.
    assert unanswerable["answers"]["after"]["passages"] == house.rows[-1].meta["passage_ids"]


class _Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is cleaned up after it."""


@pytest.mark.parametrize("after_batches", [0, 1, 3, 7, 10, 14, 20])
def test_killed_and_run_again_it_gives_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch, after_batches: int
) -> None:
    undisturbed, lines, whole = run(house, "undisturbed")
    real = Journal.add
    calls = 0

    def dying(self: Journal, *args: Any) -> None:
        nonlocal calls
        if calls >= after_batches:
            raise _Killed
        calls += 1
        real(self, *args)

    name = f"killed-{after_batches}"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", dying)
        with pytest.raises(_Killed):
            run(house, name)
    scratch = house.workspace.runs / "tiny" / "work" / name / FILE
    written = scratch.read_text(encoding="utf-8") if scratch.exists() else ""
    assert not (house.workspace.runs / "tiny" / name).exists()  # nothing half-written
    found, again, output = run(house, name)
    assert scratch.read_text(encoding="utf-8").startswith(written)  # went on, did not begin anew
    assert len(scratch.read_text(encoding="utf-8").splitlines()) == 2 * (6 + 6 + 3)
    assert again == lines
    assert without_times(found) == without_times(undisturbed)
    assert (output / "answers.jsonl").read_bytes() == (whole / "answers.jsonl").read_bytes()


def test_bad_rows_are_listed_and_never_scored(house: House, tmp_path: Path) -> None:
    good = house.rows

    def broken(name: str, change: Callable[[Conversation], None]) -> Conversation:
        row = replace(good[0], id=name, meta=dict(good[0].meta), messages=list(good[0].messages))
        change(row)
        return row

    bad = [
        broken("no-gold", lambda r: r.meta.pop("gold")),
        broken("no-answer", lambda r: r.meta.pop("answer")),
        broken("empty-answer", lambda r: r.meta.update(answer=" ")),
        broken("no-question", lambda r: r.meta.pop("question")),
        broken("no-turn", lambda r: r.messages.pop()),
        broken("odd", lambda r: r.meta.update(answerable="maybe")),
        good[0],  # twice
    ]
    rows = [bad[0], *good[:2], *bad[1:], *good[2:]]
    found, lines, _ = run(house, "bad", questions=write_rows(tmp_path / "rows", rows), text=None)
    skipped = {s["id"]: s["reason"] for s in found["skipped"]}
    assert set(skipped) == {*(r.id for r in bad[:-1]), good[0].id}
    assert "gold" in skipped["no-gold"] and "answer" in skipped["no-answer"]
    assert "before" in skipped[good[0].id]
    assert [q["id"] for q in lines] == [r.id for r in good]
    clean, _, _ = run(house, "clean", text=None)
    assert found["models"] == clean["models"]


def test_what_does_not_fit_is_skipped_for_every_model(house: House, tmp_path: Path) -> None:
    long = replace(house.rows[0], id="long", meta=dict(house.rows[0].meta))
    long.meta["question"] = "commit " * 2000
    rows = write_rows(tmp_path / "rows", [*house.rows, long])
    found, lines, _ = run(house, "long", questions=rows, text=None)
    assert {s["id"] for s in found["skipped"]} == {"long"}
    assert "too long" in found["skipped"][0]["reason"]
    assert "long" not in {q["id"] for q in lines}
    assert found["models"]["before"]["metrics"]["token_f1"]["count"] == 5


def test_without_knowledge_the_rows_own_passages_are_shown(house: House) -> None:
    found = evaluate_models({"m": house.before}, house.questions, max_tokens=4, perplexity=False)
    first = found.answers[0]
    assert first["answers"]["m"]["passages"] == house.rows[0].meta["passage_ids"]
    assert first["answers"]["m"]["scores"]["gold_shown"] == 1
    assert found.comparisons == []


def test_limit_is_a_stable_choice(house: House) -> None:
    def asked(limit: int, seed: int) -> list[str]:
        options = {"max_tokens": 1, "perplexity": False, "limit": limit, "seed": seed}
        found = evaluate_models({"m": house.before}, house.questions, **options)
        return [line["id"] for line in found.answers]

    assert len(asked(3, 0)) == 3
    assert set(asked(2, 0)) <= set(asked(4, 0))


def test_bits_per_byte_do_not_depend_on_how_the_text_is_cut_into_windows(house: House) -> None:
    whole = evaluate_models({"m": house.before}, text=house.pages, window=512)
    blocks = evaluate_models({"m": house.before}, text=house.pages, window=16)
    sliding = evaluate_models({"m": house.before}, text=house.pages, window=16, overlap=15)
    one, two, three = (e.models[0].metrics["bits_per_byte"].value for e in (whole, blocks, sliding))
    assert one == pytest.approx(two, rel=0.05) and one == pytest.approx(three, rel=0.05)
    assert one != two  # less context is another number
    # A model that knows nothing needs about log2(vocabulary) bits a token.
    assert 1 < one < 16


def test_mistakes_are_named(house: House, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model"):
        evaluate_models({}, house.questions)
    with pytest.raises(UsageError, match="`data`"):
        evaluate_models({"m": house.before})
    with pytest.raises(DataError, match="needs questions"):
        evaluate_models({"m": house.before}, house.pages)
    with pytest.raises(DataError, match="need texts"):
        evaluate_models({"m": house.before}, text=house.questions)
    with pytest.raises(DataError, match="no search index"):
        evaluate_models({"m": house.before}, house.questions, knowledge=house.pages)
    empty = tmp_path / "empty"
    with write_dataset(empty, Conversation, stage="s", fingerprint="f", settings={}):
        pass
    with pytest.raises(DataError, match="no row can be asked"):
        evaluate_models({"m": house.before}, empty)
    blank = tmp_path / "blank"
    with write_dataset(blank, Document, stage="s", fingerprint="f", settings={}) as out:
        out.write(Document("a", " \n", "u", "s"))
    with pytest.raises(DataError, match="no text"):
        evaluate_models({"m": house.before}, text=blank)
    for wrong in ({"data": None, "text": None}, {"data": None}, {"overlap": 2048}, {"models": {}}):
        with pytest.raises(ValueError):
            EvaluateSettings.model_validate(SETTINGS | wrong)


def test_models_are_references_of_the_stage() -> None:
    kind = next(k for k in STAGES if k.kind == "evaluate")
    settings = kind.settings.model_validate(SETTINGS)
    assert settings.referenced() == ["before", "after", "questions", "knowledge", "pages"]
