"""What a model costs and how well it does: the same figures before and after compression."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright.errors import ChatwrightError, DataError
from chatwright.evaluate.likelihood import batched, sequence_likelihoods, text_windows, total_nats
from chatwright.progress import Progress, Silent
from chatwright.records.results import place_of, read_result, training_chain, training_settings
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.model import Transformer
    from chatwright.tokenizer import Tokenizer

_WEIGHTS = (".safetensors", ".gguf")
_WINDOW = 512
PERPLEXITY_TOKENS = 10_240


@dataclass(frozen=True, slots=True)
class Texts:
    """What perplexity is measured on, and what it is called."""

    name: str
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's figures; None where one was not measured, `notes` say why.

    `parameters`: numbers that are stored, each once. `zeros`: the share of zeros among the
    projections' weights. Bytes: of the weights' files, of the weights in PyTorch's memory, and at
    most of a process that answers. `perplexity` is per token over `tokens` tokens.
    """

    parameters: int
    zeros: float
    file_bytes: int
    weight_bytes: int
    peak_bytes: int | None = None
    load_seconds: float | None = None
    tokens_per_second: float | None = None
    perplexity: float | None = None
    tokens: int = 0
    notes: list[str] = field(default_factory=list)


def file_bytes(path: Path) -> int:
    """The size of a model's weights on disk: of a `.gguf`, or of a folder's weight files."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.iterdir() if p.suffix in _WEIGHTS)


def _is_quantised(path: Path) -> bool:
    return path.suffix == ".gguf" or (path / "model.gguf").is_file()


def measure(
    path: Path,
    *,
    texts: Texts | None = None,
    speed: bool = True,
    limit: int = PERPLEXITY_TOKENS,
    progress: Progress | None = None,
) -> Measured:
    """Measure the model at `path`: size, memory and speed (in another process), perplexity.

    Perplexity over the first `limit` tokens of `texts`. Speed that cannot be measured is a note and
    no error: the model may still be a good one.
    """
    from chatwright.compress.prune import sparsity_of
    from chatwright.compress.speed import measure_speed
    from chatwright.model.load import best_device, best_dtype, load_path

    progress = progress or Silent()
    notes: list[str] = []
    fast = None
    if speed:
        progress.line(f"measuring speed: {path}")
        try:
            fast = measure_speed(path)
        except (RuntimeError, OSError) as error:
            notes.append(f"speed could not be measured: {error}")
    device = best_device()
    model, tokenizer = load_path(path, best_dtype(device), device)
    found = None
    if texts is not None:
        progress.line(f"measuring perplexity on {texts.name}: {path}")
        found = perplexity(model, tokenizer, texts.texts, limit=limit)
    if _is_quantised(path):
        notes.append("its file holds blocks of small integers; PyTorch unpacks them")
    return Measured(
        parameters=sum(p.numel() for p in model.parameters()),
        zeros=sparsity_of(model),
        file_bytes=file_bytes(path),
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
        peak_bytes=fast.peak_bytes if fast else None,
        load_seconds=fast.load_seconds if fast else None,
        tokens_per_second=fast.tokens_per_second if fast else None,
        perplexity=None if found is None else found[0],
        tokens=0 if found is None else found[1],
        notes=notes,
    )


def perplexity(
    model: Transformer, tokenizer: Tokenizer, texts: Sequence[str], *, limit: int
) -> tuple[float, int]:
    """Perplexity, exp of the mean −ln p a token, over the first `limit` tokens; and their number.

    In windows of 512 tokens that do not overlap, each text on its own behind the end-of-text token.
    Raises `DataError` where the texts have no token.
    """
    start = tokenizer.end_of_text_id
    if start is None:
        start = min(tokenizer.eos_ids, default=0)
    window = min(_WINDOW, model.config.context)
    windows = []
    left = limit
    for text in texts:
        tokens = tokenizer.encode(text)[: max(0, left)]
        left -= len(tokens)
        windows += text_windows(tokens, start, window=window)
        if left <= 0:
            break
    if not windows:
        raise DataError("the text has no token to measure perplexity on", where="--text")
    found = []
    for group in batched([len(w.tokens) for w in windows], tokens=4096):
        found += sequence_likelihoods(model, [windows[i] for i in group])
    total = total_nats(found)
    try:
        value = math.exp(total.nll / total.tokens)
    except OverflowError:
        value = math.inf
    return value, total.tokens


def texts_for(source: Path, workspace: Workspace) -> Texts | None:
    """What to measure the model at `source` on where nothing is said.

    WikiText-2's test articles where `CHATWRIGHT_DATA` has them, else the data that its training
    was validated on, where its lineage leads there; else nothing.
    """
    from chatwright.compress.calibration import calibration_texts

    articles = _wikitext(workspace)
    if articles:
        return Texts("WikiText-2 (test)", articles)
    held_out = _held_out(source, workspace)
    if held_out is None:
        return None
    return Texts(f"its validation data, {held_out.name}", calibration_texts(held_out))


def given_text(name: str | os.PathLike[str], workspace: Workspace) -> Texts:
    """The file or dataset of that name. Raises `UsageError` or `DataError` where it is none."""
    from chatwright.compress.calibration import calibration_texts

    try:
        return Texts(str(name), calibration_texts(name, workspace=workspace))
    except ChatwrightError as error:
        error.where, error.hint = f"--text {name}", None
        raise


def _wikitext(workspace: Workspace) -> list[str]:
    """The articles of the task `wikitext2`, where they lie on this machine already."""
    from chatwright.evaluate.tasks import find_tasks, load_task
    from chatwright.evaluate.tasks.sources import locate

    ((path, spec),) = find_tasks(["wikitext2"], workspace)
    local = [source for source in spec.sources if source.source.startswith("data:")]
    here = [source for source in local if locate(source, path.parent)]
    if not here:
        return []
    try:
        task = load_task(path, spec.model_copy(update={"sources": here}))
    except ChatwrightError:
        return []
    return [item.prompt for item in task.items]


def _held_out(source: Path, workspace: Workspace) -> Path | None:
    try:
        chain, _ = training_chain(read_result(source), workspace.models)
    except DataError:
        return None
    for result in chain:
        name = training_settings(result).get("validation")
        if isinstance(name, str):
            place = place_of(result, name, workspace.datasets)
            if (place / "dataset.json").exists():
                return place
    return None
