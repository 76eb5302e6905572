"""`chatwright compress MODEL OUT`: a smaller model, and what that cost, measured."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from chatwright.compress.measure import Texts
    from chatwright.compress.report import Report
    from chatwright.compress.run import Compressed
    from chatwright.progress import Progress
    from chatwright.workspace import Workspace


class CompressMethod(StrEnum):
    """How to make a model smaller."""

    int8 = "int8"
    int4 = "int4"
    prune = "prune"
    heads = "heads"
    channels = "channels"
    layers = "layers"
    low_rank = "low-rank"
    share = "share"
    distil = "distil"


def compress(
    model: Annotated[
        str, typer.Argument(help="What to compress: alias, hf:…, folder, .gguf, workspace name.")
    ],
    out: Annotated[
        str, typer.Argument(help="A name for the workspace's models, or a path (./…, /…).")
    ],
    method: Annotated[
        CompressMethod,
        typer.Option(
            "--method",
            "-m",
            help="int8, int4: smaller numbers. prune: zeros. heads, channels, layers: parts taken "
            "out. low-rank: thin matrices. share: layers with the same weights. distil: a student "
            "with fewer layers.",
        ),
    ],
    calibrate: Annotated[
        str | None, typer.Option(help="int8, int4: none, awq or gptq. Default: none.")
    ] = None,
    group: Annotated[
        int | None,
        typer.Option(help="int8, int4: numbers with one scale; 0: a whole row. Default: 32."),
    ] = None,
    symmetric: Annotated[
        bool | None,
        typer.Option("--symmetric/--asymmetric", help="int4: without or with an offset a group."),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(help="int4: embedding and head as int8 (default), or the same as the rest."),
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="prune: the share of weights set to zero. Default: 0.5.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="prune: 2:4 keeps two of every four neighbours.")
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="What counts as important. prune: wanda, magnitude. heads, channels: activation, "
            "taylor. layers: influence, spread. low-rank: activation, plain. Default: the first."
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="How much stays: a share (0.75, 75%) or a count (12) of heads, channels, "
                     "layers; low-rank: the share of each matrix's weights."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="heads: groups (key-value heads with their queries) or queries."),
    ] = None,
    rank: Annotated[int | None, typer.Option(help="low-rank: this rank everywhere.")] = None,
    energy: Annotated[
        float | None, typer.Option(help="low-rank: the share of squared singular values to keep.")
    ] = None,
    dense: Annotated[
        bool, typer.Option("--dense", help="low-rank, share: write ordinary whole matrices.")
    ] = False,
    tie_embeddings: Annotated[
        bool, typer.Option("--tie-embeddings", help="share: one matrix for embedding and head.")
    ] = False,
    recover: Annotated[
        int | None, typer.Option(help="Train for so many steps afterwards (distil: the training).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="What to train on: a dataset of documents or conversations.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="distil: softens both distributions. Default: 2.")
    ] = None,
    teacher_share: Annotated[
        float | None,
        typer.Option(help="distil: the teacher's share of the loss; the text has the rest (0.5)."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Text that shows which inputs the model sees: a file or a dataset."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Rows of 512 tokens of the calibration text. Default: 32.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Orders the training data.")] = 0,
    text: Annotated[
        str | None,
        typer.Option(help="Measure perplexity on this file or dataset. Default: WikiText-2 where "
                     "CHATWRIGHT_DATA has it, else the model's own validation data."),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="Benchmarks to measure before and after."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Items of each task.")] = 100,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Only write the model.")
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a model smaller, and show what that changed: size, memory, speed, perplexity, tasks.

    Example: `chatwright compress smollm2-135m-instruct my/int4 --method int4 --tasks hellaswag`

    Example: `chatwright compress quickstart/sft my/pruned --method prune --pattern 2:4
    --recover 200 --data quickstart/questions`
    """
    from chatwright.cli.console import console, error_console, print_json, print_table
    from chatwright.cli.progress import make_progress
    from chatwright.compress.measure import given_text
    from chatwright.compress.report import Report
    from chatwright.compress.run import compress_model, out_path
    from chatwright.compress.settings import CompressSettings
    from chatwright.errors import UsageError
    from chatwright.evaluate.tasks import find_tasks
    from chatwright.workspace import Workspace

    settings = CompressSettings.checked(
        method=method.value,
        calibrate=calibrate,
        group=group,
        symmetric=symmetric,
        embedding=embedding,
        sparsity=sparsity,
        pattern=pattern,
        criterion=criterion,
        keep=keep,
        unit=unit,
        rank=rank,
        energy=energy,
        dense=dense or None,
        tie_embeddings=tie_embeddings or None,
        recover=recover,
        data=data,
        temperature=temperature,
        teacher_share=teacher_share,
        calibration=calibration,
        rows=rows,
        seed=seed,
    )
    names = [name.strip() for given in tasks or () for name in given.split(",") if name.strip()]
    if no_measure and (text is not None or names):
        raise UsageError("nothing is to be measured", where="--no-measure, --text, --tasks")
    place = Workspace(workspace)
    target = out_path(out, place)
    # What is to be measured is found, or not, before anything is made.
    find_tasks(names, place)
    given = None if text is None else given_text(text, place)
    with make_progress() as progress:
        made = compress_model(model, target, settings, workspace=place, progress=progress)
        if not made.made:
            progress.line(f"{target} is there already, made from the same in the same way")
        report = Report(model, str(target), settings, made.facts)
        if not no_measure:
            report = _measured(made, given, names, limit, place, progress)
    if json:
        print_json(report.to_json())
        return
    if report.rows():
        print_table(["", "before#", "after#", "change"], report.rows())
        for note in report.notes:
            error_console().print(note, markup=False)
    else:
        for name, value in made.facts.items():
            console().print(f"{name}: {value}", markup=False)
    console().print(str(target), markup=False)


def _measured(
    made: Compressed,
    given: Texts | None,
    tasks: list[str],
    limit: int,
    place: Workspace,
    progress: Progress,
) -> Report:
    from chatwright.compress.measure import measure, texts_for
    from chatwright.compress.report import AFTER, BEFORE, Report
    from chatwright.compress.run import add_to_card
    from chatwright.evaluate import evaluate_models

    texts = given or texts_for(made.source, place)
    both = {BEFORE: made.source, AFTER: made.path}
    found = {label: measure(path, texts=texts, progress=progress) for label, path in both.items()}
    evaluation: Any = None
    if tasks:
        evaluation = evaluate_models(
            both,
            tasks=tasks,
            task_limit=limit,
            workspace=place,
            cache=place.runs / "evaluations" / ".answers.db",
            references={BEFORE: made.reference, AFTER: str(made.path)},
            progress=progress,
        )
    report = Report(
        made.reference,
        str(made.path),
        made.settings,
        made.facts,
        before=found[BEFORE],
        after=found[AFTER],
        text=None if texts is None else texts.name,
        tasks=evaluation,
    )
    add_to_card(made.path, report.markdown())
    return report
