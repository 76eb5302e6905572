"""Measures models on the same items, one model in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.assist.describe import Retrieval
from chatwright.errors import ContextError, DataError, UsageError
from chatwright.evaluate.answering import (
    Answered,
    Likelihoods,
    answer_all,
    page_likelihoods,
    reference_likelihoods,
)
from chatwright.evaluate.answers import AnswerCache
from chatwright.evaluate.items import Page, Question, read_pages, read_questions
from chatwright.evaluate.journal import Journal
from chatwright.evaluate.kinds import Bench
from chatwright.evaluate.metrics import text_metric
from chatwright.evaluate.prompts import Prompt, Prompts
from chatwright.evaluate.results import BY_NAME, METRICS, Evaluation, Skipped, Values, summarise
from chatwright.evaluate.scoring import (
    add_answers,
    add_likelihoods,
    add_text_metrics,
    answer_line,
    page_line,
)
from chatwright.evaluate.suite import Suite, figures, load_suite, run_suite
from chatwright.machine import describe_machine
from chatwright.progress import Progress, Silent
from chatwright.records import Dataset, files_fingerprint, fingerprint
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.assist.knowledge import Knowledge
    from chatwright.generate import Engine

_ASSISTANT = Retrieval()  # what is measured is what is served, unless a caller says otherwise


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    `limit`: so many items, chosen by `seed` (None: all). Answers: the `passages` best passages are
    shown, each shortened to `max_words`, and at most `max_tokens` tokens are made; `perplexity`
    measures the reference answers too. Pages: the first `page_bytes` bytes of each, in windows of
    `window` tokens of which the first `overlap` are only seen. `max_batch`: answers at a time.

    `metrics`: more metrics of texts (`chatwright.evaluate.metrics.TEXT_METRICS`) for the answers.

    Tasks: `task_limit` items of each (None: as many as the task says); `shots` and `chat`, where
    given, stand in for every task's own. `unsafe_code` runs generated code on a machine that
    cannot lock it up.
    """

    limit: int | None = 40
    max_tokens: int = 80
    passages: int = _ASSISTANT.passages
    max_words: int = _ASSISTANT.max_words
    perplexity: bool = True
    window: int = 1024
    overlap: int = 0
    page_bytes: int = 16_384
    max_batch: int = 8
    metrics: Sequence[str] = ()
    task_limit: int | None = None
    shots: int | None = None
    chat: bool | None = None
    unsafe_code: bool = False
    seed: int = 0


@dataclass(slots=True)
class _Found:
    """What the models said so far; by model, then by item."""

    questions: list[Question] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    prompts: dict[str, dict[str, Prompt]] = field(default_factory=dict)
    said: dict[str, Answered] = field(default_factory=dict)
    likely: dict[str, Likelihoods] = field(default_factory=dict)
    bits: dict[str, Likelihoods] = field(default_factory=dict)
    suite: Suite = field(default_factory=Suite)


