"""From a model's name and a method to a checkpoint that says what it was made from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from chatwright.compress.settings import QUANTISING, CompressSettings, said
from chatwright.errors import UsageError
from chatwright.machine import describe_machine
from chatwright.model.references import resolve
from chatwright.progress import Progress, Silent
from chatwright.records import (
    Dataset,
    Parent,
    atomic_folder,
    content_fingerprint,
    disk_errors,
    fingerprint,
    read_json,
    result_fingerprint,
    write_atomic,
)
from chatwright.tokenizer.files import read_json_object
from chatwright.version import __version__
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from chatwright.compress.stages import CompressStageSettings
    from chatwright.model import Transformer
    from chatwright.stage import StageContext
    from chatwright.tokenizer import Tokenizer

_STORED = ("float32", "float16", "bfloat16")
_FACTS = "facts"
_REVISION = 1  # raised when the same settings give other weights


@dataclass(frozen=True, slots=True)
class Compressed:
    """A compressed checkpoint on disk. `made` is false where it stood there already."""

    reference: str
    source: Path
    path: Path
    settings: CompressSettings
    facts: dict[str, Any]
    made: bool = True


def compress_model(
    reference: str,
    out: Path,
    settings: CompressSettings,
    *,
    workspace: Workspace | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Compress the model that `reference` names into the folder `out`, whole or not at all.

    The folder has the model's card and `lineage.json`, which names the parent and its fingerprint.
    What stands there already, made from the same with the same settings, is left as it is.
    Training that was interrupted goes on when the call is made again. Raises `UsageError` where
    `out` holds something else, or an option asks for what cannot be.
    """
    workspace, progress = workspace or Workspace(), progress or Silent()
    settings.check()
    source = resolve(reference, workspace=workspace, progress=progress)
    parent = content_fingerprint(source)
    data = _dataset(settings, workspace)
    made_of = {
        "settings": settings.model_dump(mode="json"),
        "revision": _REVISION,
        "data": data.fingerprint if data is not None else None,
        "calibration": _calibration_digest(settings, workspace),
    }
    name = fingerprint("compress", made_of, [parent or ""])
    if out.exists():
        if result_fingerprint(out) == name:
            lineage = read_json(out / "lineage.json", "lineage")
            return Compressed(
                reference, source, out, settings, dict(lineage.get(_FACTS, {})), made=False
            )
        raise UsageError("this exists already", where=str(out), hint="choose another name")
    scratch = workspace.runs / "compress" / name
    model, tokenizer, stored = _load(source, whole=settings.method in QUANTISING)
    job = _Job(model, tokenizer, stored, settings, data, scratch, progress)
    # A download has no lineage of its own to walk to: its name and fingerprint say what it is.
    ours = result_fingerprint(source) is not None or source.is_relative_to(workspace.root)
    parents = (
        [asdict(Parent(reference, parent or "", os.path.relpath(source, out)))] if ours else []
    )
    lineage = {
        "fingerprint": name,
        "stage": out.name,
        "recipe": out.parent.name if out.is_relative_to(workspace.models) else "",
        "parents": parents,
        # `model` is what training's lineage calls the model that one started from.
        "settings": {"model": reference} | dict(said(settings)),
        "seed": settings.seed,
        "chatwright": __version__,
        "base_model": reference,
        "base_fingerprint": parent,
        "machine": describe_machine(),
    }
    facts = _write(job, out, lineage, reference, _texts(settings, workspace))
    shutil.rmtree(scratch, ignore_errors=True)
    return Compressed(reference, source, out, settings, facts)


def compress_stage(
    settings: CompressStageSettings, options: CompressSettings, context: StageContext
) -> None:
    """The same as a stage of a recipe; `options` are its settings with the names resolved."""
    workspace = context.workspace
    source = context.inputs.get(settings.model)
    if source is None:
        source = resolve(settings.model, workspace=workspace, progress=context.progress)
    data = _dataset(options, workspace)
    model, tokenizer, stored = _load(source, whole=options.method in QUANTISING)
    job = _Job(model, tokenizer, stored, options, data, context.scratch, context.progress)
    lineage = context.lineage(
        settings,
        base_model=settings.model,
        base_fingerprint=content_fingerprint(source),
        machine=describe_machine(),
    )
    _write(job, context.output, lineage, settings.model, _texts(options, workspace))


@dataclass(frozen=True, slots=True)
class _Job:
    model: Transformer
    tokenizer: Tokenizer
    stored: torch.dtype
    settings: CompressSettings
    data: Dataset | None
    scratch: Path
    progress: Progress


