"""`chatwright evaluate MODEL…`: measure models on benchmarks, questions and texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from chatwright.evaluate import Evaluation
    from chatwright.workspace import Workspace


def evaluate(
    models: Annotated[
        list[str], typer.Argument(help="Models to compare: alias, hf:…, folder, workspace name.")
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            "-t",
            help="Benchmarks: names with commas between, or YAML files. `chatwright tasks` lists "
            "those that come along.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", help="A dataset of questions, e.g. quickstart/held-out-questions."
        ),
    ] = None,
    knowledge: Annotated[
        str | None, typer.Option(help="A knowledge dataset to retrieve passages from.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="A dataset of documents, for bits per byte.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="One more metric of the answers to --data, e.g. bleu."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many items of each, chosen by the seed.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=0, help="Worked examples, in place of each task's own number.")
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Put tasks through the model's chat template."),
    ] = None,
    gates: Annotated[
        list[str] | None,
        typer.Option(
            "--gate", help="A demand such as 'hellaswag: >= base - 1'; exit code 1 where it fails."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses items and worked examples.")] = 0,
    save: Annotated[
        str | None,
        typer.Option("--save", "-s", help="Keep the result as a run of this name (for compare)."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask everything anew, not trusting earlier answers.")
    ] = False,
    unsafe_code: Annotated[
        bool,
        typer.Option("--unsafe-code", help="Run generated code even where it cannot be locked up."),
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Measure models: benchmarks by name, held-out questions, texts. The first is the baseline.

    Example: `chatwright evaluate smollm2-135m-instruct --tasks arc_easy,hellaswag --limit 500`

    Example: `chatwright evaluate smollm2-135m-instruct quickstart/sft
    -d quickstart/held-out-questions --knowledge quickstart/knowledge`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.cli.progress import make_progress
    from chatwright.errors import UsageError
    from chatwright.evaluate import evaluate_models
    from chatwright.evaluate.gates import GateError, gate_table, judge, require
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    names = [name.strip() for text in tasks or () for name in text.split(",") if name.strip()]
    demands = dict(_gate(text) for text in gates or ())
    if save is not None and ("/" in save or save.startswith(".") or not save):
        raise UsageError("a run's name has no '/' and no dot in front", where=f"--save {save}")
    folder = place.runs / "evaluations"
    with make_progress() as progress:
        evaluation = evaluate_models(
            {model: model for model in models},
            place.dataset(data) if data else None,
            knowledge=place.dataset(knowledge) if knowledge else None,
            text=place.dataset(text) if text else None,
            tasks=names,
            metrics=tuple(metrics or ()),
            limit=limit,
            task_limit=limit,
            shots=shots,
            chat=chat,
            unsafe_code=unsafe_code,
            seed=seed,
            workspace=place,
            cache=None if fresh else folder / ".answers.db",
            progress=progress,
        )
    failed: GateError | None = None
    if demands:
        try:
            require(evaluation, demands)
        except GateError as error:
            failed = error
    _keep(evaluation, place, save, html)
    if json:
        print_json(evaluation.to_json())
    else:
        console().print(evaluation.table(), markup=False)
        if demands and failed is None:
            console().print("\n" + gate_table(judge(evaluation, demands)), markup=False)
    if failed is not None:
        raise failed


def _gate(text: str) -> tuple[str, str]:
    from chatwright.errors import UsageError
    from chatwright.evaluate.gates import check_gate

    key, colon, demand = text.partition(":")
    problem = check_gate(key.strip(), demand) if colon else "a gate is 'TASK: DEMAND'"
    if problem:
        raise UsageError(problem, where=f"--gate {text!r}")
    return key.strip(), demand.strip()


def _keep(evaluation: Evaluation, place: Workspace, save: str | None, html: Path | None) -> None:
    from chatwright.cli.console import error_console
    from chatwright.evaluate.stored import write_evaluation
    from chatwright.govern.evaluation_page import render_evaluation
    from chatwright.records import write_atomic

    if save is not None:
        path = place.runs / "evaluations" / save
        write_evaluation(path, evaluation)
        error_console().print(f"kept as evaluations/{save}", markup=False)
    if html is not None:
        write_atomic(html, render_evaluation(evaluation, evaluation.answers))
        error_console().print(f"page: {html}", markup=False)


def tasks(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List the tasks that `chatwright evaluate --tasks` knows by name.

    Example: `chatwright tasks`
    """
    from chatwright.cli.console import print_json, print_table
    from chatwright.evaluate.tasks import read_task_file, task_files
    from chatwright.evaluate.tasks.sources import locate
    from chatwright.workspace import Workspace

    listed = []
    for path in task_files(Workspace(workspace)).values():
        spec = read_task_file(path)
        here = [s.source for s in spec.sources if locate(s, path.parent)]
        of = ", ".join(spec.members) if spec.kind == "average" else (here or ["not here"])[0]
        listed.append(
            {
                "name": spec.name,
                "title": spec.shown,
                "kind": spec.kind,
                "language": spec.language,
                "shots": spec.shots,
                "source": of,
                "citation": spec.citation.strip(),
                "file": str(path),
            }
        )
    if json:
        print_json(listed)
        return
    print_table(
        ["name", "title", "kind", "language", "shots#", "source"],
        [
            [t["name"], t["title"], t["kind"], t["language"], t["shots"] or "", t["source"]]
            for t in sorted(listed, key=lambda t: (str(t["language"] or "~"), str(t["name"])))
        ],
    )
