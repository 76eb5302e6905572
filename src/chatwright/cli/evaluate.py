"""`chatwright evaluate MODEL…`: measure models on benchmarks, questions and texts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from chatwright.errors import ChatwrightError, UsageError
    from chatwright.evaluate import evaluate_models
    from chatwright.evaluate.gates import GateError, gate_table, judge, require
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    if len(set(models)) < len(models):
        raise UsageError("a model is named twice", where=" ".join(models))
    names = [name.strip() for text in tasks or () for name in text.split(",") if name.strip()]
    demands = _gates(gates or ())
    if save is not None and ("/" in save or save.startswith(".") or not save):
        raise UsageError("a run's name has no '/' and no dot in front", where=f"--save {save}")
    folder = place.runs / "evaluations"
    asked = {"data": data, "knowledge": knowledge, "text": text}
    given: dict[str, Any] = {key: place.dataset(name) for key, name in asked.items() if name}
    # Answers to questions are kept until the figures are there: what was cut off goes on from them.
    scratch: Path | None = None
    if given and not fresh:
        scratch = folder / ".work" / _name(models, given, place, [limit, seed, metrics])
    with make_progress() as progress:
        evaluation = evaluate_models(
            {model: model for model in models},
            given.get("data"),
            knowledge=given.get("knowledge"),
            text=given.get("text"),
            tasks=names,
            metrics=tuple(metrics or ()),
            limit=limit,
            task_limit=limit,
            shots=shots,
            chat=chat,
            unsafe_code=unsafe_code,
            seed=seed,
            workspace=place,
            scratch=scratch,
            cache=None if fresh else folder / ".answers.db",
            progress=progress,
        )
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    failed: ChatwrightError | None = None
    if demands:
        try:
            require(evaluation, demands)
        except (GateError, UsageError) as error:  # the figures are there, whatever is asked of them
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


def _name(models: list[str], given: dict[str, Path], place: Workspace, how: list[Any]) -> str:
    """Names an evaluation by what the models and datasets are, not by what they are called."""
    from chatwright.model.references import resolve
    from chatwright.records import Dataset, files_fingerprint, fingerprint

    weights = [files_fingerprint(resolve(model, workspace=place)) for model in models]
    data = {key: Dataset.open(path).fingerprint for key, path in given.items()}
    return fingerprint("evaluation", [models, weights, data, how])


def _gates(texts: Sequence[str]) -> dict[str, str]:
    from chatwright.errors import UsageError
    from chatwright.evaluate.gates import check_gate

    found: dict[str, str] = {}
    for text in texts:
        key, colon, demand = (part.strip() for part in text.partition(":"))
        problem = check_gate(key, demand) if colon else "a gate is 'TASK: DEMAND'"
        if key in found:
            problem = f"there are two gates on {key!r}"
        if problem:
            raise UsageError(problem, where=f"--gate {text!r}")
        found[key] = demand
    return found


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
    from chatwright.cli.console import print_error, print_json, print_table
    from chatwright.errors import DataError
    from chatwright.evaluate.tasks import read_task_file, task_files
    from chatwright.evaluate.tasks.sources import locate
    from chatwright.workspace import Workspace

    listed = []
    for name, path in task_files(Workspace(workspace)).items():
        try:
            spec = read_task_file(path)
        except DataError as error:  # somebody's own: the others are there all the same
            print_error(error)
            continue
        here = [s.source for s in spec.sources if locate(s, path.parent)]
        of = ", ".join(spec.members) if spec.kind == "average" else (here or ["not here"])[0]
        listed.append(
            {
                "name": name,
                "title": spec.shown,
                "kind": spec.kind,
                "language": spec.language,
                "shots": spec.shots,
                "source": of,
                "citation": spec.citation.strip(),
                "description": spec.description.strip(),
                "file": str(path),
            }
        )
    if json:
        print_json(listed)
        return
    print_table(
        ["name", "title", "kind", "lang", "shots#", "items from"],
        [
            [
                t["name"],
                t["title"],
                t["kind"],
                t["language"],
                t["shots"] or "",
                _origin(str(t["source"])),
            ]
            for t in sorted(listed, key=lambda t: (str(t["language"] or "~"), str(t["name"])))
        ],
    )


def _origin(source: str) -> str:
    """Where a task's items come from, in few words; `--json` has the whole of it."""
    scheme, colon, _ = source.partition(":")
    return {"data": "CHATWRIGHT_DATA", "package": "Chatwright"}.get(scheme if colon else "", source)