def evaluate_models(
    models: Mapping[str, str | Path],
    data: str | Path | None = None,
    *,
    knowledge: str | Path | None = None,
    text: str | Path | None = None,
    tasks: Sequence[str] = (),
    workspace: Workspace | None = None,
    scratch: Path | None = None,
    cache: Path | None = None,
    run: str | None = None,
    progress: Progress | None = None,
    references: Mapping[str, str] | None = None,
    **options: Any,
) -> Evaluation:
    """Measure each of `models` (label → alias, `hf:…`, folder, …) on the same items.

    `data`, a dataset of questions: each is answered greedily with passages found in `knowledge`
    (without it, with those in the row itself), and the reference answer's perplexity is measured,
    given the row's own passages. `text`, a dataset of documents: bits per byte. `tasks`, names or
    YAML files of tasks (`chatwright tasks` lists those that come along). One of the three must be
    given. Further keywords are those of `Options`.

    The first model is the baseline that others are compared with. With `scratch`, answers are kept
    there under the name `run`, and a killed evaluation goes on from them. Answers to tasks are
    kept in the file `cache` (default: in `scratch`) and serve every later evaluation. Items that
    cannot be scored are listed in `skipped` and scored for no model: all figures rest on the same
    items.
    `references` are the models' names as the result shows them, where `models` are paths.

    Raises `UsageError` for no model or nothing to measure on, `DataError` for a dataset that cannot
    be used and `ModelError` for a model that cannot be loaded.
    """
    from chatwright.assist.knowledge import Knowledge

    how = Options(**options)
    if not models:
        raise UsageError("there is no model to evaluate")
    if data is None and text is None and not tasks:
        raise UsageError("give `tasks`, `data` (questions) or `text` (documents) to measure on")
    for metric in how.metrics:
        text_metric(metric)
    progress = progress or Silent()
    found = _Found()
    if tasks:
        found.suite = load_suite(
            tasks,
            workspace=workspace,
            limit=how.task_limit,
            shots=how.shots,
            chat=how.chat,
            seed=how.seed,
            progress=progress,
        )
    if data is not None:
        found.questions, found.skipped = read_questions(Dataset.open(data), how.limit, how.seed)
    if text is not None:
        opened_text = Dataset.open(text)
        found.pages, left = read_pages(opened_text, how.limit, how.page_bytes, how.seed)
        found.skipped = found.skipped + left
    opened = None if knowledge is None else Knowledge.open(knowledge)
    paths = {label: str(reference) for label, reference in models.items()}
    given = {"data": data, "knowledge": knowledge, "text": text}
    settings = {k: None if v is None else str(v) for k, v in given.items()} | asdict(how)
    settings["tasks"] = list(tasks)
    name = run or fingerprint("evaluation", {"models": paths, "settings": settings})
    journal = Journal(scratch, name)
    if cache is None and scratch is not None:
        cache = scratch / "answers.db"
    with AnswerCache(cache) as answers:
        for label, reference in paths.items():
            with _loaded(reference, workspace, how.max_batch) as (engine, path):
                bench = _Bench(label, engine, opened, how, journal, progress)
                _ask(bench, found)
                _read(bench, found)
                run_suite(found.suite, _task_bench(bench, path, answers), path)
    return _conclude(found, dict(references or paths), settings, how)


def _task_bench(bench: _Bench, path: Path, answers: AnswerCache) -> Bench:
    """The model as tasks know it: by what it is, not by what it is called here."""
    return Bench(
        label=bench.label,
        fingerprint=f"{files_fingerprint(path)} {bench.engine.model.dtype}",
        engine=bench.engine,
        cache=answers,
        progress=bench.progress,
        seed=bench.how.seed,
        unsafe_code=bench.how.unsafe_code,
    )


@dataclass(frozen=True, slots=True)
class _Bench:
    """One model, and what it is measured with."""

    label: str
    engine: Engine
    knowledge: Knowledge | None
    how: Options
    journal: Journal
    progress: Progress


def _ask(bench: _Bench, found: _Found) -> None:
    """Have the questions answered, and the reference answers weighed."""
    if not found.questions:
        return
    how, label = bench.how, bench.label
    maker = Prompts(
        bench.knowledge,
        bench.engine,
        passages=how.passages,
        max_words=how.max_words,
        max_tokens=how.max_tokens,
    )
    found.prompts[label] = {}
    too_long: list[Skipped] = []
    for question in found.questions:
        try:
            found.prompts[label][question.id] = maker.prompt(question)
        except ContextError as error:
            too_long.append(Skipped(question.id, f"{label}: {error.message}"))
    with bench.progress.task(f"{label}: answers", len(found.questions)) as task:
        task.advance(len(too_long))
        found.said[label] = answer_all(
            bench.engine,
            [(q, p) for q in found.questions if (p := found.prompts[label].get(q.id))],
            model=label,
            max_tokens=how.max_tokens,
            journal=bench.journal,
            task=task,
        )
    found.said[label].skipped += too_long
    if not how.perplexity:
        return
    with bench.progress.task(f"{label}: perplexity", len(found.questions)) as task:
        found.likely[label] = reference_likelihoods(
            bench.engine.model,
            bench.engine.tokenizer,
            found.questions,
            name=label,
            journal=bench.journal,
            task=task,
        )


