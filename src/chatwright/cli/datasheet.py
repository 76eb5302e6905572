"""`chatwright datasheet DATASET`: one page about where a dataset's rows come from, and more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def datasheet(
    dataset: Annotated[str, typer.Argument(help="A dataset's name or folder.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where the page goes. Default: beside the dataset's rows, "
                     "with croissant.json."),
    ] = None,
    croissant: Annotated[
        Path | None, typer.Option(help="Where the Croissant description goes.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="A YAML file with answers to what only people know, by the page's keys."),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Write a dataset's data sheet (HTML) and its Croissant description (JSON-LD), from facts.

    What only a person can answer is left as a marked field; `--answers` fills them in.

    Example: `chatwright datasheet news/curated --out news.html`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.errors import UsageError
    from chatwright.govern.datasheet.stage import read_answers, write_datasheet
    from chatwright.workspace import Workspace

    for file in (out, croissant):
        if file is not None and (file.is_dir() or file.parent.is_file()):
            raise UsageError("nothing can be written there", where=str(file), hint="name a file")
    given = read_answers(answers) if answers is not None else None
    sheet = write_datasheet(
        Workspace(workspace).dataset(dataset),
        name=dataset,
        page=out,
        description=croissant,
        answers=given,
    )
    if json:
        print_json(
            {
                "page": str(sheet.page),
                "croissant": str(sheet.croissant) if sheet.croissant else None,
                "rows": sheet.facts.rows,
                "open": list(sheet.open),
            }
        )
        return
    print_to = console().print
    print_to(f"data sheet: {sheet.page}", markup=False)
    if sheet.croissant is not None:
        print_to(f"croissant: {sheet.croissant}", markup=False)
    if sheet.open:
        print_to(f"open, for people to answer: {', '.join(sheet.open)}", markup=False)
