"""Tool calls as text: how tools are told to a model, and how its calls are read out of its words.

The form is that of Hermes and Qwen: the model writes `<tool_call>{"name": …, "arguments": …}
</tool_call>` and reads results between `<tool_response>` tags. Only what the model itself writes is
read for calls. The same tags in anybody else's text (a question, a passage, a result) are broken by
a character without width before the model sees them, so that they stay text.

>>> messages, constraint = with_tools(messages, definitions, "auto", template=template)
>>> reader = ToolCallReader(offered(definitions, "auto"))
>>> for piece in stream: parts = reader.push(piece.text)     # texts and `ToolCall`s, in order
>>> parts = reader.end()
>>> messages += [called(text, calls), *(result(call, said) for call, said in zip(calls, results))]
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol

from chatwright.errors import ChatwrightError, UsageError
from chatwright.generate.params import Constraint
from chatwright.records import Message
from chatwright.tokenizer.chat import ChatTemplate, clean_text

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
MOST_CALLS = 16  # in one answer; further ones are left out
_MOST_CALL_CHARACTERS = 1 << 16  # a call longer than this is text
_TAGS = re.compile(r"<(?=/?(?:tool_call|tool_response|tools)\b)", re.I)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Definition(Protocol):
    """A tool as the model is told of it. `parameters` is the JSON schema of its arguments."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A `Definition` that is nothing more: a function which the caller of an API offers."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})


@dataclass(frozen=True, slots=True)
class Named:
    """The choice of one tool that must be called."""

    name: str


Choice = Literal["none", "auto", "required"] | Named


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model wants called. `arguments` is the text of a JSON object, whole and valid.

    Nothing more is known of it: whoever calls the tool checks the arguments against its schema.
    """

    id: str
    name: str
    arguments: str


def offered(definitions: Iterable[Definition], choice: Choice = "auto") -> list[str]:
    """The names that may be called. Raises `UsageError` for a choice that is not among them."""
    names = [definition.name for definition in definitions]
    if choice == "none":
        return []
    if isinstance(choice, Named):
        if choice.name not in names:
            raise UsageError(f"there is no tool {choice.name!r} to choose", where="tool_choice")
        return [choice.name]
    if choice == "required" and not names:
        raise UsageError("a call is required, and there are no tools", where="tool_choice")
    return names


def with_tools(
    messages: Sequence[Message],
    definitions: Sequence[Definition],
    choice: Choice = "auto",
    *,
    parallel: bool = True,
    template: str | None = None,
    form: Constraint | None = None,
) -> tuple[list[Message], Constraint | None]:
    """The conversation as the model reads it, and what its answer must look like (None: anything).

    `template` is the model's chat template (`tokenizer.chat_template`; None where it is not known,
    as for a model on another server). Where it describes tools itself, in this form, the model gets
    exactly its words; otherwise an instruction of ours. Tool results stay `tool` messages where the
    template knows them, and are told as the user's otherwise. The instruction is a system message
    after those that there are. With "required" or a `Named` tool the constraint leaves nothing but
    calls whose arguments are valid under the tool's schema; without `parallel`, one. `form` is the
    JSON schema that an answer without calls must follow.

    Raises `UsageError` for a choice that is not offered, and for a name that cannot be a tool's.
    """
    for definition in definitions:
        if not _NAME.fullmatch(definition.name):
            raise UsageError(
                f"{definition.name[:80]!r} cannot be a tool's name",
                where="tools",
                hint="use up to 64 letters, digits, _ and -",
            )
    names = offered(definitions, choice)
    told = [d for d in definitions if d.name in names]
    turns = list(messages)
    if told:
        turns = [Message(m.role, as_text(m.content)) if m.role == "user" else m for m in turns]
    turns = _results_told(turns, native=template is not None and _tells_results(template))
    if told:
        instruction = Message("system", _instruction(told, template))
        at = next((i for i, m in enumerate(turns) if m.role != "system"), len(turns))
        turns.insert(at, instruction)
    if not told or (choice == "auto" and form is None):
        return turns, form
    if form is not None and form.kind != "json_schema":
        raise UsageError("beside tools only a JSON schema can be followed", where="constraint")
    forced = choice != "auto"
    return turns, _forced(told, parallel, template, None if forced else form)


def called(text: str, calls: Sequence[ToolCall]) -> Message:
    """The assistant's turn that says `text` and makes `calls`, as the model had written it."""
    parts = [text] if text else []
    for call in calls:
        name = json.dumps(call.name, ensure_ascii=False)
        parts.append(f'{OPEN}\n{{"name": {name}, "arguments": {call.arguments}}}\n{CLOSE}')
    return Message("assistant", "\n".join(parts))


