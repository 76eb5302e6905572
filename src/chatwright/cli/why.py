"""`chatwright why DATASET ID-or-URI`: what became of a row, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def why(
    dataset: Annotated[str, typer.Argument(help="A dataset's name or folder.")],
    row: Annotated[str, typer.Argument(help="A row's id or uri.", metavar="ID-or-URI")],
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Tell what became of a row: each rule that acted on it, its value and bound.

    Example: `chatwright why quickstart/corpus https://docs.sqlalchemy.org/en/20/copyright.html`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.curate.explain import why as explain
    from chatwright.records import Dataset
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    explanation = explain(Dataset.open(place.dataset(dataset)), row, workspace=place)
    if json:
        print_json(explanation.to_json())
        return
    out = console()
    for line in explanation.lines:
        out.print(line, markup=False)
