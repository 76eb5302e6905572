"""`chatwright curate SOURCE…`: raw files in, an accounted-for dataset out, without a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def curate(
    sources: Annotated[
        list[str],
        typer.Argument(help="Files, folders, WARC archives, pypi:name==version, hf:owner/name."),
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="What to call the result.")],
    preset: Annotated[str, typer.Option(help="The table of quality rules.")] = "documentation",
    license: Annotated[
        str | None, typer.Option(help="Under what licence these sources are, where you know it.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Take only paths that match, e.g. 'doc/**/*.html'.")
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Collect and curate sources into the datasets NAME/collected and NAME/curated.

    Every input row has a line in the ledger; `chatwright why NAME/curated URI` reads it out.

    Example: `chatwright curate ./docs --name handbook`
    """
    from collections import Counter

    from chatwright.build import build
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.cli.progress import make_progress
    from chatwright.recipe import parse_recipe
    from chatwright.records import Dataset
    from chatwright.workspace import Workspace

    each: dict[str, object] = {"license": license} if license else {}
    if include:
        each["include"] = include
    recipe = parse_recipe(
        {
            "name": name,
            "stages": {
                "collected": {
                    "kind": "collect",
                    "sources": [{"source": source, **each} for source in sources],
                },
                "curated": {"kind": "curate", "input": "collected", "preset": preset},
            },
        },
        where="command line",
    )
    with make_progress() as progress:
        result = build(recipe, Workspace(workspace), progress=progress)
    dataset = Dataset.open(result.outputs["curated"])
    acted = Counter((e.action, e.rule) for e in dataset.ledger if e.action != "keep")
    if json:
        print_json(
            {
                "dataset": str(dataset.path),
                "rows": len(dataset),
                "counts": dataset.info.counts,
                "rules": [{"action": a, "rule": r, "rows": n} for (a, r), n in acted.items()],
            }
        )
        return
    console().print(f"{name}/curated: {len(dataset):,} rows at {dataset.path}", markup=False)
    if acted:
        print_table(
            ["action", "rule", "rows#"],
            [(action, rule, f"{count:,}") for (action, rule), count in acted.most_common()],
        )
