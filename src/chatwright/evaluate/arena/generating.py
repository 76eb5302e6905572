"""The compared models answer a study's prompts, one model in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright.errors import ContextError, DataError, UsageError
from chatwright.evaluate.arena.files import Answers
from chatwright.evaluate.arena.shapes import Answer, Item, ModelEntry, Sampling
from chatwright.progress import Progress, Task
from chatwright.records import Message, file_digest, result_fingerprint
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.assist import Assistant

_HINT = "give at least two, each REFERENCE or LABEL=REFERENCE"


def model_entries(models: Sequence[str], workspace: Workspace) -> tuple[ModelEntry, ...]:
    """Labels, references and fingerprints of `REFERENCE` or `LABEL=REFERENCE`.

    Raises `UsageError` for fewer than two or a label given twice, and `ModelError` or `UsageError`
    for a model that is not there.
    """
    if len(models) < 2:
        raise UsageError(f"a comparison needs two models or more, and {len(models)} given",
                         hint=_HINT)  # fmt: skip
    entries: list[ModelEntry] = []
    for text in models:
        label, reference = split_reference(text)
        if not label or not reference:
            raise UsageError(f"{text!r} names no model", hint=_HINT)
        if any(entry.label == label for entry in entries):
            raise UsageError(
                f"two models are called {label!r}", hint="tell them apart: LABEL=REFERENCE"
            )
        entries.append(ModelEntry(label, _settled(reference), fingerprint_of(reference, workspace)))
    return tuple(entries)


def split_reference(text: str) -> tuple[str, str]:
    """Label and reference of `REFERENCE` or `LABEL=REFERENCE`."""
    label, equals, reference = text.partition("=")
    # A path may hold an equals sign, and so may pypi:name==version: only a name is a label.
    if not equals or "/" in label or ":" in label or not label.strip():
        label, reference = text, text
    label, reference = label.strip(), reference.strip()
    return (Path(label).stem if label.endswith(".jsonl") else label), reference


def _settled(reference: str) -> str:
    """A path as an absolute one: a study may be gone on with from another folder."""
    path = Path(reference)
    return str(path.absolute()) if path.exists() else reference


def fingerprint_of(reference: str, workspace: Workspace) -> str:
    """Which weights, assistant or answers a reference means now; fetches what is not here."""
    from chatwright.assist.load import find_description
    from chatwright.generate.remote import is_remote
    from chatwright.model.references import resolve
    from chatwright.records import fingerprint

    if is_remote(reference):  # its name is all that is known: the server may change behind it
        return fingerprint("remote-model", {"reference": reference})
    path = Path(reference)
    if path.suffix == ".jsonl" and path.is_file():
        return file_digest(path)
    found = find_description(reference, workspace)
    path = found[1] if found else resolve(reference, workspace=workspace)
    known = result_fingerprint(path)
    if known is not None:
        return known
    if path.is_file():
        return file_digest(path)
    weights = sorted(p for p in path.glob("*") if p.suffix in (".safetensors", ".gguf", ".json"))
    return "-".join(file_digest(file)[:12] for file in weights)


def generate(
    entries: Sequence[ModelEntry],
    items: Sequence[Item],
    answers: Answers,
    *,
    sampling: Sampling,
    seed: int,
    workspace: Workspace,
    progress: Progress,
) -> int:
    """Make the answers that are missing; each is on disk before the next. Returns how many.

    Raises `DataError` where a model is no longer the one that the study began with.
    """
    made = 0
    for entry in entries:
        known = answers.all()
        missing = [item for item in items if (entry.label, item.id) not in known]
        if not missing or entry.reference is None:
            continue
        now = fingerprint_of(entry.reference, workspace)
        if now != entry.fingerprint:
            raise DataError(
                f"the model {entry.label!r} is no longer the one that the study began with "
                f"(fingerprint {now[:12]}, was {(entry.fingerprint or 'none')[:12]})",
                where=entry.reference,
                hint="bring the old one back, or start a new study",
            )
        with progress.task(f"{entry.label}: answers", len(items)) as task:
            task.advance(len(items) - len(missing))
            if Path(entry.reference).suffix == ".jsonl":
                made += _take_given(entry, missing, answers, task)
            else:
                made += _ask(
                    entry,
                    missing,
                    answers,
                    sampling=sampling,
                    seed=seed,
                    workspace=workspace,
                    task=task,
                )
    return made


def _ask(
    entry: ModelEntry,
    items: Sequence[Item],
    answers: Answers,
    *,
    sampling: Sampling,
    seed: int,
    workspace: Workspace,
    task: Task,
) -> int:
    from chatwright.assist import load_assistant
    from chatwright.generate import SamplingParams

    assert entry.reference is not None
    assistant = load_assistant(entry.reference, workspace)
    params = SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        seed=seed,
    )
    requests = []
    try:
        for item in items:
            try:
                prepared = assistant.prepare(_messages(item, assistant), params)
                requests.append(
                    (item, prepared, assistant.engine.stream(prepared.messages, params))
                )
            except ContextError as error:
                answers.add([Answer(entry.label, item.id, None, "error", error.message)])
                task.advance()
        for item, prepared, request in requests:
            answer = assistant.finish(prepared, request.result())
            reason = answer.completion.finish_reason
            notes = tuple(answer.left_out)
            answers.add([Answer(entry.label, item.id, answer.text, reason, notes=notes)])
            task.advance()
    finally:  # Ctrl-C or a failure: what is still running has no reader
        for _, _, request in requests:
            request.cancel()
        assistant.close()
    return len(items)


def _messages(item: Item, assistant: Assistant) -> Sequence[Message]:
    """An assistant with knowledge finds its passages itself; a model alone gets the row's."""
    if item.question is not None and assistant.knowledge is not None:
        earlier = [m for m in item.messages[:-1] if m.role != "system"]
        return [*earlier, Message("user", item.question)]
    return item.messages


def _take_given(entry: ModelEntry, items: Sequence[Item], answers: Answers, task: Task) -> int:
    """Answers made elsewhere. An item without one is recorded as unanswered."""
    given = read_given(Path(entry.reference or ""), items)
    taken = []
    for item in items:
        text = given.get(item.id)
        error = None if text is not None else "the file has no answer to this prompt"
        reason = "error" if text is None else "given"
        taken.append(Answer(entry.label, item.id, text, reason, error))
    answers.add(taken)
    task.advance(len(taken))
    return len(taken)


def read_given(path: Path, items: Iterable[Item]) -> Mapping[str, str]:
    """By item id, the answers of a `.jsonl` file: lines with `id` and `text` (or `answer`).

    `id` is the item's, or that of the row it came from. Raises `DataError` naming the line.
    """
    by_name = {name: item.id for item in items for name in (item.id, *item.parents)}
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the answers cannot be read: {error}", where=str(path)) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, text = str(row["id"]), row.get("text", row.get("answer"))
            if not isinstance(text, str):
                raise ValueError("no text")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"this is no answer: {error!r}",
                where=f"{path}, line {number}",
                hint='a line is like {"id": "…", "text": "…"}',
            ) from error
        if name in by_name:
            found[by_name[name]] = text
    return found
