"""`chatwright audit MODEL`: what a model gives away of its training data, and its biases.

`chatwright audit verify` is another thing by the same name: the audit log of the service.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatwright.cli.options import DatabaseOption, JsonOption, WorkspaceOption
from chatwright.errors import UsageError

if TYPE_CHECKING:
    from chatwright.serve.audit.chain import Mark


def audit(
    model: Annotated[
        str,
        typer.Argument(
            help="What to audit: workspace name, folder, alias, hf:…; or `verify`, to check the "
            "audit log of `chatwright serve`."
        ),
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
    database: DatabaseOption = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="LINE:HASH", help="With `verify`: a line as it was noted earlier."),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Attack a model's memory of its training data, and compare what it says of groups of people.

    With `verify` instead of a model: check that the service's audit log is whole.

    Example: `chatwright audit quickstart/sft --held-out quickstart/held-out-questions`

    Example: `chatwright audit verify`
    """
    if model == "verify":
        verify_log(database, workspace, expect, json=json)
        return
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


def verify_log(
    database: str | None, workspace: Path | None, expect: str | None, *, json: bool
) -> None:
    """Check the service's audit log and say what was found; exit code 1 where it is not whole."""
    from chatwright.cli.console import console, print_json
    from chatwright.cli.people import opened_store
    from chatwright.serve.audit import Verified, verify

    noted = None if expect is None else _mark(expect)
    with opened_store(database, workspace) as store:
        found = verify(store, expected=noted)
    whole = isinstance(found, Verified)
    if json:
        print_json({"whole": whole, **asdict(found)})
    elif isinstance(found, Verified):
        console().print(f"The audit log is whole: {found.lines} lines, up to line {found.last}.")
        console().print("To find out later whether the whole database was put back, note this:")
        console().print(f"  chatwright audit verify --expect {found.last}:{found.hash}")
    else:
        console().print(
            f"The audit log is not whole, at line {found.sequence}: {found.why}.", markup=False
        )
    if not whole:
        raise typer.Exit(1)


def _mark(text: str) -> Mark:
    from chatwright.serve.audit.chain import Mark

    sequence, _, told = text.partition(":")
    if not sequence.isdigit() or len(sequence) > 18 or not re.fullmatch(r"[0-9a-f]{64}", told):
        raise UsageError(
            "this is no line of an audit log", where="--expect",
            hint="as `chatwright audit verify` printed it: 120:5f…",
        )  # fmt: skip
    return Mark(int(sequence), told)
