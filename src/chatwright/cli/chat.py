"""`chatwright chat [NAME]`: talk to an assistant or a model in the terminal.

Three ways in: a conversation at a terminal, questions on standard input (one a line), and one
question with `--prompt`.
"""

from __future__ import annotations

import json as jsonlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatwright.cli.options import (
    CacheType,
    CacheTypeOption,
    JsonOption,
    Weights,
    WeightsOption,
    WorkspaceOption,
)
from chatwright.cli.talk import HELP, Talk, answer_json, printable, source_lines
from chatwright.errors import ChatwrightError, UsageError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from chatwright.assist import Assistant
    from chatwright.workspace import Workspace

DEFAULT_MODEL = "smollm2-135m-instruct"


def chat(
    name: Annotated[
        str | None,
        typer.Argument(
            help="An assistant, a model's alias or reference, or a folder. Default: the "
            f"workspace's only assistant, or {DEFAULT_MODEL}.",
            show_default=False,
        ),
    ] = None,
    *,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Answer this once and exit.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="Instructions for every answer.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 always gives the likeliest answer.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="The longest answer, in tokens.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same answer.", show_default=False)
    ] = None,
    weights: WeightsOption = Weights.auto,
    kv_dtype: CacheTypeOption = CacheType.auto,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Talk to an assistant or a model in the terminal.

    Example: `chatwright chat quickstart`, or `chatwright chat -p "What does flush() do?"`

    Questions are also read from standard input, one a line; with `--json`, each gets one line of
    JSON with the answer and its citations.
    """
    from chatwright.workspace import Workspace

    place = Workspace(workspace)
    interactive = prompt is None and sys.stdin.isatty() and sys.stdout.isatty()
    if json and prompt is None and sys.stdin.isatty():
        raise UsageError("--json needs a question", hint='give one with -p "…", or pipe some in')
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty", where="--prompt")
    name = name or _default_name(place)
    changes = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    wanted: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    _check_sampling(wanted)  # before the model is loaded, which takes seconds
    with _terminable(), _loaded(name, place, weights, kv_dtype) as assistant:
        talk = Talk(assistant, replace(assistant.settings.sampling, **wanted), system)
        if prompt is not None:
            _answer_once(talk, prompt, json)
        elif interactive:
            _converse(talk, name, place)
        else:
            _answer_lines(talk, json)


# -- the three ways in ---------------------------------------------------------------------------


def _answer_once(talk: Talk, question: str, json: bool) -> None:
    from chatwright.cli.console import print_json

    if json:
        print_json(answer_json(talk.ask(question)))
    else:
        _print_answer(talk, question)


def _answer_lines(talk: Talk, json: bool) -> None:
    """Answer each line of standard input in one conversation; a failed one does not end it."""
    from chatwright.cli.console import print_error

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    failed = False
    for line in sys.stdin:
        question = line.strip("\r\n\ufeff")
        if not question.strip():
            continue
        said = talk.command(question)
        if talk.done:
            break
        try:
            if said is not None:
                print(said, file=sys.stderr if json else sys.stdout, flush=True)
            elif json:
                answer = talk.ask(question.strip())
                values = {"question": question.strip(), **answer_json(answer)}
                print(jsonlib.dumps(values, ensure_ascii=False), flush=True)
            else:
                _print_answer(talk, question.strip())
                print(flush=True)
        except ChatwrightError as error:
            print_error(error)
            failed = True
            if json:
                values = {"question": question.strip(), "error": error.message}
                print(jsonlib.dumps(values, ensure_ascii=False), flush=True)
    if failed:
        raise typer.Exit(1)


def _converse(talk: Talk, name: str, workspace: Workspace) -> None:
    """Questions and answers at a terminal, until /quit or Ctrl-D."""
    from chatwright.cli.console import console

    out = console()
    settings = talk.assistant.settings
    out.print(settings.title or name, style="bold", markup=False)
    if settings.description:
        out.print(settings.description, style="dim", markup=False)
    for example in settings.examples[:3]:
        out.print(f"  · {example}", style="dim", markup=False)
    session = _prompt_session(workspace)
    while not talk.done:
        try:
            _turn(talk, session)
        except KeyboardInterrupt:  # a half-written question is dropped; the program stays
            continue
        except EOFError:
            break
    out.print("Goodbye.", style="dim")


def _turn(talk: Talk, session: PromptSession[str]) -> None:
    """One line typed and what comes of it. Ctrl-D raises `EOFError`."""
    from chatwright.cli.console import console, print_error

    out = console()
    line = session.prompt()
    if not line.strip():
        return
    said = talk.command(line)
    if said is not None:
        if said:
            out.print(printable(said), style="dim", markup=False)
        return
    try:
        _print_answer(talk, line.strip(), waiting=True)
    except KeyboardInterrupt:
        out.print("\n(stopped)", style="dim")
    except ChatwrightError as error:
        print_error(error)
    out.print()


def _print_answer(talk: Talk, question: str, waiting: bool = False) -> None:
    """Print an answer as it comes, then its sources and what was left out."""
    from rich.console import Console

    from chatwright.cli.console import console

    status = Console(stderr=True).status("reading …") if waiting else None
    if status:
        status.start()
    ended_line = True

    def show(text: str) -> None:
        nonlocal ended_line
        text = printable(text)
        if status and text:
            status.stop()
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            ended_line = text.endswith("\n")

    try:
        answer = talk.ask(question, show)
    finally:
        if status:
            status.stop()
    if not ended_line or not answer.text:
        print(flush=True)
    out = console()
    notes = source_lines(answer) + answer.left_out
    if answer.completion.finish_reason == "length":
        notes.append("The answer was cut off: it reached the limit of tokens.")
    if not answer.text:
        notes.insert(0, "The model gave an empty answer.")
    for note in notes:
        out.print(printable(note), style="dim", markup=False)


# -- around them ---------------------------------------------------------------------------------


def _prompt_session(workspace: Workspace) -> PromptSession[str]:
    """Line editing with history; Enter sends, Alt-Enter (or a paste) makes more lines."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    history: History = InMemoryHistory()
    if workspace.root.is_dir():  # nothing is written where no workspace is
        file = workspace.root / ".chat-history"
        try:
            file.touch(mode=0o600)
            history = FileHistory(file)
        except OSError:
            pass  # a read-only workspace: history lasts as long as the program
    commands = [line.split()[0] for line in HELP.splitlines() if line.startswith("/")]
    return PromptSession(
        FormattedText([("bold ansicyan", "› ")]),
        multiline=True,
        prompt_continuation="  ",
        key_bindings=keys,
        history=history,
        completer=WordCompleter(commands, sentence=True),
        complete_while_typing=False,
        reserve_space_for_menu=0,
        placeholder=FormattedText([("ansibrightblack", "Ask something, or /help")]),
    )


def _default_name(workspace: Workspace) -> str:
    names = workspace.list_assistants()
    if len(names) > 1:
        raise UsageError(
            "there are several assistants; say which",
            where=str(workspace.assistants),
            hint=f"chatwright chat NAME, where NAME is one of {', '.join(names)}",
        )
    return names[0] if names else DEFAULT_MODEL


def _check_sampling(wanted: dict[str, Any]) -> None:
    from chatwright.generate.params import SamplingParams

    SamplingParams(**wanted)


@contextmanager
def _loaded(
    name: str, workspace: Workspace, weights: Weights, kv_dtype: CacheType
) -> Iterator[Assistant]:
    """The assistant, with its engine closed at the end; a line on standard error while loading."""
    from rich.console import Console

    with Console(stderr=True).status(f"loading {name} …"):
        from chatwright.assist import load_assistant

        # One person asks, so one answer at a time: the memory goes into its context.
        assistant = load_assistant(
            name, workspace, max_batch=1, weights=weights.value, kv_dtype=kv_dtype.value
        )
    try:
        yield assistant
    finally:
        assistant.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """While chatting, SIGTERM ends the program; elsewhere it is taken for a Ctrl-C."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
