"""Tasks put to two models: figures, averages, what is kept for the next time, what is skipped."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_tasks import QUESTIONS, QUIZ, make_task, write_task
from tiny_house import House

from chatwright.errors import DataError, UsageError
from chatwright.evaluate import Evaluation, evaluate_models
from chatwright.evaluate.answers import AnswerCache
from chatwright.evaluate.gates import GateError
from chatwright.evaluate.kinds import Said, options
from chatwright.evaluate.kinds import text as text_kind
from chatwright.evaluate.results import TaskRecord
from chatwright.evaluate.stages import EvaluateSettings, named_outside, run_evaluate
from chatwright.evaluate.suite import Suite, figures
from chatwright.generate import Engine
from chatwright.model import ModelConfig, Transformer, load_model, save_model

TEXTS = [
    {"text": "Commit writes all pending changes.", "label": "en"},
    {"text": "提交把修改写入数据库。", "label": "zh"},
    {"text": "An engine keeps a pool.", "label": "en"},
]
MANY = [
    {"q": f"What is number {n} 号?", "options": [f"it is {n}", f"{n + 1} it is"], "right": n % 2}
    for n in range(30)
]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A task of each kind that asks a model, and two averages over some of them."""
    folder = tmp_path_factory.mktemp("tasks")
    cloze = [{"context": "Commit writes all pending", "continuation": "changes"}]
    specs: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "quiz": (QUESTIONS, {**QUIZ, "metrics": ["acc", "acc_norm", "ece"], "title": "Quiz"}),
        "many": (MANY, {**QUIZ, "metrics": ["acc"]}),
        "corrected": (  # of several lengths: scored in several batches
            [row | {"q": row["q"] + " number" * (n % 3 * 20)} for n, row in enumerate(MANY)],
            {**QUIZ, "metrics": ["acc_pmi"], "unconditional": "Answer:"},
        ),
        "cloze": (
            cloze * 2,
            {"kind": "cloze", "prompt": "{{ context }}", "chance": 0.0},
        ),
        "texts": (TEXTS, {"kind": "text", "language": "zh"}),
        "language": (
            TEXTS,
            {
                "kind": "classification",
                "prompt": "{{ text }} Language:",
                "labels": {"en": "English", "zh": "中文"},
                "fields": {"gold": "label"},
            },
        ),
        "prefer": (
            [{"chosen": "a good answer", "rejected": "a bad one"}],
            {"kind": "preference", "prompt": "", "metrics": ["acc"]},
        ),
        "write": (
            [
                {"prompt": "Name a pool:", "references": ["five"]},
                {"prompt": "说:", "references": "好"},
            ],
            {"kind": "generation", "max_tokens": 5},
        ),
    }
    for name, (rows, spec) in specs.items():
        write_task(folder, rows, name=name, **spec)
    averages = {"plain": ("quiz", "many", "cloze"), "centred": ("quiz.yaml", "language")}
    for name, members in averages.items():
        text = json.dumps(
            {"name": name, "kind": "average", "members": members, "centred": name == "centred"}
        )
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return {path.stem: str(path) for path in folder.glob("*.yaml")}


ALL = (
    "quiz",
    "many",
    "corrected",
    "cloze",
    "texts",
    "language",
    "prefer",
    "write",
    "plain",
    "centred",
)


def evaluate(house: House, tasks: dict[str, str], *names: str, **options: Any) -> Evaluation:
    models = options.pop("models", {"before": house.before, "after": house.after})
    return evaluate_models(models, tasks=[tasks[name] for name in names], **options)


@pytest.fixture(scope="module")
def whole(house: House, tasks: dict[str, str]) -> Evaluation:
    return evaluate(house, tasks, *ALL)


def record(evaluation: Evaluation, task: str) -> TaskRecord:
    return next(t for t in evaluation.tasks if t.name == task)


def value(evaluation: Evaluation, model: str, metric: str) -> float:
    return next(m for m in evaluation.models if m.name == model).metrics[metric].value


def without_times(evaluation: Evaluation) -> dict[str, Any]:
    return {k: v for k, v in evaluation.to_json().items() if k != "timing"}


