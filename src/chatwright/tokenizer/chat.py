"""Chat templates in a sandbox, and the wall between their special tokens and people's text.

A template is a program from outside, and a message is text from outside. The template runs in
Jinja's immutable sandbox. A message is *protected* before it goes in: whatever in it reads as a
special token, or could become one beside the template's own text, is replaced by a lone surrogate,
a code point that no valid text holds. After rendering, the special tokens that can be found are the
template's own; the surrogates are turned back after the text was split there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from chatwright.errors import DataError, ModelError
from chatwright.records import Message

ROLES = ("system", "user", "assistant", "tool", "developer")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

_SURROGATES = re.compile("[\ud800-\udfff]")
_FIRST_SURROGATE = 0xD800
_LAST_SURROGATE = 0xDFFF


def clean_text(text: str) -> str:
    """`text` with lone surrogates, which are not text, as U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def as_messages(messages: Iterable[Message | Mapping[str, Any]]) -> list[dict[str, str]]:
    """Role and content of each message, as a template reads them.

    Raises `DataError` for an unknown role (a role goes into the prompt unquoted) or a content that
    is not text.
    """
    plain: list[dict[str, str]] = []
    for i, message in enumerate(messages):
        if isinstance(message, Message):
            role, content = message.role, message.content
        elif isinstance(message, Mapping):
            role, content = message.get("role"), message.get("content")  # type: ignore[assignment]
        else:
            raise DataError("a message is neither a Message nor a mapping", where=f"message {i}")
        if role not in ROLES:
            raise DataError(
                f"unknown role {role!r}",
                where=f"message {i}",
                hint=f"a role is one of {', '.join(ROLES)}",
            )
        if not isinstance(content, str):
            raise DataError("the content is not a string", where=f"message {i}")
        plain.append({"role": role, "content": clean_text(content)})
    return plain


class Protector:
    """Hides from a template what could pass for a special token, and brings it back.

    Hidden are special tokens inside a content, and at a content's edges (white space aside, since
    templates trim) a proper beginning or end of one, or a content that is part of one: next to the
    template's own characters those might read as a whole token.
    """

    def __init__(self, special: Iterable[str]) -> None:
        tokens = sorted({token for token in special if token}, key=len, reverse=True)
        self._whole = re.compile("|".join(map(re.escape, tokens))) if tokens else None
        longest = range(len(tokens[0]) - 1 if tokens else 0, 0, -1)
        self._heads = [t[:n] for n in longest for t in tokens if n < len(t)]
        self._tails = [t[-n:] for n in longest for t in tokens if n < len(t)]
        self._tokens = tokens
        self._codes: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """`text` (without surrogates) with everything dangerous as surrogates."""
        if self._whole is None:
            return text
        text = self._whole.sub(lambda found: self._code(found.group()), text)
        bare = text.strip()
        if not bare:
            return text
        lead = text[: text.index(bare[0])]
        trail = text[len(lead) + len(bare) :]
        if any(bare in token for token in self._tokens):
            return lead + self._code(bare) + trail
        tail = next((t for t in self._tails if bare.startswith(t)), "")
        if tail:
            bare = self._code(tail) + bare[len(tail) :]
        head = next((h for h in self._heads if bare.endswith(h)), "")
        if head:
            bare = bare[: -len(head)] + self._code(head)
        return lead + bare + trail

    def show(self, text: str) -> str:
        """Undo `hide` in any text that holds its surrogates."""
        return _SURROGATES.sub(lambda found: self._texts.get(found.group(), "\ufffd"), text)

    def _code(self, text: str) -> str:
        if text not in self._codes:
            code = chr(_FIRST_SURROGATE + len(self._codes))
            if ord(code) > _LAST_SURROGATE:
                raise DataError("this conversation holds more than 2048 kinds of special token")
            self._codes[text], self._texts[code] = code, text
        return self._codes[text]


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words; here it just renders."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own class attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Refused(jinja2.TemplateError):
    """The template called `raise_exception`: the conversation is not one that it takes."""


class _SafeNamespace(Namespace):
    """A namespace that takes no underscore names: those reach Python's inner parts."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _refuse_private(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


def _to_json(
    value: Any,
    indent: int | None = None,
    ensure_ascii: bool = False,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: Jinja's own filter escapes for HTML."""
    return json.dumps(
        value, indent=indent, ensure_ascii=ensure_ascii, separators=separators, sort_keys=sort_keys
    )


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """`dict` for templates, as a function: the class itself has attributes to climb along."""
    return dict(*args, **kwargs)


def _environment() -> ImmutableSandboxedEnvironment:
    """The functions and white-space rules that Hugging Face gives chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    environment.globals["namespace"] = _SafeNamespace
    environment.globals["dict"] = _make_dict
    return environment


class ChatTemplate:
    """A Jinja2 chat template and the names that it may use (`bos_token`, `eos_token`, …).

    Compiled when it is first used, so that a model with a broken template can still be loaded and
    used on plain text.
    """

    def __init__(self, source: str, variables: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.variables = dict(variables or {})

    @cached_property
    def _template(self) -> jinja2.Template:
        try:
            return _environment().from_string(clean_text(self.source))
        except jinja2.TemplateError as error:
            raise ModelError(
                f"the chat template cannot be read: {error}",
                where="chat_template",
                hint="correct tokenizer_config.json or chat_template.jinja",
            ) from error

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The prompt as text. Raises `DataError` where the template refuses the conversation.

        `tools` are functions as OpenAI's API describes them, for templates that tell them.
        """
        told = {"tools": list(tools)} if tools else {}
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                **told,
                **self.variables,
            )
        except _Refused as error:
            raise DataError(f"the chat template refuses this conversation: {error}") from error
        except ModelError:
            raise
        except Exception as error:  # a template is a program from outside: it may do anything
            raise ModelError(
                f"the chat template failed: {error or type(error).__name__}",
                where="chat_template",
                hint="the template may expect another order of roles",
            ) from error
