"""`chatwright label …`: people and models label the rows of a dataset."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption
from chatwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatwright.cli.label_booth import Mode
    from chatwright.curate.label.models import Say
    from chatwright.curate.label.queue import Queue
    from chatwright.records import Message

label = typer.Typer(
    name="label",
    help="Have people, and models marked as such, label the rows of a dataset.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_MODEL_AT_ONCE = 8  # what an engine computes together by default

QueueArgument = Annotated[str, typer.Argument(help="The queue's name.", metavar="QUEUE")]
AsOption = Annotated[str, typer.Option("--as", help="Your name, as the labels will show it.")]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", help="en or zh. Default: the machine's own.", show_default=False),
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Lines instead of a full screen; so is a pipe.")
]


@label.command()
def new(
    dataset: Annotated[str, typer.Argument(help="Documents or conversations: name or folder.")],
    labels: Annotated[str, typer.Option("--labels", "-l", help="Two to nine: good,bad.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Default: the dataset's.", show_default=False)
    ] = None,
    question: Annotated[str, typer.Option("--question", "-q", help="What is asked.")] = "",
    per_item: Annotated[int, typer.Option(help="How many people label a shared item.")] = 2,
    overlap: Annotated[
        float, typer.Option(help="The share of items that so many label; one each of the rest.")
    ] = 1.0,
    limit: Annotated[int | None, typer.Option(help="Only so many rows, drawn by --seed.")] = None,
    gold: Annotated[
        str | None,
        typer.Option(
            help="Known labels: a column (meta.KEY), or a .jsonl of id or text, and label."
        ),
    ] = None,
    gold_share: Annotated[float, typer.Option(help="Of what people see, from those.")] = 0.1,
    repeat_share: Annotated[
        float, typer.Option(help="Of what people see, what they have labelled before.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Fixes which rows are drawn.")] = 0,
    workspace: WorkspaceOption = None,
) -> None:
    """Start a queue over a dataset.

    Example: `chatwright label new quickstart/corpus --labels good,bad --limit 200 --name quality`
    """
    from chatwright.cli.console import console
    from chatwright.curate.label.queue import Queue
    from chatwright.workspace import Workspace

    is_file = gold is not None and gold.endswith((".jsonl", ".ndjson"))
    queue = Queue.create(
        name or dataset.strip("/").replace("/", "-"),
        dataset,
        labels.split(","),
        workspace=Workspace(workspace),
        question=question,
        per_item=per_item,
        overlap=overlap,
        limit=limit,
        gold_column=None if is_file else gold,
        gold_file=Path(gold) if is_file and gold is not None else None,
        gold_share=gold_share,
        repeat_share=repeat_share,
        seed=seed,
    )
    out = console()
    rest = queue.description.left_out
    out.print(
        f"{queue.name}: {len(queue.items) - len(queue.gold)} items, {len(queue.gold)} with a known "
        f"label, {sum(queue.wanted)} labels wanted" + (f"; {rest} rows left out" if rest else ""),
        markup=False,
    )
    if gold is not None and not queue.gold:
        out.print(f"! no row has one of the labels in {gold}", style="yellow", markup=False)
    out.print(f"next: chatwright label work {queue.name} --as YOUR-NAME", markup=False)


@label.command()
def work(
    queue: QueueArgument,
    who: AsOption,
    language: LanguageOption = None,
    plain: PlainOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Label one item at a time: a digit each, s skip, u undo, c comment, q quit.

    Example: `chatwright label work quality --as alice`

    Leave with q whenever you like: the same command goes on. In a pipe, each line is one label.
    """
    _sit(queue, who, "label", language, plain, workspace)