def test_every_figure_can_be_had_again_from_the_answers(whole: Evaluation) -> None:
    checked = 0
    for metric in whole.shown:
        task, _, short = metric.name.partition("/")
        if short == "average":
            continue
        for model in ("before", "after"):
            rows = [
                line["answers"][model]["values"][short]
                for line in whole.answers
                if line["task"] == task
            ]
            sums = [sum(column) for column in zip(*rows, strict=True)]
            found = value(whole, model, metric.name)
            if metric.statistic in ("ratio", "exp_ratio"):
                expected = sums[0] / sums[1]
                expected = math.exp(expected) if metric.statistic == "exp_ratio" else expected
                assert found == pytest.approx(expected), metric.name
                checked += 1
    assert checked >= 2 * 12
    assert whole.items == len(whole.answers) == 4 + 30 + 30 + 2 + 3 + 3 + 1 + 2
    line = next(x for x in whole.answers if x["id"] == "quiz/2")
    assert line["prompt"] == "Question: 提交做什么?\nAnswer:"
    assert line["choices"] == ["把修改写入数据库", "什么也不做"] and line["gold"] == 0
    assert line["where"] == "quiz.jsonl#row=3"
    right = line["answers"]["after"]["choice"] == 0
    assert line["answers"]["after"]["scores"]["acc"] == float(right)