def _write(
    job: _Job,
    out: Path,
    lineage: dict[str, Any],
    reference: str,
    texts: Callable[[], Sequence[str]],
) -> dict[str, Any]:
    from chatwright.compress.methods import apply_method
    from chatwright.compress.report import model_card
    from chatwright.model import save_model

    settings = job.settings
    if settings.method in QUANTISING:
        quantised = _quantise(job, texts)
        facts = quantised.settings
        card = model_card(reference, settings, facts)
        quantised.save(out, lineage=lineage | {_FACTS: facts}, card=card)
        return dict(facts)
    applied = apply_method(
        job.model,
        job.tokenizer,
        settings,
        texts=texts,
        data=job.data,
        scratch=job.scratch,
        progress=job.progress,
    )
    facts = applied.facts
    card = model_card(reference, settings, facts)
    made = applied.model.to(job.stored)
    log = job.scratch / "metrics.jsonl"
    staged = out.with_name(f".staged-{out.name}")  # beside: a rename does not cross file systems
    try:
        save_model(made, job.tokenizer, staged, card=card, lineage=lineage | {_FACTS: facts})
        with disk_errors(out), atomic_folder(out) as folder:
            for file in sorted(staged.iterdir()):
                file.rename(folder / file.name)
            if log.exists():
                shutil.copyfile(log, folder / "metrics.jsonl")
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return facts


def _quantise(job: _Job, texts: Callable[[], Sequence[str]]) -> Any:
    from chatwright.compress.quantise import quantise_model

    settings = job.settings
    options: dict[str, Any] = {"calibrate": settings.calibrate or "none"}
    if settings.group == 0:
        options["granularity"] = "channel"
    elif settings.group is not None:
        options["group"] = settings.group
    for name in ("symmetric", "embedding"):
        if (value := getattr(settings, name)) is not None:
            options[name] = value
    if options["calibrate"] != "none" and settings.calibration is not None:
        options["calibration"] = texts()
    method = cast(Literal["int8", "int4"], settings.method)
    return quantise_model(job.model, job.tokenizer, method, progress=job.progress, **options)


def _load(source: Path, *, whole: bool) -> tuple[Transformer, Tokenizer, torch.dtype]:
    """The model, and the type that its weights are stored in.

    It is worked on in bfloat16 where that is how it is stored and the machine multiplies it, unless
    the numbers are wanted `whole`, in float32.
    """
    import torch

    from chatwright.model.load import best_device, best_dtype, load_path

    stored = torch.bfloat16
    if (source / "config.json").is_file():
        config = read_json_object(source / "config.json")
        declared = config.get("dtype", config.get("torch_dtype"))
        if declared in _STORED:
            stored = getattr(torch, declared)
    short = stored == torch.bfloat16 and not whole
    device = "cpu" if whole else best_device()
    dtype = best_dtype(device) if short else torch.float32
    model, tokenizer = load_path(source, dtype, device)
    return model.eval(), tokenizer, stored


def _dataset(settings: CompressSettings, workspace: Workspace) -> Dataset | None:
    if settings.data is None:
        return None
    from chatwright.compress.recover import objective_of

    place = Path(settings.data)
    data = Dataset.open(
        place if (place / "dataset.json").is_file() else workspace.dataset(settings.data)
    )
    objective_of(data)  # what cannot be trained on is refused before anything is done
    return data


def _texts(settings: CompressSettings, workspace: Workspace) -> Callable[[], Sequence[str]]:
    def read() -> Sequence[str]:
        from chatwright.compress.calibration import calibration_texts

        return calibration_texts(settings.calibration, workspace=workspace)

    return read


def _calibration_digest(settings: CompressSettings, workspace: Workspace) -> str | None:
    if settings.calibration is None:
        from chatwright.compress.calibration import calibration_texts

        return fingerprint("texts", calibration_texts())  # the built-in sample may change
    for path in (workspace.datasets / settings.calibration, Path(settings.calibration)):
        if (digest := content_fingerprint(path)) is not None:
            return digest
    raise UsageError(f"there is no dataset or file {settings.calibration!r}", where="--calibration")


def out_path(name: str, workspace: Workspace) -> Path:
    """Where a result of this name goes: `./…`, `../…`, `~…` and `/…` are paths, others models."""
    if name.startswith(("/", "./", "../", "~")) or name in (".", ".."):
        return Path(name).expanduser()
    parts = Path(name).parts
    if not parts or any(part.startswith(".") for part in parts):
        raise UsageError("this cannot be the name of a model", where=name)
    return workspace.models / name


def add_to_card(path: Path, table: str) -> None:
    """Put the table of measurements at the end of a compressed model's card."""
    card = path / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8").split("\n## Measured\n")[0].rstrip("\n")
        write_atomic(card, f"{text}\n\n## Measured\n\n{table}\n")
