"""`chatwright export`: a model or a dataset in a form that other programs read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import WorkspaceOption


class ExportFormat(StrEnum):
    """What to write."""

    hf = "hf"
    jsonl = "jsonl"


def export(
    name: Annotated[str, typer.Argument(help="A model (alias, folder, .gguf) or a dataset.")],
    out: Annotated[Path, typer.Argument(help="The folder (hf) or file (jsonl) to write.")],
    format: Annotated[
        ExportFormat,
        typer.Option(
            help="hf: a folder that transformers, vLLM and llama.cpp's converter open. "
            "jsonl: a dataset's rows, one JSON object a line."
        ),
    ] = ExportFormat.hf,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a model as a Hugging Face folder, or a dataset as JSON lines.

    Example: `chatwright export quickstart/sft ./my-model`
    """
    from chatwright.cli.console import console
    from chatwright.errors import UsageError
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    if out.exists():
        raise UsageError("this exists already", where=str(out), hint="choose another path")
    if format is ExportFormat.jsonl:
        rows = _write_jsonl(place.dataset(name), out)
        console().print(f"{out}: {rows:,} rows", markup=False)
        return
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
    console().print(f"{out}: ready for transformers, vLLM and llama.cpp's converter", markup=False)


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
