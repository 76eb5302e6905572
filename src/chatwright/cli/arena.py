"""`chatwright arena …`: people, and models marked as such, compare answers blindly."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption
from chatwright.errors import DataError, UsageError

if TYPE_CHECKING:
    from chatwright.evaluate.arena import Form, Study

arena = typer.Typer(
    name="arena",
    help="Have people compare models' answers, without knowing whose they are.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NameArgument = Annotated[str, typer.Argument(help="The study's name.", metavar="NAME")]
JudgeOption = Annotated[
    str, typer.Option("--judge", "-j", help="Your name, as the results will show it.")
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", help="en or zh. Default: the machine's own.", show_default=False),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Lines instead of a full screen; so is a pipe.")
]


@arena.command()
def create(
    name: NameArgument,
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: an assistant, a model, a folder, or a .jsonl of answers made "
            "elsewhere (id, text); LABEL=REFERENCE gives a name.",
        ),
    ],
    *,
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts", "-p", help="A dataset of conversations or questions, .jsonl, .json, .txt."
        ),
    ],
    limit: Annotated[
        int | None, typer.Option(help="Only so many prompts, drawn by --seed.")
    ] = None,
    form: Annotated[bool, typer.Option("--form", help="Ask for scores from 1 to 5, too.")] = False,
    only_form: Annotated[
        bool, typer.Option("--only-form", help="Ask for scores only, compare nothing.")
    ] = False,
    guidelines: Annotated[
        Path | None, typer.Option(help="What judges are told: a Markdown file.")
    ] = None,
    overlap: Annotated[float, typer.Option(help="The share of pairs that every judge sees.")] = 0.3,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest answer.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="Fixes which prompts are drawn.")] = 0,
    workspace: WorkspaceOption = None,
) -> None:
    """Start a study and make the answers; run again, it goes on where it was stopped.

    Example: `chatwright arena create first quickstart/sft smollm2-135m-instruct
    --prompts quickstart/held-out-questions --limit 50`
    """
    from chatwright.cli.progress import make_progress
    from chatwright.evaluate.arena import Sampling, Study, studies_folder, study_path
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    forms: list[Form] = ["rate"] if only_form else ["compare", "rate"] if form else ["compare"]
    if (studies_folder(place) / name / "study.json").exists():
        study = Study.open(study_path(place, name))
        _same_question(study, models, forms)
    else:
        study = Study.create(
            name,
            models,
            prompts,
            workspace=place,
            limit=limit,
            forms=forms,
            guidelines=_read(guidelines),
            sampling=Sampling(temperature, 1.0, max_tokens),
            overlap=overlap,
            seed=seed,
        )
    with make_progress() as progress:
        made = study.generate(progress)
    _say_created(study, made)


@arena.command()
def vote(
    name: NameArgument,
    judge: JudgeOption,
    language: LanguageOption = None,
    plain: PlainOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Compare two answers at a time: ← or →, t tie, b both bad, s skip, u undo, ? guidelines.

    Example: `chatwright arena vote first --judge alice`

    Leave with q whenever you like: the same command goes on. In a pipe, each line is one choice.
    """
    _judge(name, judge, "compare", language, plain, workspace)


