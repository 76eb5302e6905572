"""`chatwright build RECIPE`: make an assistant, or go on where the last run stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def build(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/quickstart.yaml.")],
    workspace: WorkspaceOption = None,
    from_stage: Annotated[
        str | None, typer.Option("--from", help="Make this stage and all after it anew.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Build what a recipe describes. A stage that is up to date is skipped.

    Interrupt it with Ctrl-C whenever you like; the same command goes on from there.
    `torchrun --nproc-per-node 4 -m chatwright build RECIPE` trains with four processes.

    Example: `chatwright build recipes/quickstart.yaml`
    """
    from chatwright.build import build as run_build
    from chatwright.build import plan
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.cli.progress import make_progress
    from chatwright.recipe import load_recipe
    from chatwright.train.world import current_world
    from chatwright.workspace import Workspace

    described = load_recipe(recipe)
    place = Workspace(workspace)
    main = current_world().is_main
    if dry_run and not main:
        return
    if dry_run:
        items = plan(described, place, from_stage=from_stage)
        if json:
            print_json(
                [
                    {
                        "stage": item.stage.name,
                        "kind": item.stage.kind.kind,
                        "state": item.state,
                        "fingerprint": item.fingerprint,
                        "output": str(item.output),
                    }
                    for item in items
                ]
            )
        else:
            words = {
                "done": "up to date",
                "changed": "to do again (changed)",
                "new": "to do",
                "unfinished": "to go on with",
            }
            print_table(
                ["stage", "kind", "state", "result"],
                [
                    (i.stage.name, i.stage.kind.kind, words[i.state], _short(i.output, place))
                    for i in items
                ],
            )
        return
    with make_progress(quiet=not main) as progress:
        result = run_build(described, place, progress=progress, from_stage=from_stage)
    if not main:
        return
    if json:
        print_json(
            {
                "recipe": described.name,
                "ran": result.ran,
                "skipped": result.skipped,
                "fingerprints": result.fingerprints,
                "outputs": {name: str(path) for name, path in result.outputs.items()},
            }
        )
        return
    out = console()
    if not result.ran:
        out.print(f"nothing to do: all {len(result.skipped)} stages are up to date")
    for name, path in result.outputs.items():
        if (path / "report.html").exists():
            out.print(f"report: {path / 'report.html'}", markup=False)
        if described.stage(name).kind.output == "assistants":
            out.print(f"talk to it: chatwright chat {described.name}")
            out.print(f"serve it:   chatwright serve {described.name}")


def _short(path: Path, workspace: object) -> str:
    root = getattr(workspace, "root", None)
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
