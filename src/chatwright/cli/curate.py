"""`chatwright curate SOURCE…`: raw files in, an accounted-for dataset out, without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption

_LOOKED_AT = 20_000  # lines of the ledger, for an example of a row that went

_Mode = Literal["tag", "mask", "pseudonym", "drop"]


def curate(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, WARC archives, pypi:name==version, hf:owner/name; "
            "or dataset:NAME, one that is in the workspace."
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="What to call the result.")],
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="The table of quality rules: documentation (default), web, fineweb, gopher, c4, "
            "fineweb2-zh, chat, or a YAML file; several hold together."
        ),
    ] = None,
    rows: Annotated[
        Literal["documents", "conversations"] | None,
        typer.Option(help="What tables hold; conversations with the preset chat unless told."),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", "-l", help="Keep only these: en, zh, …")
    ] = None,
    near: Annotated[
        bool | None,
        typer.Option(
            "--near/--no-near",
            help="Drop near-duplicates as well; on unless the preset is documentation.",
        ),
    ] = None,
    safety: Annotated[
        bool, typer.Option(help="Drop adult, offensive and spam pages and lists of personal data.")
    ] = False,
    privacy: Annotated[
        _Mode | None, typer.Option(help="What becomes of personal data; left as it is unless told.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="With pseudonyms: the variable that holds their key.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Under what licence these sources are, where you know it.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Take only paths that match, e.g. 'doc/**/*.html'.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="The column of tables that holds the text.")
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Processes of this machine, or Ray's.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=0, help="How many; as many as cores unless told.")
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Collect and curate sources into the datasets NAME/collected and NAME/curated.

    Every input row has a line in the ledger; `chatwright why NAME/curated URI` reads it out.

    Example: `chatwright curate ./crawl.warc.gz --name news --preset fineweb --language en`
    """
    from collections import Counter
    from itertools import islice
    from shlex import quote

    from chatwright.build import build
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.cli.progress import make_progress
    from chatwright.errors import DataError, UsageError
    from chatwright.govern.datasheet.stage import write_datasheet
    from chatwright.recipe import parse_recipe
    from chatwright.records import Dataset
    from chatwright.workspace import Workspace

    if key_env and privacy != "pseudonym":
        raise UsageError(
            "only pseudonyms have a key", where="--key-env", hint="say --privacy pseudonym as well"
        )
    if privacy == "pseudonym" and not key_env:
        raise UsageError(
            "pseudonyms need a key, so that the same person stays one person",
            where="--privacy",
            hint="export PSEUDONYM_KEY=$(openssl rand -hex 32), keep it, "
            "and say --key-env PSEUDONYM_KEY",
        )
    presets = preset or ["documentation"]
    kind = rows or ("conversations" if presets == ["chat"] else "documents")
    each = {"license": license, "include": include, "text_column": text_column}
    each = {key: value for key, value in each.items() if value}
    stages: dict[str, Any] = {}
    # One dataset of the workspace, as it is, needs no reading.
    own = len(sources) == 1 and not each and sources[0].startswith("dataset:")
    if not own:
        stages["collected"] = {
            "kind": "collect",
            "rows": kind,
            "sources": [{"source": source, **each} for source in sources],
        }
    wanted: dict[str, Any] = {
        "preset": presets if len(presets) > 1 else presets[0],
        "languages": language,
        "dedup": {"near": presets != ["documentation"] if near is None else near},
        "safety": {} if safety else None,
        "privacy": {"mode": privacy, "key_env": key_env} if privacy else None,
    }
    stages["curated"] = {
        "kind": "curate",
        "input": sources[0].removeprefix("dataset:") if own else "collected",
        **{key: value for key, value in wanted.items() if value is not None},
        "executor": executor,
        "workers": workers,
    }
    recipe = parse_recipe({"name": name, "stages": stages}, where="command line")
    with make_progress() as progress:
        result = build(recipe, Workspace(workspace), progress=progress)
    dataset = Dataset.open(result.outputs["curated"])
    acted = Counter(
        {
            (action, rule): count
            for (action, _, rule), count in (
                (key.partition(" "), count) for key, count in dataset.info.counts["rules"].items()
            )
            if action != "keep"
        }
    )
    sheet = write_datasheet(dataset.path, name=f"{name}/curated")
    if json:
        print_json(
            {
                "dataset": str(dataset.path),
                "datasheet": str(sheet.page),
                "rows": len(dataset),
                "counts": dataset.info.counts,
                "rules": [{"action": a, "rule": r, "rows": n} for (a, r), n in acted.items()],
            }
        )
        return
    if not dataset.info.counts["in"]:
        read = "conversations" if kind == "conversations" and not own else "documents"
        raise DataError(
            f"no row was read: the sources hold no {read}",
            where=", ".join(sources),
            hint="--rows documents reads pages and texts, --rows conversations reads messages; "
            "the preset chat alone means conversations",
        )
    apart = 0 if own else _unlicensed(result.outputs["collected"])
    console().print(f"{name}/curated: {len(dataset):,} rows at {dataset.path}", markup=False)
    console().print(f"data sheet: {sheet.page}", markup=False, soft_wrap=True)
    if acted:
        print_table(
            ["action", "rule", "rows#"],
            [(action, rule, f"{count:,}") for (action, rule), count in acted.most_common()],
        )
    if len(dataset) < dataset.info.counts["in"]:
        early = islice(dataset.ledger, _LOOKED_AT)
        if gone := next((e.uri or e.row_id for e in early if e.action == "drop"), None):
            console().print(
                f"why one of them went: chatwright why {name}/curated {quote(gone)}",
                markup=False,
                soft_wrap=True,
            )
    if apart:
        console().print(
            f"{apart:,} rows have no known licence; say --license where you know it", markup=False
        )


def _unlicensed(collected: Path) -> int:
    from chatwright.records import Dataset

    return int(Dataset.open(collected).info.counts.get("unlicensed") or 0)
