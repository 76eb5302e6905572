"""Measures models on the same items, one model in memory at a time."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
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
from chatwright.evaluate.items import Page, Question, read_pages, read_questions
from chatwright.evaluate.journal import Journal
from chatwright.evaluate.prompts import Prompt, Prompts
from chatwright.evaluate.results import Evaluation, Skipped, Values, summarise
from chatwright.evaluate.scoring import add_answers, add_likelihoods, answer_line, page_line
from chatwright.progress import Progress, Silent
from chatwright.records import Dataset, fingerprint
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


def evaluate_models(
    models: Mapping[str, str | Path],
    data: str | Path | None = None,
    *,
    knowledge: str | Path | None = None,
    text: str | Path | None = None,
    workspace: Workspace | None = None,
    scratch: Path | None = None,
    run: str | None = None,
    progress: Progress | None = None,
    references: Mapping[str, str] | None = None,
    **options: Any,
) -> Evaluation:
    """Measure each of `models` (label → alias, `hf:…`, folder, …) on the same items.

    `data`, a dataset of questions: each is answered greedily with passages found in `knowledge`
    (without it, with those in the row itself), and the reference answer's perplexity is measured,
    given the row's own passages. `text`, a dataset of documents: bits per byte. One of the two must
    be given; both may. Further keywords are those of `Options`.

    The first model is the baseline that others are compared with. With `scratch`, answers are kept
    there under the name `run`, and a killed evaluation goes on from them. Items that cannot be
    scored are listed in `skipped` and scored for no model: all figures rest on the same items.
    `references` are the models' names as the result shows them, where `models` are paths.

    Raises `UsageError` for no model or nothing to measure on, `DataError` for a dataset that cannot
    be used and `ModelError` for a model that cannot be loaded.
    """
    from chatwright.assist.knowledge import Knowledge

    how = Options(**options)
    if not models:
        raise UsageError("there is no model to evaluate")
    if data is None and text is None:
        raise UsageError("give `data` (questions), `text` (documents) or both to measure on")
    progress = progress or Silent()
    found = _Found()
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
    name = run or fingerprint("evaluation", {"models": paths, "settings": settings})
    journal = Journal(scratch, name)
    for label, reference in paths.items():
        with _loaded(reference, workspace, how.max_batch) as engine:
            bench = _Bench(label, engine, opened, how, journal, progress)
            _ask(bench, found)
            _read(bench, found)
    return _conclude(found, dict(references or paths), settings, how)


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
        if label in found.likely:
            kept = {k: v for k, v in found.likely[label].found.items() if k not in unread}
            add_likelihoods(values[label], kept, perplexity=True)
        if label in found.bits:
            add_likelihoods(values[label], found.bits[label].found, perplexity=False)
    results, comparisons = summarise(values, references, seed=how.seed)
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
        items=len(asked) + len(found.pages),
        models=results,
        comparisons=comparisons,
        skipped=skipped,
        answers=lines + [page_line(page, bits) for page in found.pages],
        machine=describe_machine(),
    )


@contextmanager
def _loaded(reference: str, workspace: Workspace | None, max_batch: int) -> Iterator[Engine]:
    """A model behind an engine; both are gone from memory afterwards."""
    from chatwright.generate import Engine
    from chatwright.model import load_model

    model, tokenizer = load_model(reference, workspace=workspace)
    with Engine(model, tokenizer, max_batch=max_batch) as engine:
        yield engine


def describe_machine() -> dict[str, Any]:
    """What numbers of seconds were measured on."""
    import torch

    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