def result(content: str) -> Message:
    """The turn that tells the model what a call gave. Tags in it are text."""
    return Message("tool", as_text(content))


def as_text(text: str) -> str:
    """`text` with the protocol's tags broken by a zero-width space, so that no model takes them."""
    return _TAGS.sub("<\u200b", text)


class ToolCallReader:
    """Separates a model's words from its calls, piece by piece.

    `names` are the tools that may be called. A call that is not finished, is not valid JSON or
    names another tool is text. White space around calls is dropped. Calls after the first `most`
    are left out. With `bare` the whole answer may be one call without tags, as a model writes that
    is held to its JSON. One reader reads one answer; `calls` are those so far.
    """

    def __init__(self, names: Iterable[str], *, most: int = MOST_CALLS, bare: bool = False) -> None:
        self.calls: list[ToolCall] = []
        self._names = frozenset(names)
        self._most = most
        self._bare = bare
        self._rest = ""  # what came and is not settled yet
        self._open = False  # whether it follows an opening tag
        self._gap = ""  # white space before that tag
        self._searched = 0  # how far the end of the call was looked for
        self._after_call = False

    def push(self, text: str) -> list[str | ToolCall]:
        """What is certain now: texts and calls in their order."""
        self._rest += text
        return self._read(last=False)

    def end(self) -> list[str | ToolCall]:
        """What is left when the answer is over."""
        return self._read(last=True)

    def _read(self, *, last: bool) -> list[str | ToolCall]:
        out: list[str | ToolCall] = []
        if self._bare:
            if not last:
                return out
            self._bare = False
            if self._take(self._rest, out):
                self._rest = ""
        while True:
            if self._open:
                end = self._end_of_call()
                if end < 0 and not last and len(self._rest) <= _MOST_CALL_CHARACTERS:
                    return out
                self._open = False
                if end >= 0 and self._take(self._rest[:end], out):
                    self._rest = self._rest[end + len(CLOSE) :]
                else:
                    self._say(
                        self._gap + OPEN, out
                    )  # no call: its tag is text, and what follows is read
            at = self._rest.find(OPEN)
            if at < 0:
                settled = len(self._rest) if last else _settled(self._rest)
                text, self._rest = self._rest[:settled], self._rest[settled:]
                self._say(text.rstrip() if last and self.calls else text, out)
                return out
            before = self._rest[:at].rstrip()
            self._gap = self._rest[len(before) : at]
            self._say(before, out)
            self._rest = self._rest[at + len(OPEN) :]
            self._open, self._searched = True, 0

    def _end_of_call(self) -> int:
        """Where the closing tag of the open call is, or -1. Inside a JSON string it is none."""
        while (at := self._rest.find(CLOSE, self._searched)) >= 0:
            if not _stops_in_string(self._rest[:at]):
                return at
            self._searched = at + len(CLOSE)
        self._searched = max(self._searched, len(self._rest) - len(CLOSE) + 1)
        return -1

    def _take(self, body: str, out: list[str | ToolCall]) -> bool:
        told = _parsed(body)
        if told is None or told[0] not in self._names:
            return False
        if len(self.calls) < self._most:
            self.calls.append(ToolCall(f"call_{secrets.token_hex(12)}", *told))
            out.append(self.calls[-1])
        self._after_call = True
        return True

    def _say(self, text: str, out: list[str | ToolCall]) -> None:
        if self._after_call:
            text = text.lstrip()
        if not text:
            return
        self._after_call = False
        if out and isinstance(out[-1], str):
            out[-1] += text
        else:
            out.append(text)


def _settled(text: str) -> int:
    """How much of `text` is certain: not the beginning of a tag, nor white space before one."""
    size = next((n for n in range(len(OPEN) - 1, 0, -1) if text.endswith(OPEN[:n])), 0)
    return len(text[: len(text) - size].rstrip())


def _stops_in_string(body: str) -> bool:
    try:
        json.loads(body, strict=False)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return False