def _read(bench: _Bench, found: _Found) -> None:
    """Have the pages weighed."""
    if not found.pages:
        return
    with bench.progress.task(f"{bench.label}: bits per byte", len(found.pages)) as task:
        found.bits[bench.label] = page_likelihoods(
            bench.engine.model,
            bench.engine.tokenizer,
            found.pages,
            name=bench.label,
            window=bench.how.window,
            overlap=bench.how.overlap,
            journal=bench.journal,
            task=task,
        )


def _conclude(
    found: _Found, references: dict[str, str], settings: dict[str, Any], how: Options
) -> Evaluation:
    """Score what was said, on the items that every model could be asked."""
    unasked = {s.id for answered in found.said.values() for s in answered.skipped}
    unread = {s.id for likely in found.likely.values() for s in likely.skipped}
    skipped = list(found.skipped)
    for answered in found.said.values():
        skipped += answered.skipped
    for measured in (*found.likely.values(), *found.bits.values()):
        skipped += measured.skipped
    asked = [q for q in found.questions if q.id not in unasked]
    if found.questions and not asked:
        raise DataError(
            f"no question could be asked; the last: {skipped[-1].reason}",
            hint="show fewer passages, or use a model with a longer context",
        )
    values: dict[str, dict[str, Values]] = {label: {} for label in references}
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for label in references:
        if label in found.said:
            pairs = [(q, found.prompts[label][q.id]) for q in asked]
            scores[label] = add_answers(values[label], pairs, found.said[label].answers)
            values[label] |= add_text_metrics(pairs, found.said[label].answers, how.metrics)
        if label in found.likely:
            kept = {k: v for k, v in found.likely[label].found.items() if k not in unread}
            add_likelihoods(values[label], kept, perplexity=True)
        if label in found.bits:
            add_likelihoods(values[label], found.bits[label].found, perplexity=False)
    of_tasks = figures(found.suite)
    for label, per_metric in of_tasks.values.items():
        values[label] |= per_metric
    more = [text_metric(name).metric for name in how.metrics if name not in BY_NAME]
    metrics = (*METRICS, *more, *of_tasks.metrics)
    averaged = {average.metric.name for average in of_tasks.averages}
    results, comparisons = summarise(
        values,
        references,
        metrics=[metric for metric in metrics if metric.name not in averaged],
        averages=of_tasks.averages,
        seed=how.seed,
    )
    timed: tuple[tuple[str, Mapping[str, Answered | Likelihoods]], ...] = (
        ("answers", found.said),
        ("perplexity", found.likely),
        ("bits_per_byte", found.bits),
    )
    for result in results:
        result.seconds = {
            what: round(group[result.name].seconds, 2)
            for what, group in timed
            if result.name in group
        } | {
            name: round(said.seconds, 2)
            for name, said in found.suite.said.get(result.name, {}).items()
        }
    said = {label: answered.answers for label, answered in found.said.items()}
    nats = {label: likely.found for label, likely in found.likely.items()}
    bits = {label: likely.found for label, likely in found.bits.items()}
    lines = [
        answer_line(q, {m: found.prompts[m][q.id] for m in references}, said, scores, nats)
        for q in asked
    ]
    return Evaluation(
        settings=settings,
        items=len(asked) + len(found.pages) + of_tasks.items,
        models=results,
        comparisons=comparisons,
        skipped=skipped + of_tasks.skipped,
        answers=lines + [page_line(page, bits) for page in found.pages] + of_tasks.lines,
        machine=describe_machine(),
        metrics=metrics,
        tasks=of_tasks.records,
    )


@contextmanager
def _loaded(
    reference: str, workspace: Workspace | None, max_batch: int
) -> Iterator[tuple[Engine, Path]]:
    """A model behind an engine, and where its files lie; it is gone from memory afterwards."""
    from chatwright.generate.load import engine_of
    from chatwright.model import load_model
    from chatwright.model.references import resolve

    path = resolve(reference, workspace=workspace)
    model, tokenizer = load_model(path)
    with engine_of(model, tokenizer, max_batch=max_batch) as engine:
        yield engine, path