def test_averages_by_hand(whole: Evaluation) -> None:
    for model in ("before", "after"):
        quiz, many, cloze, language = (
            value(whole, model, name)
            for name in ("quiz/acc", "many/acc", "cloze/acc", "language/accuracy")
        )
        assert value(whole, model, "plain/average") == pytest.approx((quiz + many + cloze) / 3)
        chance = (1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4
        centred = ((quiz - chance) / (1 - chance) + (language - 0.5) / 0.5) / 2
        assert value(whole, model, "centred/average") == pytest.approx(centred)
    assert record(whole, "centred").members == ["quiz", "language"]
    assert record(whole, "centred").items == 4 + 3
    assert record(whole, "centred").chance == 0.0
    assert whole.metric("plain/average").unit == "share"
    # Both models were compared on it too.
    assert {"plain/average", "centred/average"} <= {c.metric for c in whole.comparisons}


def test_what_a_guesser_gets(whole: Evaluation) -> None:
    chances = {task.name: task.chance for task in whole.tasks}
    assert chances["quiz"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert chances["many"] == chances["language"] == chances["prefer"] == 0.5
    assert chances["cloze"] == 0.0  # as the task says
    assert chances["write"] is None and chances["texts"] is None


def test_a_result_survives_json(whole: Evaluation) -> None:
    text = json.dumps(whole.to_json(), ensure_ascii=False)
    again = Evaluation.from_json(json.loads(text))
    assert again.to_json() == json.loads(text)
    assert again.table() == whole.table()
    assert "Quiz: accuracy, per byte" in again.table()
    assert again.metric("quiz/ece").task == "quiz"


def test_the_same_seed_gives_the_same(house: House, tasks: dict[str, str]) -> None:
    names = ("quiz", "write", "texts", "language")
    first, second = (evaluate(house, tasks, *names, seed=4) for _ in range(2))
    assert without_times(first) == without_times(second)
    assert first.answers == second.answers


def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the items that are put to a model from now on."""
    counts: list[int] = []
    real_score, real_submit = options.score_options, Engine.submit

    def score(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for batch, scores in real_score(*args, **kwargs):
            counts.append(len(batch))
            yield batch, scores

    def submit(self: Engine, *args: Any, **kwargs: Any) -> Any:
        counts.append(1)
        return real_submit(self, *args, **kwargs)

    monkeypatch.setattr(options, "score_options", score)
    monkeypatch.setattr(Engine, "submit", submit)
    return counts


def test_what_was_answered_is_not_asked_again(
    house: House, tasks: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = asked(monkeypatch)
    cache = tmp_path / "kept" / "answers.db"
    names = ("quiz", "many", "write", "plain", "cloze")
    first = evaluate(house, tasks, *names, cache=cache)
    assert sum(counts) == 2 * (4 + 30 + 2 + 2)
    counts.clear()
    second = evaluate(house, tasks, *names, cache=cache)
    assert not counts
    assert without_times(second) == without_times(first) and second.answers == first.answers
    # Fewer items, another title or metric: nothing new is asked. Another prompt: all of it is.
    evaluate(house, tasks, "many", cache=cache, task_limit=7)
    titled = json.loads(Path(tasks["quiz"]).read_text()) | {"title": "Other", "metrics": ["acc"]}
    other = Path(tasks["quiz"]).with_name("titled.yaml")
    other.write_text(json.dumps(titled))
    evaluate(house, {"titled": str(other)}, "titled", cache=cache)
    assert not counts
    other.write_text(json.dumps(titled | {"prompt": "Q: {{ q }}\nA:"}))
    evaluate(house, {"titled": str(other)}, "titled", cache=cache)
    assert sum(counts) == 2 * 4
    counts.clear()
    evaluate(house, tasks, "write", cache=cache, seed=1)  # greedy: chance has no part in it
    assert not counts
    drawn = json.loads(Path(tasks["write"]).read_text()) | {"temperature": 1.0}
    other.write_text(json.dumps(drawn | {"name": "drawn"}))
    for seed, times in ((1, 1), (1, 1), (2, 2)):
        evaluate(house, {"drawn": str(other)}, "drawn", cache=cache, seed=seed)
        assert sum(counts) == 2 * 2 * times


def test_another_model_of_the_same_name_is_asked(
    house: House, tasks: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = asked(monkeypatch)
    cache = tmp_path / "answers.db"
    one = evaluate(house, tasks, "quiz", cache=cache, models={"m": house.before})
    other = evaluate(house, tasks, "quiz", cache=cache, models={"m": house.after})
    assert sum(counts) == 8
    assert [x["answers"]["m"] for x in one.answers] != [x["answers"]["m"] for x in other.answers]


class _Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is cleaned up after it."""


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 6, 9, 12])
def test_killed_and_run_again_it_gives_the_same(
    house: House,
    tasks: dict[str, str],
    whole: Evaluation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    real = AnswerCache.add
    calls = 0

    def dying(self: AnswerCache, answers: Any) -> None:
        nonlocal calls
        if calls >= after:
            raise _Killed
        calls += 1
        real(self, answers)

    with monkeypatch.context() as patch:
        patch.setattr(AnswerCache, "add", dying)
        with pytest.raises(_Killed):
            evaluate(house, tasks, *ALL, scratch=tmp_path)
    counts = asked(monkeypatch)
    again = evaluate(house, tasks, *ALL, scratch=tmp_path)
    assert without_times(again) == without_times(whole)
    assert again.answers == whole.answers
    if after >= 4:  # what was kept was not asked again
        assert sum(counts) < 2 * (4 + 30 + 30 + 60 + 2 + 3 + 1 + 2)


def test_what_is_missing_is_asked_in_the_batches_of_the_whole(
    house: House, tasks: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product of another shape rounds otherwise: a resumed run must make the same ones."""
    batches: list[tuple[int, ...]] = []
    real = options.score_options

    def score(model: Any, rows: Any, **how: Any) -> Iterator[Any]:
        for batch, scores in real(model, rows, **how):
            batches.append((len(rows), *batch))
            yield batch, scores

    monkeypatch.setattr(options, "score_options", score)
    cache = tmp_path / "answers.db"
    evaluate(house, tasks, "corrected", models={"m": house.before}, cache=cache)
    whole = set(batches)
    assert len(whole) > 3
    with AnswerCache(cache) as kept:
        keys = [key for (key,) in kept._db.execute("SELECT key FROM answers ORDER BY key LIMIT 2")]
        for key in keys:
            kept._db.execute("DELETE FROM answers WHERE key = ?", (key,))
    batches.clear()
    evaluate(house, tasks, "corrected", models={"m": house.before}, cache=cache)
    assert batches and set(batches) < whole


def test_texts_too_are_measured_in_the_batches_of_the_whole(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"Number {n} 号. " * (1 + n)} for n in range(40)]
    tasks = {"long": str(write_task(tmp_path, rows, name="long", kind="text", window=32))}
    batches: list[tuple[int, ...]] = []
    real = text_kind.sequence_likelihoods

    def measure(model: Any, sequences: Any) -> Any:
        batches.append(tuple(len(s.tokens) for s in sequences))
        return real(model, sequences)

    monkeypatch.setattr(text_kind, "sequence_likelihoods", measure)
    cache = tmp_path / "answers.db"
    first = evaluate(house, tasks, "long", models={"m": house.before}, cache=cache)
    whole = list(batches)
    with AnswerCache(cache) as kept:
        kept._db.execute("DELETE FROM answers WHERE key = (SELECT min(key) FROM answers)")
    batches.clear()
    again = evaluate(house, tasks, "long", models={"m": house.before}, cache=cache)
    assert 0 < len(batches) < len(whole) and set(batches) <= set(whole)
    assert again.answers == first.answers and len(first.answers) == 40
    batches.clear()
    evaluate(house, tasks, "long", models={"m": house.before}, cache=cache)
    assert not batches


def test_what_one_model_cannot_be_asked_is_scored_for_none(
    house: House, tmp_path: Path, whole: Evaluation
) -> None:
    _, tokenizer = load_model(house.before)
    config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=48)
    short = save_model(Transformer.random(config, seed=2), tokenizer, tmp_path / "short")
    rows = [*QUESTIONS, QUESTIONS[0] | {"q": "commit " * 40}]
    tasks = {"mine": str(write_task(tmp_path, rows, **QUIZ, metrics=["acc"]))}
    models = {"long": house.before, "short": short}
    both = evaluate(house, tasks, "mine", models=models)
    assert [(s.id, s.reason.partition(":")[0]) for s in both.skipped] == [("mine/4", "short")]
    assert {line["id"] for line in both.answers} == {f"mine/{n}" for n in range(4)}
    for model in both.models:
        assert model.metrics["mine/acc"].count == 4
    assert record(both, "mine").items == 4
    alone = evaluate(house, tasks, "mine", models={"long": house.before})
    assert alone.models[0].metrics["mine/acc"].count == 5
    only = {"mine": str(write_task(tmp_path, rows[4:], **QUIZ, metrics=["acc", "ece"]))}
    with pytest.raises(DataError, match="short could be asked nothing of mine"):
        evaluate(house, only, "mine", models=models)


def test_bad_rows_are_listed_with_their_place(house: House, tmp_path: Path) -> None:
    rows: list[Any] = [*QUESTIONS, {"q": "No gold?", "options": ["a", "b"], "right": None}]
    found = evaluate(house, {"mine": str(write_task(tmp_path, rows, **QUIZ))}, "mine")
    ((skipped),) = found.skipped
    assert skipped.id == "mine: mine.jsonl#row=5" and "gold" in skipped.reason
    assert "1 not scored" in found.table()


def test_a_limit_is_a_subset_and_the_seed_chooses(house: House, tasks: dict[str, str]) -> None:
    def ids(**how: Any) -> set[str]:
        found = evaluate(house, tasks, "many", models={"m": house.before}, **how)
        return {line["id"] for line in found.answers}

    few, more, other = ids(task_limit=5), ids(task_limit=12), ids(task_limit=5, seed=1)
    assert len(few) == len(other) == 5 and few < more
    assert few != other


def test_shots_and_chat_stand_in_for_the_tasks_own(house: House, tasks: dict[str, str]) -> None:
    found = evaluate(house, tasks, "quiz", models={"m": house.before}, shots=2)
    assert record(found, "quiz").shots == 2 and len(found.answers) == 2
    text = evaluate(house, tasks, "texts", models={"m": house.before}, shots=2, chat=True)
    assert record(text, "texts").shots == 0 and len(text.answers) == 3  # there is nothing to show
    plain = evaluate(house, tasks, "quiz", models={"m": house.before})
    chat = evaluate(house, tasks, "quiz", models={"m": house.before}, chat=True)
    assert len({record(e, "quiz").digest for e in (found, plain, chat)}) == 3


def test_what_is_wrong_with_a_task_is_said_before_a_model_is_loaded(
    house: House, tasks: dict[str, str], tmp_path: Path
) -> None:
    nowhere = {"m": tmp_path / "no-model"}
    wrong = write_task(tmp_path, QUESTIONS, name="wrong", **QUIZ, metrics=["f1"])
    with pytest.raises(UsageError, match="no metric 'f1'"):
        evaluate(house, {"wrong": str(wrong)}, "wrong", models=nowhere)
    with pytest.raises(UsageError, match="no task called 'quizz'"):
        evaluate(house, {"quizz": "quizz"}, "quizz", models=nowhere)
    with pytest.raises(DataError, match="5 worked examples are wanted"):
        evaluate(house, tasks, "quiz", models=nowhere, shots=5)


def test_a_member_is_found_by_its_file_whatever_its_name(house: House, tmp_path: Path) -> None:
    path = write_task(tmp_path / "parts", QUESTIONS, **QUIZ, metrics=["acc"])
    path.rename(path.with_name("renamed.yaml"))
    average = {"name": "all", "kind": "average", "members": ["parts/renamed.yaml"]}
    (tmp_path / "all.yaml").write_text(json.dumps(average))
    found = evaluate(house, {"all": str(tmp_path / "all.yaml")}, "all", models={"m": house.before})
    assert value(found, "m", "all/average") == value(found, "m", "mine/acc")
    assert record(found, "all").members == ["mine"]


def test_questions_texts_and_tasks_in_one_evaluation(house: House, tasks: dict[str, str]) -> None:
    found = evaluate_models(
        {"before": house.before, "after": house.after},
        house.questions,
        text=house.pages,
        tasks=[tasks["quiz"]],
        max_tokens=4,
    )
    names = {metric.name for metric in found.shown}
    assert {"token_f1", "bits_per_byte", "perplexity", "quiz/acc"} <= names
    assert found.items == 6 + 3 + 4
    assert value(found, "after", "quiz/acc") == value(
        evaluate(house, tasks, "quiz"), "after", "quiz/acc"
    )


def test_models_that_could_be_asked_nothing_in_common_are_not_compared(tmp_path: Path) -> None:
    task = make_task(tmp_path, QUESTIONS, **QUIZ)
    answer = {"nll": [1.0, 2.0], "tokens": [1, 1]}
    said = {
        model: {"mine": Said(answers={f"mine/{n}": answer})} for model, n in (("a", 0), ("b", 2))
    }
    with pytest.raises(DataError, match="no item of mine could be put to all models"):
        figures(Suite(tasks=[task], said=said, notes={"a": {}, "b": {}}))


def gated(house: House, tasks: dict[str, str], name: str, **gates: str) -> Path:
    """The stage of a recipe with these gates; returns where its result goes."""
    context = house.context(
        name, before=house.before, after=house.after, questions=house.questions, pages=house.pages
    )
    shutil.rmtree(context.scratch, ignore_errors=True)  # as a build does for other settings
    context.scratch.mkdir(parents=True)
    settings = EvaluateSettings.model_validate(
        {
            "models": {"before": "before", "after": "after"},
            "data": "questions",
            "text": "pages",
            "tasks": [tasks["quiz"], tasks["write"]],
            "max_tokens": 4,
            "gates": gates,
        }
    )
    run_evaluate(settings, context)
    return context.output


def test_a_lowered_gate_asks_nothing_again(
    house: House, tasks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = gated(house, tasks, "undisturbed", quiz=">= 0")
    work = house.workspace.runs / "tiny" / "work"
    with pytest.raises(GateError, match="1 of 1 gates do not hold") as caught:
        gated(house, tasks, "gated", quiz="> 1")
    failed = work / "gated~failed"
    assert caught.value.where == str(failed / "result")
    assert not (house.workspace.runs / "tiny" / "gated").exists()
    counts = asked(monkeypatch)
    with pytest.raises(UsageError, match="'quizz' names nothing that was measured"):
        gated(house, tasks, "gated", quizz=">= 0")
    with pytest.raises(GateError):  # and again, and the other way round
        gated(house, tasks, "gated", quiz="< 0")
    assert (failed / "result" / "answers.jsonl").exists()
    output = gated(house, tasks, "gated", quiz=">= 0")
    assert not counts and not failed.exists()
    assert (output / "answers.jsonl").read_bytes() == (undisturbed / "answers.jsonl").read_bytes()
    # What is asked is something else: nothing is taken over.
    with pytest.raises(GateError):
        gated(house, tasks, "gated", quiz="> 1")
    counts.clear()
    gated(house, {**tasks, "write": tasks["cloze"]}, "gated", quiz=">= 0")
    assert sum(counts) == 2 * (6 + 4 + 2)
    assert not failed.exists()


def test_results_of_other_recipes_are_part_of_what_a_result_depends_on(
    house: House, tasks: dict[str, str]
) -> None:
    settings = EvaluateSettings(
        models={"m": "sft"},
        data="tiny/questions",
        knowledge="tiny/knowledge",
        tasks=[tasks["quiz"]],
    )
    found = named_outside(settings, house.workspace)
    assert {"quiz", "result tiny/questions", "result tiny/knowledge"} <= found.keys()
    assert found["result tiny/questions"] == "q"


def test_a_result_depends_on_the_items_and_not_only_on_the_tasks_file(
    house: House, tmp_path: Path
) -> None:
    def digests(**more: Any) -> dict[str, str]:
        path = write_task(tmp_path, QUESTIONS, **{**QUIZ, **more})
        return named_outside(
            EvaluateSettings(models={"m": "m"}, tasks=[str(path)]), house.workspace
        )

    first = digests()
    assert digests() == first and digests(title="Other") != first
    rows = [*QUESTIONS, QUESTIONS[0]]
    path = write_task(tmp_path, rows, **QUIZ)
    settings = EvaluateSettings(models={"m": "m"}, tasks=[str(path)])
    assert named_outside(settings, house.workspace) != first
    # A folder of files: those that `files` chooses count, under their names.
    (tmp_path / "exams" / "val").mkdir(parents=True)
    (tmp_path / "exams" / "val" / "law.csv").write_text("question,A,B,answer\n?,1,2,A\n")
    (tmp_path / "exams" / "notes.txt").write_text("1")
    sources = [{"source": "nowhere"}, {"source": "exams", "files": ["val/*.csv"]}]
    whole = digests(sources=sources)
    (tmp_path / "exams" / "notes.txt").write_text("2")
    assert digests(sources=sources) == whole
    (tmp_path / "exams" / "val" / "law.csv").rename(tmp_path / "exams" / "val" / "art.csv")
    assert digests(sources=sources) != whole