def _parsed(body: str) -> tuple[str, str] | None:
    """Name and arguments of a call, or None where it is none.

    Models write line ends into strings, and some the arguments as a string of JSON.
    """
    try:
        told = json.loads(body, strict=False, parse_constant=_refuse)
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            return None
        arguments = told.get("arguments", told.get("parameters"))
        if isinstance(arguments, str):
            arguments = json.loads(arguments, strict=False, parse_constant=_refuse)
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            return None
        return told["name"], clean_text(json.dumps(arguments, ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# -- how tools are told ------------------------------------------------------------------------


def _results_told(messages: Sequence[Message], *, native: bool) -> list[Message]:
    """Tool turns for a template that does not know them: the user's, those in a row as one."""
    if native:
        return list(messages)
    turns: list[Message] = []
    answering = False  # whether the last turn holds results
    for message in messages:
        if message.role == "tool":
            text = f"<tool_response>\n{message.content}\n</tool_response>"
            if answering:
                text = f"{turns.pop().content}\n{text}"
            turns.append(Message("user", text))
        elif answering and message.role == "user":  # turns alternate in many templates
            turns.append(Message("user", f"{turns.pop().content}\n\n{message.content}"))
        else:
            turns.append(message)
        answering = message.role == "tool"
    return turns


def _instruction(definitions: Sequence[Definition], template: str | None) -> str:
    functions = [
        {
            "type": "function",
            "function": {
                "name": definition.name,
                "description": definition.description,
                "parameters": dict(definition.parameters),
            },
        }
        for definition in definitions
    ]
    own = None if template is None else _templates_own(template, functions)
    if own is not None:
        return own
    listed = "\n".join(json.dumps(f["function"], ensure_ascii=False) for f in functions)
    return (
        "You can call functions. These are there, one on each line as JSON:\n"
        f"<tools>\n{as_text(listed)}\n</tools>\n\n"
        "To call one, write its name and arguments as JSON between tags, and nothing after it:\n"
        f'{OPEN}\n{{"name": "FUNCTION", "arguments": {{"ARGUMENT": VALUE}}}}\n{CLOSE}\n\n'
        "You will be told what it gave between <tool_response> tags. Call a function only where "
        "it helps; answer in plain words otherwise."
    )


def _templates_own(template: str, functions: list[dict[str, Any]]) -> str | None:
    """What the template itself says of the tools, where it does so in this form.

    That is what stands in its system turn with them, and does not without them. Rendered as a
    system message it gives the model the very text that the template would.
    """
    system, user = "SYSTEM\u2063TEXT", "USER\u2063TEXT"  # neither occurs in a template
    turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    try:
        compiled = _compiled(template)
        plain = compiled.render(turns, add_generation_prompt=True)
        told = compiled.render(turns, add_generation_prompt=True, tools=functions)
    except ChatwrightError:
        return None
    before, found, after = plain.partition(system)
    if not found or not (told.startswith(before) and told.endswith(after)):
        return None
    inside = told[len(before) : len(told) - len(after)]
    head, found, tail = inside.partition(system)
    own = f"{head}\n\n{tail}".strip()
    return own if found and OPEN in own and user not in own else None


@lru_cache(maxsize=32)
def _tells_results(template: str) -> bool:
    """Whether the template writes a `tool` turn in this form."""
    turns = [
        {"role": "user", "content": "QUESTION"},
        {"role": "assistant", "content": "CALL"},
        {"role": "tool", "content": "RESULT\u2063TEXT"},
    ]
    try:
        text = _compiled(template).render(turns, add_generation_prompt=True)
    except ChatwrightError:
        return False
    return re.search("<tool_response>\\s*RESULT\u2063TEXT\\s*</tool_response>", text) is not None


@lru_cache(maxsize=32)
def _compiled(template: str) -> ChatTemplate:
    return ChatTemplate(template)


def _forced(
    definitions: Sequence[Definition],
    parallel: bool,
    template: str | None,
    form: Constraint | None,
) -> Constraint:
    """Nothing but calls with valid arguments, or an answer of a `form`: as a grammar, or, where
    only schemas are understood (another server), as the JSON of one call without tags.
    """
    other = None if form is None else json.loads(form.text)
    if template is None:
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": d.name}, "arguments": dict(d.parameters)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for d in definitions
        ]
        if other is not None:
            calls.append(other)
        return Constraint.json_schema(calls[0] if len(calls) == 1 else {"anyOf": calls})
    closing = json.dumps(f"}}\n{CLOSE}")
    more = f' ("\\n" call){{0,{MOST_CALLS - 1}}}' if parallel else ""
    lines = [
        f"start: call{more}" + ("" if other is None else " | other"),
        f"call: {' | '.join(f'call{n}' for n in range(len(definitions)))}",
    ]
    if other is not None:
        lines.append(f"other: {_json_rule(other)}")
    for number, definition in enumerate(definitions):
        opening = json.dumps(f'{OPEN}\n{{"name": "{definition.name}", "arguments": ')
        lines.append(f"call{number}: {opening} arguments{number} {closing}")
        lines.append(f"arguments{number}: {_json_rule(definition.parameters)}")
    return Constraint.grammar("\n".join(lines))


def _json_rule(schema: Mapping[str, Any]) -> str:
    """JSON of a schema inside a grammar, spaced as an answer of that schema alone would be."""
    style = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return "%json " + Constraint.json_schema({**schema, "x-guidance": style}).text
