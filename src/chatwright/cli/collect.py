"""`chatwright collect …`: pages of the web, and served chats of people who agreed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption

collect = typer.Typer(
    name="collect",
    help="Get pages from the web, and what people say in the chats that were served.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@collect.command()
def crawl(
    addresses: Annotated[list[str], typer.Argument(help="Where to begin.", metavar="URL...")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: NAME.warc.gz.")],
    contact: Annotated[
        str | None,
        typer.Option(
            envvar="CHATWRIGHT_CONTACT",
            help="An e-mail address or page for the User-Agent, so that people can reach you.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Also this host; *.example.org: all below it."),
    ] = None,
    max_pages: Annotated[int, typer.Option(min=1, help="At most so many pages.")] = 1000,
    max_depth: Annotated[
        int, typer.Option(min=0, help="At most so many links away from where it begins.")
    ] = 10,
    max_megabytes: Annotated[
        float, typer.Option(min=0.001, help="At most so much, as sent, in all.")
    ] = 2000,
    page_megabytes: Annotated[
        float, typer.Option(min=0.001, help="A larger page is left out.")
    ] = 20,
    minutes: Annotated[float, typer.Option(min=0.01, help="At most so long.")] = 360,
    page_seconds: Annotated[
        float, typer.Option(min=0.1, help="A page that takes longer is left out.")
    ] = 60,
    delay: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds between two requests to a host; Crawl-delay may ask for more."
        ),
    ] = 1.0,
    sitemaps: Annotated[bool, typer.Option(help="Read the sites' sitemaps.")] = True,
    revisit: Annotated[
        list[Path] | None,
        typer.Option("--revisit", help="An earlier crawl: what has not changed is not sent again."),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Also hosts of this machine and its network."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Crawl sites into a WARC file, politely; run again after a stop, it goes on.

    Obeys robots.txt and Crawl-delay; leaves out pages that ask not to be indexed or mined; stays
    on the hosts named. A line for each address is in NAME.crawl/ledger.jsonl.

    Example: `chatwright collect crawl https://docs.example.org --out docs.warc.gz --contact me@example.org`
    """  # noqa: E501 (an example is one line)
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.cli.progress import make_progress
    from chatwright.collect.crawl.crawler import crawl as run
    from chatwright.collect.crawl.crawler import describe
    from chatwright.collect.crawl.settings import CrawlSettings
    from chatwright.errors import UsageError

    settings = CrawlSettings(
        seeds=tuple(addresses),
        allow_hosts=tuple(allow_host or ()),
        max_pages=max_pages,
        max_depth=max_depth,
        max_bytes=int(max_megabytes * 1e6),
        page_bytes=int(page_megabytes * 1e6),
        seconds=minutes * 60,
        page_seconds=page_seconds,
        delay=delay,
        sitemaps=sitemaps,
        allow_private=allow_private,
        contact=contact,
        revisit=tuple(str(path) for path in revisit or ()),
    )
    if contact is None and settings.public_seeds:
        raise UsageError(
            "a crawler says whose it is, and no contact is given",
            where=settings.public_seeds[0],
            hint="--contact you@example.org, or the environment variable CHATWRIGHT_CONTACT",
        )
    with make_progress() as progress:
        result = run(settings, out, progress=progress)
    if json:
        print_json(describe(result))
        return
    console().print(
        f"{result.warc}: {result.pages:,} pages, {result.bytes:,} bytes as sent; "
        f"ended by {result.stopped}, {result.waiting:,} addresses waiting",
        markup=False,
    )
    print_table(
        ["action", "rule", "addresses#"],
        [(action, rule, f"{n:,}") for (action, rule), n in result.rules.most_common()],
    )
    console().print(f"every address: {result.ledger}", markup=False)


@collect.command()
def feedback(
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", help="The name of the datasets in the workspace.")
    ] = "feedback",
    database: Annotated[
        str | None,
        typer.Option(
            help="The service's database: a file, sqlite:///… or postgresql://…. "
            "Default: chat.db in the workspace.",
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Make datasets of served chats and of what people said of the answers.

    Only of people who agreed that their chats train models, and still do; run again after somebody
    withdrew, and their rows are gone. Writes OUT/conversations, OUT/preferences (datasets with
    ledgers), the same as JSONL, and OUT/removed.jsonl.

    Example: `chatwright collect feedback --out feedback`
    """
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.serve.feedback.export import export_feedback
    from chatwright.workspace import Workspace

    done = export_feedback(Workspace(workspace), out, database)
    if json:
        print_json(done.to_json())
        return
    print_table(["rows", "number#"], [(kind, f"{n:,}") for kind, n in done.rows.items()])
    if done.left_out:
        print_table(
            ["left out by", "chats or pairs#"],
            [(rule, f"{n:,}") for rule, n in done.left_out.most_common()],
        )
    if done.removed:
        console().print(
            f"{len(done.removed):,} rows of before are gone ({done.folder / 'removed.jsonl'}); "
            "build what was made from them again",
            markup=False,
        )
    for name in done.still_in:
        console().print(f"still holds rows that are gone: {name}", markup=False)
    console().print(f"written: {done.folder}", markup=False)
