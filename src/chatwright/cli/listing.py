"""`chatwright models`, `datasets`, `runs`: what there is in the workspace."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption


def models(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List assistants, trained models and the names that can be downloaded.

    Example: `chatwright models`
    """
    from chatwright.cli.console import print_json, print_table
    from chatwright.model.references import KNOWN_MODELS
    from chatwright.records import result_fingerprint
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    rows: list[dict[str, Any]] = []
    for name in place.list_assistants():
        path = place.assistants / f"{name}.json"
        rows.append({"name": name, "type": "assistant", "from": str(path)})
    for name in place.list_models():
        rows.append({"name": name, "type": "model", "from": str(place.models / name)})
    for row in rows:
        row["fingerprint"] = result_fingerprint(
            place.assistants / f"{row['name']}.json"
            if row["type"] == "assistant"
            else place.models / row["name"]
        )
    for name, known in KNOWN_MODELS.items():
        rows.append({"name": name, "type": "download", "from": known.source, "fingerprint": None})
    if json:
        print_json(rows)
    else:
        print_table(
            ["name", "type", "from", "fingerprint"],
            [(r["name"], r["type"], r["from"], (r["fingerprint"] or "")[:12]) for r in rows],
        )


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="Show this dataset's description and first rows.")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many rows to show.")] = 3,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """List datasets, or look into one.

    Example: `chatwright datasets quickstart/corpus --rows 5`
    """
    from itertools import islice

    from chatwright.cli.console import console, print_json, print_table
    from chatwright.records import Dataset
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    if name is None:
        found = [Dataset.open(place.datasets / n) for n in place.list_datasets()]
        if json:
            print_json([_describe(d, place) for d in found])
            return
        print_table(
            ["name", "kind", "rows#", "ledger lines#", "made by", "fingerprint"],
            [
                (
                    d.path.relative_to(place.datasets).as_posix(),
                    d.info.kind,
                    f"{len(d):,}",
                    f"{d.info.ledger_rows:,}",
                    d.info.stage,
                    d.fingerprint[:12],
                )
                for d in found
            ],
        )
        return
    dataset = Dataset.open(place.dataset(name))
    shown = [row.to_arrow() for row in islice(dataset.rows, max(rows, 0))]
    if json:
        print_json({**_describe(dataset, place), "first_rows": shown})
        return
    out = console()
    out.print(f"{name}: {len(dataset):,} {dataset.info.kind} rows", markup=False)
    for parent in dataset.parents:
        out.print(f"  made from {parent.name} ({parent.fingerprint[:12]})", markup=False)
    for row in shown:
        out.print(f"\n{row['id']}  {row['uri']}", style="bold", markup=False)
        text = row.get("text")
        if text is None:
            turns = row.get("messages") or row.get("prompt") or []
            text = "\n".join(f"{m['role']}: {m['content']}" for m in turns)
        out.print(text[:800] + (" …" if len(text) > 800 else ""), markup=False)


def _describe(dataset: Any, place: Any) -> dict[str, Any]:
    from dataclasses import asdict

    path = dataset.path
    name = path.relative_to(place.datasets) if path.is_relative_to(place.datasets) else path
    return {"name": str(name), "path": str(path), **asdict(dataset.info)}


def runs(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List builds: each stage, when it last ran, how long it took and its memory.

    Example: `chatwright runs`
    """
    from chatwright.build import read_build_record
    from chatwright.cli.console import print_json, print_table
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    names = sorted(p.parent.name for p in place.runs.glob("*/build.json"))
    records = {name: read_build_record(place, name) for name in names}
    if json:
        print_json(records)
        return
    print_table(
        ["recipe", "stage", "kind", "seconds#", "memory#", "finished"],
        [
            (
                recipe,
                stage,
                took["kind"],
                f"{took['seconds']:.1f}",
                f"{took['peak_bytes'] / 2**20:.0f} MiB",
                took["finished_at"],
            )
            for recipe, stages in records.items()
            for stage, took in stages.items()
        ],
    )
