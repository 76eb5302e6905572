"""`chatwright bias DATASET`: who is named in a dataset, how often, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def bias(
    dataset: Annotated[str, typer.Argument(help="A dataset's name or folder.")],
    lists: Annotated[
        list[Path] | None,
        typer.Option("--lists", help="Word lists of your own (YAML), in place of ours."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write pictures (SVG) into this folder.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show what may be an accident, too.")] = False,
    seed: Annotated[int, typer.Option(help="Fixes the intervals.")] = 0,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Count groups by gender, nationality, religion and age, and the words that go with them.

    Example: `chatwright bias quickstart/corpus`
    """
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.cli.progress import make_progress
    from chatwright.curate.bias.lexicon import LANGUAGES, read_lists
    from chatwright.curate.bias.show import (
        ASSOCIATION_COLUMNS,
        MENTION_COLUMNS,
        as_svg,
        association_rows,
        mention_rows,
    )
    from chatwright.curate.bias.stage import audit_dataset
    from chatwright.records import Dataset, write_atomic
    from chatwright.workspace import Workspace

    opened = Dataset.open(Workspace(workspace).dataset(dataset))
    own = {read_lists(path).language: str(path) for path in lists or ()}
    with make_progress() as progress:
        found = audit_dataset(opened, progress, lists=own, seed=seed)
    if plot is not None:
        for language in LANGUAGES:
            picture = as_svg(found, language)
            if picture:
                write_atomic(plot / f"bias-{language}.svg", picture)
    if json:
        print_json(found.to_json())
        return
    out = console()
    out.print(f"{dataset}: {found.rows:,} rows", style="bold", markup=False)
    if found.other_rows:
        out.print(f"! {found.other_rows:,} rows of other languages were not read", markup=False)
    for language in LANGUAGES:
        if not found.sentences.get(language):
            continue
        name = {"en": "English", "zh": "Chinese"}[language]
        count = found.sentences[language]
        out.print(f"\n\u2500\u2500 {name}: {count:,} sentences \u2500\u2500", style="bold cyan")
        print_table(MENTION_COLUMNS, mention_rows(found, language))
        mine = [a for a in found.associations if a.language == language]
        shown = mine if all_ else found.found(language)
        out.print(
            f"\n{len(found.found(language))} of {len(mine)} associations are no accident "
            "(false discoveries below 5 %)",
            style="bold",
            markup=False,
        )
        if shown:
            print_table(ASSOCIATION_COLUMNS, association_rows(shown, len(shown) if all_ else 30))
