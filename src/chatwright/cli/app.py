"""The verbs of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from chatwright.cli.arena import arena
from chatwright.cli.audit import audit
from chatwright.cli.backup import backup, restore
from chatwright.cli.bias import bias
from chatwright.cli.build import build
from chatwright.cli.chat import chat
from chatwright.cli.collect import collect
from chatwright.cli.compare import compare
from chatwright.cli.compress import compress
from chatwright.cli.conversations import conversations
from chatwright.cli.curate import curate
from chatwright.cli.datasheet import datasheet
from chatwright.cli.evaluate import evaluate, tasks
from chatwright.cli.export import export
from chatwright.cli.label import label
from chatwright.cli.listing import datasets, models, runs
from chatwright.cli.people import people
from chatwright.cli.serve import serve
from chatwright.cli.tune import tune
from chatwright.cli.why import why
from chatwright.version import __version__

app = typer.Typer(
    name="chatwright",
    help="Make a ChatGPT of your own, from raw pages to a served assistant, "
    "with every row accounted for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    build,
    tune,
    chat,
    serve,
    backup,
    restore,
    curate,
    why,
    datasheet,
    evaluate,
    tasks,
    compare,
    compress,
    audit,
    bias,
    conversations,
    export,
    models,
    datasets,
    runs,
):
    app.command()(verb)
app.add_typer(arena)
app.add_typer(collect)
app.add_typer(label)
app.add_typer(people)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chatwright {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass
