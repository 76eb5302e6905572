"""Tasks that a model answers in its own words: scored as text, run as code, or checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chatwright.errors import ChatwrightError, DataError
from chatwright.evaluate.extraction import (
    boolean_answer,
    choice_letter,
    code_block,
    gsm8k_answer,
    numbers_equal,
    parse_number,
)
from chatwright.evaluate.kinds.base import (
    Bench,
    Said,
    Scored,
    choose_metrics,
    known_answers,
    values_of,
)
from chatwright.evaluate.metrics import TEXT_METRICS, Answer, exact_match
from chatwright.evaluate.results import Metric, Values
from chatwright.evaluate.tasks.schema import Item, Task, TaskSpec

_EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "number": gsm8k_answer,
    "number_strict": lambda text: gsm8k_answer(text, "strict"),
    "letter": lambda text: choice_letter(text, "ABCDEFGHIJ"),
    "boolean": lambda text: None if (b := boolean_answer(text)) is None else str(b).lower(),
    "code": code_block,
    "first_line": lambda text: next((x.strip() for x in text.splitlines() if x.strip()), None),
}
_EXTRACTED = {
    metric.name: metric
    for metric in (
        Metric(
            "exact_match",
            "exact match",
            "higher",
            "share",
            "the answer taken out of the text is a reference answer",
        ),
        Metric(
            "answered",
            "answer found",
            "neither",
            "share",
            "texts from which an answer could be taken; the others count as not right",
        ),
    )
}


def ask(bench: Bench, task: Task) -> Said:
    """Have every item answered `samples` times; recorded: `texts` and `finish` of each.

    The longest prompts are handed in first, so that the engine's batch is full until the last few.
    """
    spec = task.spec
    said = Said()
    keys = known_answers(bench, task, task.items, said)
    engine = bench.engine
    waiting: list[tuple[Item, list[int]]] = []
    for item in task.items:
        if item.id in said.answers:
            continue
        text = task.before(item) + item.prompt
        if spec.chat:
            ids = engine.tokenizer.chat([{"role": "user", "content": text}])
        else:
            ids = engine.tokenizer.encode(text)
        if len(ids) + spec.max_tokens > engine.context:
            reason = (
                f"the prompt has {len(ids)} tokens and the answer may have {spec.max_tokens}; "
                f"the model's context is {engine.context}"
            )
            said.skipped.append((item.id, reason))
        else:
            waiting.append((item, ids))
    waiting.sort(key=lambda entry: (-len(entry[1]), entry[0].id))
    started = time.monotonic()
    with bench.progress.task(f"{bench.label}: {task.name}", len(task.items)) as bar:
        bar.advance(len(task.items) - len(waiting))
        for item, answer in _answered(bench, spec, waiting):
            bar.advance()
            if isinstance(answer, str):
                said.skipped.append((item.id, answer))
            else:
                bench.cache.add({keys[item.id]: answer})
                said.answers[item.id] = answer
    said.seconds = time.monotonic() - started
    return said


def _answered(
    bench: Bench, spec: TaskSpec, waiting: Sequence[tuple[Item, list[int]]]
) -> Iterator[tuple[Item, dict[str, Any] | str]]:
    """Each item with what was said to it, or the reason why it could not be asked."""
    from chatwright.generate.params import SamplingParams

    params = [
        SamplingParams(
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
            # Where a completion of a function has left it; a chat answer begins with prose.
            stop=() if spec.chat and spec.kind == "code" else tuple(spec.stop),
            seed=bench.seed * 1_000 + number,
        )
        for number in range(spec.samples)
    ]
    requests = [(item, [bench.engine.submit(ids, p) for p in params]) for item, ids in waiting]
    try:
        for item, made in requests:
            try:
                done = [request.result() for request in made]
            except ChatwrightError as error:
                yield item, error.message
                continue
            texts = [completion.text for completion in done]
            yield item, {"texts": texts, "finish": [one.finish_reason for one in done]}
    finally:  # Ctrl-C or a failure: what is still running has no reader
        for _, made in requests:
            for request in made:
                request.cancel()


def answer_lines(items: Sequence[Item], answers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What `answers.jsonl` shows of each item: the first text, and why it ended."""
    return {
        item.id: {
            "text": answers[item.id]["texts"][0],
            "finish_reason": answers[item.id]["finish"][0],
        }
        for item in items
    }


