"""`chatwright evaluate MODEL…`: measure models on a dataset of questions."""

from __future__ import annotations

from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def evaluate(
    models: Annotated[
        list[str], typer.Argument(help="Models to compare: alias, hf:…, folder, workspace name.")
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help="A dataset of questions, e.g. quickstart/held-out-questions."
        ),
    ],
    knowledge: Annotated[
        str | None, typer.Option(help="A knowledge dataset to retrieve passages from.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions.")] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Answer held-out questions with each model and score the answers.

    Example: `chatwright evaluate smollm2-135m-instruct quickstart/sft
    -d quickstart/held-out-questions --knowledge quickstart/knowledge`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.cli.progress import make_progress
    from chatwright.evaluate import evaluate_models
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    with make_progress() as progress:
        evaluation = evaluate_models(
            {model: model for model in models},
            place.dataset(data),
            knowledge=place.dataset(knowledge) if knowledge else None,
            limit=limit,
            workspace=place,
            progress=progress,
        )
    if json:
        print_json(evaluation.to_json())
    else:
        console().print(evaluation.table())
