"""`chatwright compare A B`: two models on the same items, as a table and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from chatwright.evaluate.pairing import Pairing
    from chatwright.workspace import Workspace


def compare(
    first: Annotated[
        str,
        typer.Argument(
            help="An evaluation (name, folder or evaluation.json), or a model of it as "
            "RESULT:LABEL. With --tasks, a model.",
            metavar="A",
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            help="The other. Left out where A holds several models: then these are compared.",
            metavar="B",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            "-t",
            help="Evaluate A and B, two models, on these tasks first. Several: commas, or again.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="With --tasks: only so many items of each.", min=1)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The HTML page to write. Default: in the workspace's comparisons/.",
            show_default=False,
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Compare two models item by item, and write a page with plots and the items they differ on.

    Example: `chatwright compare quickstart/evaluation:before nightly/evaluation:after -o diff.html`
    """
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.govern.evaluation_page import render_evaluation
    from chatwright.govern.scores import score_table
    from chatwright.records import disk_errors, write_atomic
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    wanted = [name.strip() for given in tasks or [] for name in given.split(",") if name.strip()]
    pairing = (
        _measure(first, second, wanted, limit, place) if wanted else _read(first, second, place)
    )
    evaluation = pairing.evaluation
    page = render_evaluation(
        evaluation, notes=pairing.notes, sources=pairing.sources, lineage=pairing.lineage
    )
    path = (out or place.root / "comparisons" / _file_name(pairing)).absolute()
    with disk_errors(path):
        write_atomic(path, page)
    if json:
        left_out = {"notes": pairing.notes, "sources": pairing.sources, "page": str(path)}
        print_json(evaluation.to_json() | left_out)
    else:
        print_table(*score_table(evaluation))
        for note in pairing.notes:
            console().print(f"note: {note}", markup=False)
        console().print(f"{evaluation.items:,} items; the page: {path}", markup=False)
    if open_page:
        import webbrowser

        webbrowser.open(path.as_uri())


def _measure(
    first: str, second: str | None, tasks: list[str], limit: int | None, place: Workspace
) -> Pairing:
    """Two models, evaluated now."""
    from chatwright.cli.progress import make_progress
    from chatwright.errors import UsageError
    from chatwright.evaluate import evaluate_models
    from chatwright.evaluate.pairing import Pairing

    if second is None:
        raise UsageError(
            "--tasks evaluates two models, and there is one", hint="name the other model too"
        )
    if first == second:
        raise UsageError(f"both sides are the model {first!r}", hint="name two models")
    answers = place.runs / "evaluations" / ".answers.db"  # what `evaluate` was told before
    options: dict[str, Any] = {"tasks": tasks, "cache": answers}
    if limit is not None:
        options["task_limit"] = limit
    with make_progress() as progress:
        evaluation = evaluate_models(
            {first: first, second: second}, workspace=place, progress=progress, **options
        )
    return Pairing(evaluation)


def _read(first: str, second: str | None, place: Workspace) -> Pairing:
    """Results on disk: one with several models, or two."""
    from chatwright.errors import UsageError
    from chatwright.evaluate.pairing import alone, pair, side
    from chatwright.evaluate.stored import find_reference, list_evaluations, read_evaluation

    found = []
    for text in (first, second):
        if text is None:
            continue
        reference = find_reference(text, place.runs)
        if reference is None:
            there = ", ".join(list_evaluations(place.runs)) or "none yet"
            raise UsageError(
                f"there is no evaluation called {text!r}",
                where=str(place.runs),
                hint=f"evaluations here: {there}; to measure two models now, give --tasks",
            )
        found.append((text, *reference))
    text, path, label = found[0]
    if second is None:
        return alone(read_evaluation(path), text, label)
    stored = {path: read_evaluation(path) for path in dict.fromkeys(p for _, p, _ in found)}
    sides = [side(stored[path], text, label) for text, path, label in found]
    return pair(sides[0], sides[1])


def _file_name(pairing: Pairing) -> str:
    """A file name of the models' names."""
    import re

    names = [m.name for m in pairing.evaluation.models]
    parts = [re.sub(r"[^\w.-]+", "-", name).strip("-.")[-60:] or "model" for name in names]
    return "-against-".join(parts[:3]) + ".html"