class GenerationKind:
    """Answers as text: by exact match of what `extract` takes out, or by any text metric."""

    def metrics(self, spec: TaskSpec) -> list[Metric]:
        known = {name: found.metric for name, found in TEXT_METRICS.items()}
        if spec.extract is not None:
            if spec.extract not in _EXTRACTORS:
                raise DataError(
                    f"`extract` is {spec.extract!r}",
                    where=f"task {spec.name}",
                    hint=f"it may be: {', '.join(_EXTRACTORS)}",
                )
            return choose_metrics(spec, known | _EXTRACTED, ("exact_match", "answered"))
        return choose_metrics(spec, known, ("exact_match", "token_f1", "rouge_l"))

    def run(self, bench: Bench, task: Task) -> Said:
        return ask(bench, task)

    def score(self, task: Task, answers: Mapping[str, dict[str, Any]]) -> Scored:
        items = [item for item in task.items if item.id in answers]
        lines = answer_lines(items, answers)
        values: dict[str, Values] = {}
        extract = _EXTRACTORS.get(task.spec.extract or "")
        taken: dict[str, str | None] = {}
        if extract is not None:
            taken = {item.id: extract(answers[item.id]["texts"][0]) for item in items}
            for item in items:
                lines[item.id]["answer"] = taken[item.id]
        for metric in self.metrics(task.spec):
            name = metric.name
            if extract is not None and name in _EXTRACTED:
                right = {i.id: _matches(taken[i.id], i, extract) for i in items}
                found = {i: said is not None for i, said in taken.items()}
                shown = right if name == "exact_match" else found
                values[name] = values_of(items, lambda i, s=shown: float(s[i.id]))  # type: ignore[misc]
                continue
            given = [
                Answer(answers[i.id]["texts"][0], i.references, i.language, i.prompt) for i in items
            ]
            columns = TEXT_METRICS[name].score(given)
            values[name] = {i.id: c for i, c in zip(items, columns, strict=True) if c is not None}
        return Scored(values, lines)


def _matches(taken: str | None, item: Item, extract: Callable[[str], str | None]) -> bool:
    if taken is None:
        return False
    wanted = [found for r in item.references if (found := extract(r) or r)]
    return any(_same(taken, w) for w in wanted)


def _same(taken: str, wanted: str) -> bool:
    """As numbers where both are: words are compared without the marks that make -5 of 5."""
    if parse_number(taken) is not None and parse_number(wanted) is not None:
        return numbers_equal(taken, wanted)
    return exact_match(taken, wanted) == 1.0


class CodeKind:
    """HumanEval: the answer is run with its tests, locked up. pass@k from `samples` answers."""

    def metrics(self, spec: TaskSpec) -> list[Metric]:
        known = {
            f"pass@{k}": Metric(
                f"pass@{k}",
                f"pass@{k}",
                "higher",
                "share",
                f"problems that one of {k} programs solves" if k > 1 else "programs that pass",
            )
            for k in range(1, spec.samples + 1)
        }
        default = [f"pass@{k}" for k in (1, 10, 100) if k <= spec.samples]
        return choose_metrics(spec, known, default)

    def run(self, bench: Bench, task: Task) -> Said:
        from chatwright.evaluate.sandbox import require_sandbox, run_many

        if not bench.unsafe_code:
            require_sandbox()  # before minutes of generating
        said = ask(bench, task)
        items = {item.id: item for item in task.items if item.id in said.answers}
        programs = [
            (item, _program(items[item], text))
            for item in items
            for text in said.answers[item]["texts"]
        ]
        with bench.progress.task(f"{bench.label}: {task.name}, running", len(programs)) as bar:
            outcomes = run_many(
                [program for _, program in programs],
                unsafe=bench.unsafe_code,
                finished=lambda *_: bar.advance(),
            )
        for item in items:
            said.answers[item] = {**said.answers[item], "outcomes": [], "errors": []}
        for (item, _), outcome in zip(programs, outcomes, strict=True):
            said.answers[item]["outcomes"].append(outcome.status)
            said.answers[item]["errors"].append(outcome.error)
        return said

    def score(self, task: Task, answers: Mapping[str, dict[str, Any]]) -> Scored:
        from chatwright.evaluate.sandbox import pass_at_k

        items = [item for item in task.items if item.id in answers]
        values: dict[str, Values] = {}
        for metric in self.metrics(task.spec):
            k = int(metric.name.partition("@")[2])

            def value(item: Item, k: int = k) -> float:
                outcomes = answers[item.id]["outcomes"]
                return pass_at_k(len(outcomes), outcomes.count("passed"), k)

            values[metric.name] = values_of(items, value)
        lines = answer_lines(items, answers)
        for item in items:
            lines[item.id]["outcome"] = answers[item.id]["outcomes"][0]
            lines[item.id]["error"] = answers[item.id]["errors"][0]
        return Scored(values, lines)


def _program(item: Item, text: str) -> str:
    from chatwright.evaluate.sandbox import clean_completion, humaneval_program

    entry = str(item.fields["entry_point"])
    prompt = str(item.fields["prompt"])
    return humaneval_program(prompt, clean_completion(text, entry), str(item.fields["test"]), entry)