@arena.command()
def rate(
    name: NameArgument,
    judge: JudgeOption,
    language: LanguageOption = None,
    plain: PlainOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score one answer at a time, from 1 to 5 on each scale.

    Example: `chatwright arena rate first --judge alice`
    """
    _judge(name, judge, "rate", language, plain, workspace)


@arena.command("judge")
def judge_by_model(
    name: NameArgument,
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model that judges: alias, hf:…, folder, name.")
    ],
    *,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="An OpenAI-compatible server that has the model (its key: "
            "CHATWRIGHT_JUDGE_KEY). Prompts and answers are sent there.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--name", help="What the results call it. Default: the model.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Judge so many pairs at most.")] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest verdict, in tokens.")] = 256,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Have a model judge, each pair both ways round; its votes are never counted with people's.

    Example: `chatwright arena judge first --model quickstart/sft`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.cli.progress import make_progress

    study = _open(name, workspace)
    with ExitStack() as stack:
        ask = None
        if base_url is not None:
            from chatwright.evaluate.arena.remote import RemoteJudge

            key = os.environ.get("CHATWRIGHT_JUDGE_KEY")
            ask = stack.enter_context(RemoteJudge(base_url, model, key=key, max_tokens=max_tokens))
        progress = stack.enter_context(make_progress())
        judged = study.judge_with(
            model, ask=ask, name=label, limit=limit, max_tokens=max_tokens, progress=progress
        )
    if json:
        counts = {k: getattr(judged, k) for k in ("consistent", "inconsistent", "none")}
        print_json({"judge": judged.judge.name, "asked": judged.asked, **counts})
        return
    console().print(
        f"{judged.judge.name}: {judged.asked} pairs judged, {judged.consistent} the same both ways "
        f"round, {judged.inconsistent} not (ties), {judged.none} without a verdict (no vote)",
        markup=False,
    )
    if judged.asked and judged.none * 2 > judged.asked:
        console().print(
            "! this model hardly ever gives a verdict that can be read: it is no judge; take a "
            "larger one",
            style="yellow",
            markup=False,
        )


@arena.command()
def results(
    name: NameArgument,
    seed: Annotated[int, typer.Option(help="Fixes the intervals.")] = 0,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show ratings with intervals, win rates, agreement, position bias; people and models apart.

    Example: `chatwright arena results first`
    """
    from chatwright.cli.arena_tables import print_results
    from chatwright.cli.console import print_json

    found = _open(name, workspace).results(seed=seed)
    if json:
        print_json(found.to_json())
    else:
        print_results(found)


@arena.command()
def export(
    name: NameArgument,
    out: Annotated[
        str, typer.Argument(help="A dataset's name in the workspace, or a path (./… or /…).")
    ],
    each_vote: Annotated[
        bool, typer.Option("--each-vote", help="One row for each vote, not for each majority.")
    ] = False,
    models: Annotated[
        bool, typer.Option("--models", help="The votes of model judges instead of people's.")
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Write the votes as a dataset of preferences, to train on.

    Example: `chatwright arena export first first/preferences`
    """
    from chatwright.cli.console import console, print_json
    from chatwright.workspace import Workspace

    study = _open(name, workspace)
    is_path = out.startswith(("/", "./", "../"))
    if not is_path and ".." in Path(out).parts:
        raise UsageError(f"{out!r} cannot be a dataset's name", hint="write ./… for a path")
    path = Path(out) if is_path else Workspace(workspace).datasets / out
    found = study.export_preferences(
        path, kind="model" if models else "person", each_vote=each_vote
    )
    if json:
        print_json({"path": str(found.path), "rows": found.rows, "left_out": found.left_out})
        return
    left = ", ".join(f"{count} {why}" for why, count in sorted(found.left_out.items()))
    console().print(
        f"{found.rows} preferences in {found.path}" + (f"; left out: {left}" if left else ""),
        markup=False,
    )


@arena.command("list")
def list_all(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List the studies of the workspace.

    Example: `chatwright arena list`
    """
    from dataclasses import asdict

    from chatwright.cli.console import print_json, print_table
    from chatwright.evaluate.arena import list_studies
    from chatwright.workspace import Workspace

    found = list_studies(Workspace(workspace))
    if json:
        print_json([asdict(info) for info in found])
        return
    print_table(
        ["study", "asks to", "models", "prompts#", "answers#", "votes#", "scores#", "judges"],
        [
            (info.name, ", ".join(info.forms) or f"damaged: {info.problem}", ", ".join(info.models),
             info.items, info.answers, info.votes, info.ratings,
             ", ".join(judge.name for judge in info.judges))
            for info in found
        ],
    )  # fmt: skip


# -- around them ---------------------------------------------------------------------------------


def _open(name: str, workspace: Path | None) -> Study:
    from chatwright.evaluate.arena import Study, study_path
    from chatwright.workspace import Workspace

    return Study.open(study_path(Workspace(workspace), name))


def _judge(
    name: str,
    judge: str,
    form: Literal["compare", "rate"],
    language: str | None,
    plain: bool,
    workspace: Path | None,
) -> None:
    from chatwright.cli.arena_booth import Booth
    from chatwright.cli.arena_plain import run_plain
    from chatwright.cli.arena_words import own_language

    if language not in (None, "en", "zh"):
        raise UsageError(
            f"{language!r} is no language of ours", where="--language", hint="en or zh"
        )
    study = _open(name, workspace)
    booth = Booth(study, judge, form, own_language(language))
    if booth.task is None and not study.desk.available(form):
        raise UsageError(
            "there is nothing to judge yet: no two models have different answers to a prompt",
            where=str(study.path),
            hint="make the answers: run `chatwright arena create` again",
        )
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not plain
    understood = True
    if terminal:
        from chatwright.cli.arena_screen import run_screen

        run_screen(booth)
    else:
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        understood = run_plain(booth, sys.stdin)
    print(booth.closing())
    if not understood:
        raise typer.Exit(1)


def _same_question(study: Study, models: list[str], forms: list[Form]) -> None:
    """Going on with a study must not silently be another one."""
    from chatwright.evaluate.arena.generating import split_reference

    labels = tuple(split_reference(text)[0] for text in models)
    if labels != study.models or tuple(forms) != study.forms:
        raise UsageError(
            f"there is a study called {study.name!r} already, with other models or forms",
            where=str(study.path),
            hint="choose another name",
        )


def _read(guidelines: Path | None) -> str | None:
    if guidelines is None:
        return None
    try:
        return guidelines.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the guidelines cannot be read: {error}", where=str(guidelines)) from error


def _say_created(study: Study, made: int) -> None:
    from chatwright.cli.console import console

    out = console()
    left_out = study.description.prompts.get("left_out") or {}
    out.print(
        f"{study.name}: {len(study.items)} prompts, {len(study.models)} models, "
        f"{made} answers made",
        markup=False,
    )
    for why, count in left_out.items():
        out.print(f"! {count} rows left out: {why}", style="yellow", markup=False)
    for problem in study.description.prompts.get("problems") or []:
        out.print(f"  {problem}", style="dim", markup=False)
    failed = [answer for answer in study.answers.values() if answer.text is None]
    if failed:
        out.print(
            f"! {len(failed)} prompts could not be answered; the first: {failed[0].model}: "
            f"{failed[0].error}",
            style="yellow",
            markup=False,
        )
    command = "vote" if "compare" in study.forms else "rate"
    out.print(f"next: chatwright arena {command} {study.name} --judge YOUR-NAME", markup=False)
