"""`chatwright audit MODEL`: what a model gives away of its training data, and its biases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def audit(
    model: Annotated[
        str, typer.Argument(help="What to audit: workspace name, folder, alias, hf:…")
    ],
    train: Annotated[
        list[str] | None,
        typer.Option("--train", help="Training rows, where lineage does not name them."),
    ] = None,
    held_out: Annotated[
        str | None, typer.Option("--held-out", help="Rows that it was not trained on: the control.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="A model not trained on them. Default: the one it began from."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Some parts: memorisation,membership,canaries,bias. Default: all."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many rows of each kind.")] = 32,
    examples: Annotated[
        int, typer.Option(help="Show so many texts that came back (training data!).")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Draws rows and samples.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write audit.json into this folder; an audit that was "
                     "cut off goes on from there."),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Attack a model's memory of its training data, and compare what it says of groups of people.

    Example: `chatwright audit quickstart/sft --held-out quickstart/held-out-questions`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.cli.progress import make_progress
    from chatwright.govern.audit.keeping import keep
    from chatwright.govern.audit.results import PARTS
    from chatwright.govern.audit.runner import audit_model
    from chatwright.govern.audit.show import as_text
    from chatwright.workspace import Workspace

    parts = tuple(part.strip() for part in only.split(",")) if only is not None else PARTS
    place = Workspace(workspace)
    with make_progress() as progress:
        found = audit_model(
            model,
            train=train or (),
            held_out=held_out,
            reference=reference,
            workspace=place,
            scratch=output,
            progress=progress,
            only=parts,
            limit=limit,
            examples=examples,
            seed=seed,
        )
    if output is not None:
        keep(found, output, model, place)
    if json:
        print_json(found.to_json())
    else:
        console().print(as_text(found), markup=False)
