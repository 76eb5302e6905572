"""Every kind of task: what it asks a model, and the values that become of the answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tasks import (
    QUESTIONS,
    QUIZ,
    ScriptedEngine,
    bench,
    make_task,
    nats,
    tiny_engine,
    token_nats,
)
from tiny_house import House

from chatwright.errors import DataError, ModelError, UsageError
from chatwright.evaluate.answers import AnswerCache
from chatwright.evaluate.kinds import KINDS, Scored
from chatwright.evaluate.kinds.options import encode_pairs
from chatwright.evaluate.sandbox import check_sandbox
from chatwright.evaluate.suite import Suite, run_suite
from chatwright.evaluate.tasks import Task
from chatwright.generate import Engine

CLOSE = {"rel": 1e-4, "abs": 1e-4}


@pytest.fixture(scope="module")
def engine(house: House) -> Iterator[Engine]:
    with tiny_engine(house.before) as found:
        yield found


def ask(engine: Engine, task: Task, **more: Any) -> tuple[Mapping[str, dict[str, Any]], Scored]:
    kind = KINDS[task.spec.kind]
    said = kind.run(bench(engine, **more), task)
    assert not said.skipped
    assert set(said.answers) == {item.id for item in task.items}
    return said.answers, kind.score(task, said.answers)


def column(scored: Scored, metric: str) -> list[float]:
    """The values of a metric that is a mean, item by item."""
    assert all(values[1] == 1.0 for values in scored.values[metric].values())
    return [values[0] for values in scored.values[metric].values()]


def test_choices_by_hand(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, QUESTIONS, **QUIZ, metrics=["acc", "acc_norm", "acc_token", "gap"])
    answers, scored = ask(engine, task)
    by: dict[str, list[float]] = {name: [] for name in task.spec.metrics}
    for row, item in zip(QUESTIONS, task.items, strict=True):
        found = [
            nats(engine, f"Question: {row['q']}\nAnswer:", f" {choice}") for choice in item.choices
        ]
        answer = answers[item.id]
        assert answer["nll"] == pytest.approx([n for n, _ in found], **CLOSE)
        assert answer["tokens"] == [count for _, count in found]
        lengths = [len(choice.encode()) for choice in item.choices]
        per_byte = [-n / size for (n, _), size in zip(found, lengths, strict=True)]
        per_token = [-n / count for n, count in found]
        for name, scores in (
            ("acc", [-n for n, _ in found]),
            ("acc_norm", per_byte),
            ("acc_token", per_token),
        ):
            by[name].append(float(scores.index(max(scores)) == item.gold))
        by["gap"].append(found[1][0] - found[0][0])
        line = scored.lines[item.id]
        assert line["logprobs"] == [-n for n in answer["nll"]]
        assert line["choice"] == max(range(len(found)), key=lambda i: -found[i][0])
    for name, values in by.items():
        assert column(scored, name) == pytest.approx(values, **CLOSE), name


def test_lettered_choices_and_worked_examples_stand_before_each(
    engine: Engine, tmp_path: Path
) -> None:
    prompt = (
        "{{ q }}{% for l in choices | letters %} {{ l }}.{{ choices[loop.index0] }}{% endfor %}"
    )
    task = make_task(
        tmp_path,
        QUESTIONS,
        kind="choice",
        prompt=prompt,
        answer=" {{ letter }}",
        fields=QUIZ["fields"],
        shots=2,
        metrics=["acc"],
    )
    answers, _ = ask(engine, task)
    assert len(task.items) == 2 and task.examples[""].count("\n\n") == 2
    for item in task.items:
        found = [nats(engine, task.before(item) + item.prompt, f" {x}")[0] for x in "ABC"]
        assert answers[item.id]["nll"] == pytest.approx(found[: len(item.choices)], **CLOSE)


def test_each_choice_has_its_own_context(engine: Engine, tmp_path: Path) -> None:
    """As in Winogrande: the same ending after two beginnings (partial evaluation)."""
    rows = [
        {"begin": ["The pool fed the engine", "The page fed the engine"], "end": "five", "y": 0},
        {
            "begin": ["The pool fed the engine", "The page fed the engine"],
            "end": "ten pages",
            "y": 0,
        },
    ]
    task = make_task(
        tmp_path,
        rows,
        kind="choice",
        prompt="{{ choice }}",
        answer=" {{ end }}",
        fields={"choices": "begin", "gold": "y"},
        metrics=["acc", "acc_norm"],
    )
    cache = AnswerCache(None)
    answers, scored = ask(engine, task, cache=cache)
    for row, item in zip(rows, task.items, strict=True):
        found = [nats(engine, begin, f" {row['end']}")[0] for begin in row["begin"]]
        assert answers[item.id]["nll"] == pytest.approx(found, **CLOSE)
        assert scored.values["acc"][item.id][0] == float(found[0] < found[1])
    # Items that differ in nothing but the ending are two items, also to the next run.
    again, _ = ask(engine, task, cache=cache)
    assert again == answers
    assert answers["mine/0"] != answers["mine/1"]


def test_the_correction_takes_away_what_a_choice_has_anyhow(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, QUESTIONS, **QUIZ, unconditional="Answer:")
    answers, scored = ask(engine, task)
    assert [m.name for m in KINDS["choice"].metrics(task.spec)][-1] == "acc_pmi"
    for item in task.items:
        free = [nats(engine, "Answer:", f" {choice}")[0] for choice in item.choices]
        assert answers[item.id]["free"] == pytest.approx(free, **CLOSE)
        gain = [f - n for f, n in zip(free, answers[item.id]["nll"], strict=True)]
        right = float(gain.index(max(gain)) == item.gold)
        assert scored.values["acc_pmi"][item.id] == (right, 1.0)


def test_calibration_pads_items_with_fewer_choices(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, QUESTIONS, **QUIZ, metrics=["acc_norm", "ece"])
    answers, scored = ask(engine, task)
    sums = [0.0] * 45
    for item in task.items:
        likely = [-n for n in answers[item.id]["nll"]]  # of whole texts: per byte is no probability
        total = sum(math.exp(x) for x in likely)
        sure = max(math.exp(x) / total for x in likely)
        place = math.ceil(sure * 15) - 1
        right = float(likely.index(max(likely)) == item.gold)
        for column_, value in enumerate((1.0, sure, right)):
            sums[3 * place + column_] += value
    found = [sum(c) for c in zip(*scored.values["ece"].values(), strict=True)]
    assert found == pytest.approx(sums, **CLOSE)


def test_cloze_by_hand(engine: Engine, tmp_path: Path) -> None:
    told = ""
    for word in ("Commit", "Session", "Engine", "Dispose", "提交", "The pool", "会话", "Five"):
        context = f"{word} writes"
        (likeliest,) = engine.generate([context], _greedy(1))
        told = engine.tokenizer.decode(likeliest.token_ids)
        if parted(engine, context, told)[1] == likeliest.token_ids:  # no part of a character
            break
    else:
        pytest.fail("the model says nothing that can be written down")
    rows = [
        {"context": context, "continuation": "database"},
        {"context": context, "continuation": told},
    ]
    task = make_task(
        tmp_path, rows, kind="cloze", prompt="{{ context }}", answer="{{ continuation }}"
    )
    answers, scored = ask(engine, task)
    assert column(scored, "acc") == [float(told == "database"), 1.0]
    for row, item in zip(rows, task.items, strict=True):
        nll, _ = nats(engine, context, row["continuation"])
        assert answers[item.id]["nll"] == pytest.approx([nll], **CLOSE)
        assert scored.values["perplexity"][item.id] == pytest.approx((nll, 1.0), **CLOSE)
    # With no template for the answer, a space goes before it.
    spaced = make_task(tmp_path, rows[:1], kind="cloze", prompt="{{ context }}")
    answers, _ = ask(engine, spaced)
    assert answers["mine/0"]["nll"][0] == pytest.approx(
        nats(engine, context, " database")[0], **CLOSE
    )


def test_classification_by_hand(engine: Engine, tmp_path: Path) -> None:
    labels = {"0": "否", "1": "是", "2": "也许"}
    rows = [
        {"text": "会话保存已经加载的对象", "label": 0},
        {"text": "Dispose closes it", "label": 2},
        {"text": "提交", "label": "1"},
        {"text": "An engine keeps a pool", "label": 0},
    ]
    task = make_task(
        tmp_path,
        rows,
        kind="classification",
        prompt="{{ text }} 答案:",
        answer="{{ choice }}",
        fields={"gold": "label"},
        labels=labels,
        metrics=["accuracy", "macro_f1", "f1[1]"],
    )
    _, scored = ask(engine, task)
    chosen = []
    for row in rows:
        found = [nats(engine, f"{row['text']} 答案:", word)[0] for word in labels.values()]
        chosen.append(found.index(min(found)))
    gold = [int(row["label"]) for row in rows]
    assert [scored.lines[i.id]["choice"] for i in task.items] == chosen
    assert column(scored, "accuracy") == [float(a == b) for a, b in zip(chosen, gold, strict=True)]
    counts = [sum(c) for c in zip(*scored.values["f1[1]"].values(), strict=True)]
    assert counts == [
        sum(c == g == 1 for c, g in zip(chosen, gold, strict=True)),
        sum(c == 1 != g for c, g in zip(chosen, gold, strict=True)),
        sum(g == 1 != c for c, g in zip(chosen, gold, strict=True)),
    ]


def test_preference_by_hand(engine: Engine, tmp_path: Path) -> None:
    rows = [
        {"chosen": "The pool keeps five connections.", "rejected": "The pool keeps five cats."},
        {"chosen": "提交写回数据库。", "rejected": "提交写回天空。"},
    ]
    task = make_task(
        tmp_path, rows, kind="preference", prompt="", metrics=["acc", "stereotype", "gap"]
    )
    _, scored = ask(engine, task)
    for row, item in zip(rows, task.items, strict=True):
        first, second = (nats(engine, "", row[key])[0] for key in ("chosen", "rejected"))
        assert scored.values["gap"][item.id][0] == pytest.approx(second - first, **CLOSE)
        for name in ("acc", "stereotype"):
            assert scored.values[name][item.id][0] == float(first < second)
    same = {"nll": [2.0, 2.0], "tokens": [1, 1]}
    tied = KINDS["preference"].score(task, {item.id: same for item in task.items})
    assert column(tied, "stereotype") == [0.5, 0.5]  # neither is likelier


def test_chat_puts_the_prompt_into_the_template(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, QUESTIONS[:2], **QUIZ, chat=True, metrics=["acc"])
    answers, _ = ask(engine, task)
    for item in task.items:
        before = engine.tokenizer.chat([{"role": "user", "content": item.prompt}])
        found = [
            token_nats(engine, before, engine.tokenizer.encode(choice)) for choice in item.choices
        ]
        assert answers[item.id]["nll"] == pytest.approx([n for n, _ in found], **CLOSE)


def test_texts_by_hand(engine: Engine, tmp_path: Path) -> None:
    rows = [{"text": "Commit ends the transaction. " * 6}, {"text": "会话保存对象,提交写回。"}]
    task = make_task(tmp_path, rows, kind="text", window=16)
    _, scored = ask(engine, task)
    start = engine.tokenizer.end_of_text_id
    assert start is not None
    for row, item in zip(rows, task.items, strict=True):
        tokens = engine.tokenizer.encode(row["text"])
        whole = [start, *tokens]
        nll = 0.0
        for at in range(0, len(tokens), 15):  # a window's first token was counted in the one before
            part = whole[at : at + 16]
            nll += token_nats(engine, part[:1], part[1:])[0]
        assert scored.values["bits_per_byte"][item.id] == pytest.approx(
            (nll / math.log(2), len(row["text"].encode())), **CLOSE
        )
        assert scored.values["perplexity"][item.id] == pytest.approx((nll, len(tokens)), **CLOSE)
    words = [scored.values["word_perplexity"][item.id][1] for item in task.items]
    assert words[0] == 24 and 4 <= words[1] <= 10  # Chinese words are found by a segmenter


def test_an_empty_text_is_listed(tmp_path: Path) -> None:
    task = make_task(tmp_path, [{"text": "one"}, {"text": " "}, {"text": ""}], kind="text")
    assert len(task.items) == 1
    assert [why for _, why in task.skipped] == ["the text is empty"] * 2


# What lm-evaluation-harness does (`TemplateLM._encode_pair`), written down once more.
def parted(engine: Engine, context: str, continuation: str) -> tuple[list[int], list[int]]:
    encode = engine.tokenizer.encode
    if context == "":
        start = engine.tokenizer.bos_id
        start = engine.tokenizer.end_of_text_id if start is None else start
        assert start is not None
        return [start], encode(continuation)
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces > 0:
        continuation = context[-n_spaces:] + continuation
        context = context[:-n_spaces]
    whole, before = encode(context + continuation), encode(context)
    return before, whole[len(before) :]


texts = st.text("ab \n会。", max_size=12)


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(texts, texts.filter(bool)), min_size=1, max_size=4))
def test_context_and_continuation_are_parted_as_the_harness_does(
    engine: Engine, pairs: list[tuple[str, str]]
) -> None:
    pairs = [(c, a) for c, a in pairs if c == "" or c.strip()]  # the harness has no blank contexts
    (row,) = encode_pairs(engine.tokenizer, [pairs])
    assert [(list(c), list(a)) for c, a in row] == [parted(engine, c, a) for c, a in pairs]


def test_a_context_of_blanks_is_none(engine: Engine) -> None:
    ((pair,),) = encode_pairs(engine.tokenizer, [[("  ", "five")]])
    assert pair == ([engine.tokenizer.end_of_text_id], engine.tokenizer.encode("  five"))


def test_what_does_not_fit_is_skipped_with_the_reason(house: House, tmp_path: Path) -> None:
    rows = [*QUESTIONS, QUESTIONS[0] | {"q": "commit " * 60}]
    with tiny_engine(house.before, context=64) as short:
        task = make_task(tmp_path, rows, **QUIZ)
        said = KINDS["choice"].run(bench(short), task)
        assert len(said.answers) == 4
        ((item, reason),) = said.skipped
        assert item == "mine/4"
        assert "tokens" in reason and "context is 64" in reason
        made = make_task(
            tmp_path, rows, kind="generation", prompt="{{ q }}", fields={"references": "right"}
        )
        made.spec = made.spec.model_copy(update={"max_tokens": 8})
        said = KINDS["generation"].run(bench(short), made)
        ((item, reason),) = said.skipped
        assert item == "mine/4" and "context is 64" in reason and len(said.answers) == 4
        none = make_task(tmp_path, rows[4:], **QUIZ)
        with pytest.raises(DataError, match="could be asked nothing of mine: prompt and choice 0"):
            run_suite(Suite(tasks=[none]), bench(short), house.before)


def test_a_choice_without_text_is_skipped(engine: Engine, tmp_path: Path) -> None:
    rows = [*QUESTIONS[:1], QUESTIONS[1] | {"mark": ""}]
    task = make_task(tmp_path, rows, **QUIZ, answer="{{ mark | default(choice) }}")
    said = KINDS["choice"].run(bench(engine), task)
    assert said.skipped == [("mine/1", "choice 0 has no token of its own")]
    assert list(said.answers) == ["mine/0"]


@pytest.mark.parametrize("kind", ["choice", "text", "generation"])
def test_a_model_of_nan_scores_nothing(house: House, tmp_path: Path, kind: str) -> None:
    rows = [{**row, "text": row["q"], "prompt": row["q"], "references": "x"} for row in QUESTIONS]
    spec = QUIZ if kind == "choice" else {"kind": kind}
    task = make_task(tmp_path, rows, **spec)
    with tiny_engine(house.before) as broken:
        task.spec = task.spec.model_copy(update={"max_tokens": 4})
        with torch.no_grad():
            for weights in broken.model.parameters():
                weights.fill_(float("nan"))
        cache = AnswerCache(None)
        said = KINDS[kind].run(bench(broken, cache), task)
        assert not said.answers
        assert {item for item, _ in said.skipped} == {item.id for item in task.items}
        assert all("NaN" in reason for _, reason in said.skipped)
        with pytest.raises(DataError, match=r"could be asked nothing of mine: .*NaN"):
            run_suite(Suite(tasks=[task]), bench(broken, cache), house.before)


def test_an_unknown_metric_names_those_there_are(tmp_path: Path) -> None:
    rows = [{**row, "text": "x", "references": "x", "prompt": "x"} for row in QUESTIONS]
    for kind, wrong, has in (
        ("choice", "accuracy", "acc_norm"),
        ("choice", "acc_pmi", "acc_token"),  # there only with `unconditional`
        ("text", "acc", "bits_per_byte"),
        ("generation", "acc", "rouge_l"),
    ):
        spec = QUIZ if kind == "choice" else {"kind": kind}
        task = make_task(tmp_path, rows, **spec, metrics=[wrong])
        with pytest.raises(UsageError, match=wrong) as caught:
            KINDS[kind].metrics(task.spec)
        assert has in str(caught.value.hint) and "mine" in str(caught.value.where)


# Answers in a model's own words. A random model says nothing to extract, so the words are given.

ASKED = [
    {"prompt": "Two and two?", "references": "4"},
    {"prompt": "A dozen thousand?", "references": ["12,000", "twelve thousand"]},
    {"prompt": "二加三?", "references": "5"},
    {"prompt": "Silent?", "references": "1"},
]
SAID: dict[str, list[str | Exception]] = {
    "Two and two": ["Two and two make four.\n#### 4"],
    "dozen": ["It is 12000 in all.\n#### 12000.00"],
    "二加三": ["二加三是六,\n#### 6"],
    "Silent": ["I do not know."],
}


def test_generated_answers_are_taken_out_and_compared(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, ASKED, kind="generation", extract="number_strict", stop=["\n\n"])
    with ScriptedEngine(engine, SAID) as scripted:
        _, scored = ask(scripted, task)
    assert column(scored, "exact_match") == [1.0, 1.0, 0.0, 0.0]
    assert column(scored, "answered") == [1.0, 1.0, 1.0, 0.0]
    line = scored.lines["mine/0"]
    assert line["answer"] == "4" and line["text"].startswith("Two and two make")
    assert line["finish_reason"] == "stop"
    assert scored.lines["mine/3"]["answer"] is None
    params = scripted.params[0]
    assert params.greedy and params.stop == ("\n\n",) and params.max_tokens == 256
    assert scripted.asked[0] == max(scripted.asked, key=lambda p: len(engine.tokenizer.encode(p)))


@pytest.mark.parametrize(
    ("extract", "said", "reference", "right"),
    [
        ("letter", "The answer is (C).", "C", 1.0),
        ("letter", "答案是B。", "C", 0.0),
        ("boolean", "Yes, it does.", "true", 1.0),
        ("boolean", "不是。", "true", 0.0),
        ("first_line", "\n  Paris \nand more", "Paris", 1.0),
        ("number", "so 1,234 apples", "1234", 1.0),
        ("number", "It is 42.0", "42", 1.0),
        ("number", "It is -5", "5", 0.0),
        ("number", "It is 3.5", "35", 0.0),
        ("number", "It is 3/4", "34", 0.0),
        ("number", "It is 1/4", "14", 0.0),
    ],
)
def test_every_extraction(
    engine: Engine, tmp_path: Path, extract: str, said: str, reference: str, right: float
) -> None:
    row = {"prompt": "Ask", "references": reference}
    task = make_task(tmp_path, [row], kind="generation", extract=extract)
    with ScriptedEngine(engine, {"Ask": [said]}) as scripted:
        _, scored = ask(scripted, task)
    assert column(scored, "exact_match") == [right]


def test_generated_answers_by_text_metrics(engine: Engine, tmp_path: Path) -> None:
    rows = [{"prompt": "Capital?", "references": ["the city of Paris", "Paris"]}]
    task = make_task(tmp_path, rows, kind="generation", metrics=["exact_match", "token_f1"])
    with ScriptedEngine(engine, {"Capital": ["In Paris"]}) as scripted:
        _, scored = ask(scripted, task)
    assert column(scored, "exact_match") == [0.0]
    assert column(scored, "token_f1") == pytest.approx([2 / 3])  # the better of the references


def test_worked_examples_and_chat_in_generation(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, ASKED, kind="generation", shots=1, chat=True, extract="number")
    with ScriptedEngine(engine, SAID | {"": []}) as scripted:
        scripted.script = {task.examples[""].strip(): ["#### 4"]}
        ask(scripted, task)
    assert len(scripted.asked) == 3
    for item in task.items:
        chat = engine.tokenizer.chat([{"role": "user", "content": task.before(item) + item.prompt}])
        assert engine.tokenizer.decode(chat) in scripted.asked


def test_a_request_that_fails_is_skipped_and_the_others_stand(
    engine: Engine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, ASKED, kind="generation", extract="number")
    script = {**SAID, "dozen": [ModelError("the model gave no finite logits")]}
    cache = AnswerCache(None)
    with ScriptedEngine(engine, script) as scripted:
        said = KINDS["generation"].run(bench(scripted, cache), task)
        assert said.skipped == [("mine/1", "the model gave no finite logits")]
        assert len(said.answers) == 3
        scripted.script = SAID  # asked again, that one alone
        scripted.asked.clear()
        said = KINDS["generation"].run(bench(scripted, cache), task)
    assert len(said.answers) == 4 and said.reused == 3 and len(scripted.asked) == 1


def test_what_the_real_engine_says_is_greedy_and_cut(engine: Engine, tmp_path: Path) -> None:
    task = make_task(tmp_path, ASKED, kind="generation", max_tokens=5)
    answers, _ = ask(engine, task)
    for item in task.items:
        (alone,) = engine.generate([item.prompt], _greedy(5))
        assert answers[item.id] == {"texts": [alone.text], "finish": [alone.finish_reason]}


PROBLEM = {
    "prompt": 'def add(a, b):\n    """Return the sum."""\n',
    "test": "def check(add):\n    assert add(2, 3) == 5\n    assert add(-1, 1) == 0\n",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
}


def test_pass_at_k_from_several_programs(engine: Engine, tmp_path: Path) -> None:
    if not check_sandbox().complete:
        pytest.skip("this machine cannot lock code up")
    task = make_task(
        tmp_path,
        [PROBLEM],
        kind="code",
        samples=4,
        temperature=0.8,
        metrics=["pass@1", "pass@2", "pass@4"],
    )
    programs: list[str | Exception] = [
        "    return a + b\n",
        "    return a - b\n",
        "```python\ndef add(a, b):\n    return sum((a, b))\n```",
        "    return a +\n",
    ]
    with ScriptedEngine(engine, {"def add": programs}) as scripted:
        answers, scored = ask(scripted, task, seed=3)
    assert answers["mine/0"]["outcomes"] == ["passed", "failed", "passed", "failed"]
    assert "AssertionError" in answers["mine/0"]["errors"][1]
    assert [p.seed for p in scripted.params] == [3000, 3001, 3002, 3003]
    assert {p.temperature for p in scripted.params} == {0.8}
    # 1 − C(2, k)/C(4, k): 1 − 2/4, 1 − 1/6, 1.
    values = {name: found["mine/0"][0] for name, found in scored.values.items()}
    assert values == pytest.approx({"pass@1": 0.5, "pass@2": 5 / 6, "pass@4": 1.0})
    assert scored.lines["mine/0"]["outcome"] == "passed"


def test_code_is_not_generated_where_it_could_not_be_locked_up(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise UsageError("this machine cannot lock code up")

    monkeypatch.setattr("chatwright.evaluate.sandbox.require_sandbox", refuse)
    task = make_task(tmp_path, [PROBLEM], kind="code")
    with ScriptedEngine(engine, {"def add": ["    return a + b\n"]}) as scripted:
        with pytest.raises(UsageError, match="lock code up"):
            KINDS["code"].run(bench(scripted), task)
        assert not scripted.asked


def test_instructions_are_checked(engine: Engine, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "Write about tea, without commas, with the word 'leaf'.",
            "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
            "kwargs": [{}, {"keywords": ["leaf"]}],
        },
        {
            "prompt": "介绍苹果,要出现“甜”字。",
            "instruction_id_list": ["keywords:existence"],
            "kwargs": [{"keywords": ["甜"]}],
        },
        {"prompt": "?", "instruction_id_list": ["no:such"], "kwargs": [{}]},
    ]
    task = make_task(tmp_path, rows, kind="instructions", chat=True)
    assert [(where, why) for where, why in task.skipped] == [
        ("mine.jsonl#row=3", "unknown instruction 'no:such'")
    ]
    script: dict[str, list[str | Exception]] = {
        "about tea": ["A leaf, in hot water"],
        "苹果": ["苹果很甜。"],
    }
    with ScriptedEngine(engine, script) as scripted:
        _, scored = ask(scripted, task)
    assert column(scored, "prompt_strict") == [0.0, 1.0]
    assert scored.values["instruction_strict"] == {"mine/0": (1.0, 2.0), "mine/1": (1.0, 1.0)}
    assert scored.lines["mine/0"]["followed"] == {
        "punctuation:no_comma": False,
        "keywords:existence": True,
    }


def test_scoring_needs_no_model_and_no_order(engine: Engine, tmp_path: Path) -> None:
    """`score` looks at the items that have an answer, whatever their order, and at nothing else."""
    task = make_task(tmp_path, QUESTIONS, **QUIZ, metrics=["acc", "ece"])
    answers, scored = ask(engine, task)
    turned = replace(task, items=task.items[::-1])
    assert KINDS["choice"].score(turned, answers).lines == scored.lines
    few = {i: answers[i] for i in list(answers)[:2]}
    assert set(KINDS["choice"].score(task, few).values["acc"]) == set(few)


def _greedy(tokens: int) -> Any:
    from chatwright.generate import SamplingParams

    return SamplingParams(temperature=0, max_tokens=tokens)
