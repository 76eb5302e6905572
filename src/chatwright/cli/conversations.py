"""`chatwright conversations DATA`: how served conversations went, and whether it got worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def conversations(
    data: Annotated[
        str, typer.Argument(help="A conversation dataset, or a JSONL file of chat messages.")
    ],
    by: Annotated[
        str, typer.Option(help="Group by these, with commas; language+model means both at once.")
    ] = "intent,language,model",
    bucket: Annotated[str, typer.Option(help="Trends by day, week or month (UTC).")] = "week",
    html: Annotated[
        Path | None, typer.Option(help="Also write the report as one HTML page.")
    ] = None,
    minimum: Annotated[
        int, typer.Option(min=2, help="Compare versions with at least so many conversations each.")
    ] = 30,
    level: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="False-alarm rate that alerts may have.")
    ] = 0.05,
    fail_on_alert: Annotated[
        bool, typer.Option("--fail-on-alert", help="Exit with 1 when the newest version is worse.")
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Find repeated questions by meaning too.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of intervals, tests and groups.")] = 0,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Measure served conversations: satisfaction, resolution, abandonment, sentiment, latency.

    Only rows with consent are read. The newest model version is compared with the one before it.

    Example: `chatwright conversations history --by language,model --html report.html`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.cli.progress import make_progress
    from chatwright.curate.textmodels import sentiment
    from chatwright.errors import UsageError
    from chatwright.evaluate.conversations import analyse, read_conversations
    from chatwright.evaluate.conversations.repeats import embedding_similarity
    from chatwright.records import Dataset, disk_errors, write_atomic
    from chatwright.workspace import Workspace

    if html is not None and (html.is_dir() or html.parent.is_file()):
        raise UsageError("the page cannot be written there", where=str(html), hint="name a file")
    path = Path(data) if Path(data).is_file() else Workspace(workspace).dataset(data)
    with make_progress() as progress:
        report = analyse(
            read_conversations(path),
            by=[name.strip() for name in by.split(",") if name.strip()],
            bucket=bucket,  # type: ignore[arg-type]  # checked there, with the choices named
            sentiment=sentiment,
            similarity=embedding_similarity() if embeddings else None,
            minimum=minimum,
            level=level,
            seed=seed,
            total=None if path.is_file() else len(Dataset.open(path)),
            progress=progress,
        )
    if html is not None:
        from chatwright.govern.conversations_page import render_conversations

        with disk_errors(html):
            write_atomic(html, render_conversations(report, title=f"Conversations: {data}"))
    if json:
        print_json(report.to_json())
    else:
        out = console()
        for line in report.lines(min(out.width, 160)):
            style = "bold red" if line.startswith("alert: ") else None
            out.print(line, markup=False, style=style, soft_wrap=True)
        if html is not None:
            out.print(f"\nwritten: {html}", markup=False)
    if fail_on_alert and report.alerts:
        raise typer.Exit(1)