@label.command()
def adjudicate(
    queue: QueueArgument,
    who: AsOption,
    language: LanguageOption = None,
    plain: PlainOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Decide where people disagree; you see what was said, not by whom.

    Example: `chatwright label adjudicate quality --as carol`
    """
    _sit(queue, who, "decide", language, plain, workspace)


@label.command("model")
def by_model(
    queue: QueueArgument,
    model: Annotated[
        str,
        typer.Option(
            "--with",
            "-m",
            help="A model (alias, hf:\u2026, folder, name), a function (file.py:function, "
            "module:function) from text to label, or a column (meta.KEY).",
        ),
    ],
    *,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="An OpenAI-compatible server that has the model (its key: CHATWRIGHT_JUDGE_KEY). "
            "Texts are sent there.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What the labels call it. Default: as given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Label so many items at most.")] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 16,
    max_characters: Annotated[int, typer.Option(help="How much of a text it is shown.")] = 4_000,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Have a model, a function or a column label the items; kept apart from people's labels.

    Example: `chatwright label model quality --with rules.py:is_spam`
    """
    from dataclasses import asdict

    from chatwright.cli.console import console, print_json
    from chatwright.cli.progress import make_progress
    from chatwright.curate.label.models import label_with

    opened = _open(queue, workspace)
    with ExitStack() as stack:
        progress = stack.enter_context(make_progress())
        say, at_once = _labeller(opened, model, base_url, (max_tokens, max_characters), stack)
        found = label_with(
            opened, name or model, say, limit=limit, at_once=at_once, progress=progress
        )
    if json:
        print_json(asdict(found))
        return
    before = f"; {found.before} before" if found.before else ""
    console().print(
        f"{found.name}: {found.labels} labels, {found.none} items without one{before}",
        markup=False,
    )
    if found.none > found.labels:
        console().print(
            "! it hardly ever gives a label that can be read", style="yellow", markup=False
        )


@label.command()
def status(
    queue: QueueArgument, workspace: WorkspaceOption = None, json: JsonOption = False
) -> None:
    """Show how far a queue is, how good each labeller is, and how far they agree.

    Example: `chatwright label status quality`
    """
    from chatwright.cli.console import print_json
    from chatwright.cli.label_tables import print_status
    from chatwright.curate.label.summary import status as status_of

    found = status_of(_open(queue, workspace))
    if json:
        print_json(found.to_json())
    else:
        print_status(found)


@label.command()
def export(
    queue: QueueArgument,
    out: Annotated[
        str,
        typer.Argument(help="A dataset's name in the workspace, or a path (./\u2026 or /\u2026)."),
    ],
    only: Annotated[
        str | None, typer.Option(help="Only rows with one of these labels: good,fine.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="A model's labels instead of people's.")
    ] = None,
    least: Annotated[
        int, typer.Option("--min-labels", help="How many people must have labelled a row.")
    ] = 1,
    no_gold: Annotated[
        bool, typer.Option("--no-gold", help="Leave rows with a known label out.")
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Write the labelled rows as a dataset; `meta.label` says what was found, and how.

    Example: `chatwright label export quality quality/good --only good`
    """
    from dataclasses import asdict

    from chatwright.cli.console import console, print_json
    from chatwright.curate.label.export import export_labels
    from chatwright.workspace import Workspace

    opened = _open(queue, workspace)
    is_path = out.startswith(("/", "./", "../"))
    if not is_path and ".." in Path(out).parts:
        raise UsageError(f"{out!r} cannot be a dataset's name", hint="write ./\u2026 for a path")
    path = Path(out) if is_path else Workspace(workspace).datasets / out
    asked = tuple(part.strip() for part in only.split(",")) if only else ()
    found = export_labels(opened, path, only=asked, by=by, least=least, gold=not no_gold)
    if json:
        print_json(asdict(found))
        return
    counts = ", ".join(f"{count} {name}" for name, count in found.labels.items())
    console().print(f"{found.rows} rows in {found.path}: {counts}", markup=False)
    for why, count in sorted(found.left_out.items()):
        console().print(f"  left out: {count} {why}", markup=False)


@label.command("list")
def list_all(workspace: WorkspaceOption = None, json: JsonOption = False) -> None:
    """List the queues of the workspace.

    Example: `chatwright label list`
    """
    from chatwright.cli.console import print_json, print_table
    from chatwright.curate.label.queue import open_queue, queues
    from chatwright.curate.label.summary import status as status_of
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    found = [status_of(open_queue(name, place)) for name in queues(place)]
    if json:
        print_json([one.to_json() for one in found])
        return
    print_table(
        ["queue", "dataset", "labels", "items#", "given#", "wanted#", "to decide#"],
        [
            (s.name, s.dataset, ", ".join(s.labels), s.items, s.given, s.wanted, s.disputes)
            for s in found
        ],
    )


# -- around them ---------------------------------------------------------------------------------


def _open(name: str, workspace: Path | None) -> Queue:
    from chatwright.curate.label.queue import open_queue
    from chatwright.workspace import Workspace

    return open_queue(name, Workspace(workspace))


def _sit(
    name: str, who: str, mode: Mode, language: str | None, plain: bool, workspace: Path | None
) -> None:
    from chatwright.cli.arena_words import own_language
    from chatwright.cli.label_booth import Booth
    from chatwright.cli.label_screen import run_plain, run_screen

    if language not in (None, "en", "zh"):
        raise UsageError(
            f"{language!r} is no language of ours", where="--language", hint="en or zh"
        )
    booth = Booth(_open(name, workspace), who, mode, own_language(language))
    understood = True
    if sys.stdin.isatty() and sys.stdout.isatty() and not plain:
        run_screen(booth)
    else:
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        understood = run_plain(booth, sys.stdin)
    print(booth.closing())
    if not understood:
        raise typer.Exit(1)


def _labeller(
    queue: Queue, model: str, base_url: str | None, longest: tuple[int, int], stack: ExitStack
) -> tuple[Say, int]:
    """What labels (a column, a function, a model here or on a server), and how many at once."""
    from chatwright.curate.label.models import asking, by_column, by_function, dataset_of

    tokens, characters = longest
    if model.startswith("meta.") or model in ("language", "source"):
        return by_column(dataset_of(queue), model), 1
    place, colon, attribute = model.rpartition(":")
    if base_url is None and colon and attribute.isidentifier() and not place.startswith("hf"):
        from chatwright.train.rl.rewards import load_reward_function

        function: Callable[..., Any] = load_reward_function(model, where="--with")
        return by_function(function), 1
    if base_url is not None:
        from chatwright.evaluate.arena.remote import RemoteJudge

        key = os.environ.get("CHATWRIGHT_JUDGE_KEY")
        judge = stack.enter_context(RemoteJudge(base_url, model, key=key, max_tokens=tokens))
        return asking(queue, judge, longest=characters), 1
    return asking(queue, _local(model, queue, tokens, stack), longest=characters), _MODEL_AT_ONCE


def _local(
    model: str, queue: Queue, max_tokens: int, stack: ExitStack
) -> Callable[[list[Message]], str]:
    """A model of ours: greedy, and held to the labels."""
    import re

    from chatwright.assist import load_assistant
    from chatwright.generate import SamplingParams
    from chatwright.generate.params import Constraint
    from chatwright.workspace import Workspace

    assistant = load_assistant(model, Workspace(queue.path.absolute().parent.parent))
    stack.callback(assistant.close)
    form = Constraint.regex("|".join(re.escape(name) for name in queue.labels))
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, constraint=form)
    return lambda messages: assistant.engine.stream(messages, params).result().text
