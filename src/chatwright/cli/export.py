"""`chatwright export`: a model or a dataset in a form that other programs read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatwright.cli.options import WorkspaceOption

if TYPE_CHECKING:
    from chatwright.workspace import Workspace


class ExportFormat(StrEnum):
    """What to write."""

    hf = "hf"
    gguf = "gguf"
    jsonl = "jsonl"


class WeightType(StrEnum):
    """How a GGUF file holds the matrices."""

    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    q8_0 = "q8_0"
    q4_1 = "q4_1"
    q4_0 = "q4_0"


def export(
    name: Annotated[str, typer.Argument(help="A model (alias, folder, .gguf) or a dataset.")],
    out: Annotated[Path, typer.Argument(help="The folder (hf) or file (gguf, jsonl) to write.")],
    format: Annotated[
        ExportFormat,
        typer.Option(
            help="hf: a folder that transformers and vLLM open. gguf: one file that llama.cpp and "
            "Ollama run. jsonl: a dataset's rows, one JSON object a line."
        ),
    ] = ExportFormat.hf,
    type: Annotated[
        WeightType | None,
        typer.Option(
            help="gguf: bytes a weight. f16 (the default) 2; q8_0 1.06; q4_1 0.63; q4_0 0.56. "
            "What is in that type already is taken over unchanged."
        ),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a model as a Hugging Face folder or a GGUF file, or a dataset as JSON lines.

    Example: `chatwright export quickstart/sft ./my-model.gguf --format gguf --type q8_0`
    """
    from chatwright.cli.console import console
    from chatwright.errors import UsageError
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    if out.exists():
        raise UsageError("this exists already", where=str(out), hint="choose another path")
    if type is not None and format is not ExportFormat.gguf:
        raise UsageError("only a GGUF file has a weight type", where="--type", hint="--format gguf")
    if format is ExportFormat.jsonl:
        rows = _write_jsonl(place.dataset(name), out)
        console().print(f"{out}: {rows:,} rows", markup=False)
    elif format is ExportFormat.gguf:
        kind = type or WeightType.f16
        _write_gguf(name, out, kind.value.upper(), place)
        size = out.stat().st_size / 1e6
        said = f"{out}: {size:,.0f} MB of {kind.value}, ready for llama.cpp and Ollama"
        console().print(said, markup=False)
    else:
        _write_folder(name, out, place)
        console().print(f"{out}: ready for transformers and vLLM", markup=False)


def _write_folder(name: str, out: Path, place: Workspace) -> None:
    from chatwright.model import load_model, save_model
    from chatwright.records import read_json

    model, tokenizer = load_model(name, workspace=place)
    # Where it came from goes with it, when it is one of ours.
    folder = place.model(name) or Path(name)
    card, lineage = folder / "README.md", folder / "lineage.json"
    save_model(
        model,
        tokenizer,
        out,
        card=card.read_text(encoding="utf-8") if card.is_file() else None,
        lineage=read_json(lineage, "lineage") if lineage.is_file() else None,
    )


def _write_gguf(name: str, out: Path, kind: str, place: Workspace) -> None:
    import torch

    from chatwright.model import load_model
    from chatwright.model.gguf_metadata import provenance
    from chatwright.model.gguf_write import write_gguf
    from chatwright.model.references import gguf_of, resolve

    path = resolve(name, workspace=place)
    # float32 holds exactly what any file holds; on the CPU, where files are written.
    model, tokenizer = load_model(path, dtype=torch.float32, device="cpu")
    source = gguf_of(path)
    general = provenance(path, source)
    write_gguf(model, tokenizer, out, kind, source=source, general=general)  # type: ignore[arg-type]


def _write_jsonl(dataset: Path, out: Path) -> int:
    import json

    from chatwright.records import Dataset, disk_errors

    rows = Dataset.open(dataset)
    partial = out.with_name(f".{out.name}.partial")
    try:
        with disk_errors(out), partial.open("w", encoding="utf-8") as file:
            for row in rows:
                values = row.to_arrow()
                values["meta"] = row.meta
                file.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return len(rows)
