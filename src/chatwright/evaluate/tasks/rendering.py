"""From a row's columns to a task's fields, and from fields to what the model is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.tasks.schema import Item, Source, TaskSpec
from chatwright.evaluate.tasks.sources import Row

Expression = Callable[..., Any]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Fields that every item of a kind must have, beside those that its templates use.
REQUIRED = {
    "choice": ("choices", "gold"),
    "cloze": ("continuation",),
    "generation": ("references",),
    "code": ("test", "entry_point"),
    "text": ("text",),
    "classification": ("gold",),
    "instructions": ("instruction_id_list", "kwargs"),
    "preference": ("chosen", "rejected"),
}
# Where the answer's template is not said. A leading space belongs to the answer: byte-level
# tokenizers write a word and the space before it as one token.
_ANSWERS = {
    "choice": " {{ choice }}",
    "cloze": " {{ continuation }}",
    "generation": " {{ references[0] }}",
    "classification": " {{ choice }}",
    "preference": "{{ choice }}",
    "code": "{{ canonical_solution }}",
}


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Missing(StrictUndefined):
        # A list with something missing in it must not be printed as `[Undefined]`.
        __repr__ = StrictUndefined._fail_with_undefined_error

    environment = ImmutableSandboxedEnvironment(
        undefined=Missing, keep_trailing_newline=True, autoescape=False, finalize=_not_none
    )
    environment.filters |= {
        "removeprefix": lambda text, prefix: str(text).removeprefix(prefix),
        "sentence_case": sentence_case,
        "letters": lambda choices: [_LETTERS[i] for i in range(len(choices))],
        "detokenized": detokenized,
        "without_markup": without_markup,
        "sub": lambda text, pattern, new: re.sub(pattern, new, str(text)),
    }
    return environment


def _not_none(value: Any) -> Any:
    """What a template prints. A null in the row must not be asked as "None"."""
    if value is None:
        raise ValueError("a value is null")
    return value


def sentence_case(text: str) -> str:
    """A capital letter after each full stop.

    >>> sentence_case("a man sits. he")
    'a man sits. He'
    """
    return re.sub(r"([.!?]\s+)([a-z])", lambda m: m[1] + m[2].upper(), text)


def without_markup(text: str) -> str:
    """WikiHow's text without its `[title]`, `[header]` and `[step]`, as HellaSwag is asked.

    >>> without_markup("[header] How to bake [title] Mix it.")
    'How to bake. Mix it.'
    """
    text = re.sub(r"\[.*?\]", "", str(text).replace(" [title]", ". "))
    return re.sub(r"  +", " ", text).strip()


def detokenized(text: str) -> str:
    """WikiText with its spaces before punctuation and its `@-@` taken back out.

    The rules are those that language-model papers use for WikiText (Merity et al. 2016's corpus
    writes `8 @-@ bit` and `film , the`).
    """
    for mark in "-,.":
        text = text.replace(f" @{mark}@ ", mark)
    text = re.sub(r" ([.,;:!?%)\]}]|'s\b|n't\b)", r"\1", text)
    text = re.sub(r"([(\[{$]) ", r"\1", text)
    text = re.sub(r'" ([^"\n]*) "', r'"\1"', text)
    return re.sub(r"\n ", "\n", text)


class Renderer:
    """Makes the items of one task. Templates are compiled once; a mistake in one names its key."""

    def __init__(self, spec: TaskSpec, where: str) -> None:
        self._spec = spec
        self._where = where
        self._expressions: dict[str, Expression] = {}
        answer = spec.answer if spec.answer is not None else _ANSWERS.get(spec.kind, "")
        self._prompt = self._template("prompt", spec.prompt)
        self._answer = self._template("answer", answer)
        self._bare = (
            self._template("prompt", without_text(spec.prompt)),
            self._template("answer", without_text(answer)),
        )
        default = spec.prompt + answer
        self._shot = self._template("shot", spec.shot or default)
        self._shot_from_pair = spec.shot is None
        self._per_choice = "choice" in _names(spec.prompt)

    def fields(self, source: Source, row: Row) -> dict[str, Any] | None:
        """The row's columns with the task's fields over them; None where `where` leaves it out.

        Raises `ValueError` naming the field whose expression the row does not satisfy.
        """
        if source.where is not None and not self._evaluate("where", source.where, row.values):
            return None
        found = {
            name: self._evaluate(f"fields.{name}", text, row.values)
            for name, text in source.fields.items()
        }
        return {**{str(name): value for name, value in row.values.items()}, **found}

    def item(self, identity: str, row: Row, fields: dict[str, Any]) -> Item:
        """The item. Raises `ValueError` saying what it lacks."""
        spec = self._spec
        for name in REQUIRED.get(spec.kind, ()):
            if fields.get(name) is None:
                missing = "no gold answer" if name in ("gold", "references") else "missing"
                raise ValueError(f"`{name}` is {missing}")
        if spec.kind == "instructions":
            _check_instructions(fields, row.where)
        choices, gold = self._choices(fields)
        references = _texts(fields.get("references"))
        if spec.kind == "generation" and not references:
            raise ValueError("`references` is empty: there is no gold answer")
        prompt = ""
        if not self._per_choice:
            prompt = self._render(self._prompt, "prompt", fields)
            if not prompt.strip() and spec.prompt.strip():
                raise ValueError(f"the {'text' if spec.kind == 'text' else 'prompt'} is empty")
        language = fields.get("language") or spec.language
        found = Item(
            id=identity,
            where=row.where,
            fields=fields,
            prompt=prompt,
            choices=choices,
            gold=gold,
            references=references,
            language=language if isinstance(language, str) else None,
            group=self._group(fields),
        )
        return replace(found, options=self._options(found), bare=self._of_the_row(found))

    def _group(self, fields: Mapping[str, Any]) -> str:
        """Whose worked examples the item is shown."""
        name = self._spec.shots_by
        if name is None:
            return ""
        if fields.get(name) is None:
            raise ValueError(f"`{name}`, by which worked examples are chosen, is missing")
        return str(fields[name])

    def _options(self, item: Item) -> tuple[tuple[str, str], ...]:
        """(context, continuation) of each choice."""
        out = []
        for place in range(len(item.choices) or 1):
            fields = self._with_choice(item, place)
            context = item.prompt
            if self._per_choice:
                context = self._render(self._prompt, "prompt", fields)
            out.append((context, self._render(self._answer, "answer", fields)))
        return tuple(out)

    def _of_the_row(self, item: Item) -> tuple[str, str]:
        """Question and right answer without the templates' own words."""
        question, answer = self._bare
        fields = self._right(item)
        return self._render(question, "prompt", fields), self._render(answer, "answer", fields)

    def example(self, item: Item) -> str:
        """The item as a worked example."""
        return self._render(self._shot, "shot", self._right(item))

    def _right(self, item: Item) -> dict[str, Any]:
        """The item's fields with the right choice."""
        return self._with_choice(item, item.gold or 0)

    def _with_choice(self, item: Item, place: int) -> dict[str, Any]:
        """The item's fields, and `choice`, `letter` and `place` (from 0) of one of its choices."""
        return {
            **item.fields,
            "references": item.references,
            "choices": item.choices or item.fields.get("choices"),
            "choice": item.choices[place] if item.choices else "",
            "letter": _LETTERS[place] if place < len(_LETTERS) else "",
            "place": place,
        }

    def _choices(self, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], int | None]:
        spec = self._spec
        if spec.kind == "classification":
            label = str(fields["gold"])
            if label not in spec.labels:
                raise ValueError(f"the label {label!r} is not among the task's `labels`")
            return tuple(spec.labels.values()), list(spec.labels).index(label)
        if spec.kind == "preference":
            pair = tuple(_texts([fields["chosen"], fields["rejected"]]))
            if len(pair) != 2:
                raise ValueError("`chosen` and `rejected` must be texts that are not empty")
            if pair[0] == pair[1]:
                raise ValueError("`chosen` and `rejected` are the same text")
            return pair, 0
        if spec.kind != "choice":
            return (), None
        raw = fields["choices"]
        found = list(raw) if isinstance(raw, (list, tuple)) else [raw]
        choices = _texts(found)
        if len(choices) < len(found):  # dropping one would move the right one's place
            empty = next(i for i, c in enumerate(found) if c is None or not str(c).strip())
            raise ValueError(f"`choices`: choice {empty} is empty")
        if len(choices) < 2:
            raise ValueError(f"`choices` must hold two texts or more, and holds {len(choices)}")
        return choices, _gold(fields["gold"], choices)

    def _template(self, key: str, text: str) -> Any:
        from jinja2 import TemplateSyntaxError

        try:
            return _environment().from_string(text)
        except TemplateSyntaxError as error:
            raise DataError(
                f"`{key}` is not a template: {error.message}", where=self._where
            ) from error

    def _evaluate(self, key: str, text: str, values: Mapping[str, Any]) -> Any:
        from jinja2 import TemplateError, TemplateSyntaxError

        expression = self._expressions.get(text)
        if expression is None:
            try:
                expression = _environment().compile_expression(text, undefined_to_none=False)
            except TemplateSyntaxError as error:
                raise DataError(
                    f"`{key}` is not an expression: {error.message}", where=self._where
                ) from error
            self._expressions[text] = expression
        try:
            value = expression(**{str(k): v for k, v in values.items()})
            for part in value if isinstance(value, list) else [value]:
                if _environment().undefined in type(part).__mro__:
                    str(part)  # raises, saying which column is missing
            return value
        except TemplateError as error:
            raise ValueError(f"`{key}`: {error.message}") from error
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"`{key}`: {error}") from error

    def _render(self, template: Any, key: str, fields: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            return str(template.render(fields))
        except TemplateError as error:
            raise ValueError(f"`{key}`: {error.message}") from error
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"`{key}`: {error}") from error


def without_text(template: str) -> str:
    """The template with a space for each run of its own text: only what a row brings is left.

    >>> without_text("Question: {{ q }} Answer:")
    ' {{ q }} '
    """
    from jinja2 import TemplateSyntaxError

    try:
        tokens = list(_environment().lex(template))
    except TemplateSyntaxError:
        return ""  # said where the template is compiled
    return "".join(" " if kind == "data" else text for _, kind, text in tokens)


@cache
def _names(template: str) -> frozenset[str]:
    """The variables that a template reads."""
    from jinja2 import TemplateSyntaxError, meta

    try:
        return frozenset(meta.find_undeclared_variables(_environment().parse(template)))
    except TemplateSyntaxError:
        return frozenset()  # said where the template is compiled


def _check_instructions(fields: Mapping[str, Any], where: str) -> None:
    from chatwright.evaluate.instructions import instruction_prompt

    try:
        instruction_prompt({"key": where, **fields}, where)
    except DataError as error:
        raise ValueError(error.message) from error


def _texts(value: Any) -> tuple[str, ...]:
    """A text or a list of texts (or numbers) as texts, without those that are empty."""
    found = value if isinstance(value, (list, tuple)) else [value]
    return tuple(str(v) for v in found if v is not None and str(v).strip())


def _gold(value: Any, choices: tuple[str, ...]) -> int:
    """The index that `value` means: an index, a letter, or the right choice itself."""
    index: int | None = None
    if isinstance(value, bool):
        index = int(value)
    elif isinstance(value, int):
        index = value
    elif isinstance(value, float) and value.is_integer():
        index = int(value)
    elif isinstance(value, str):
        text = value.strip()
        meant = set()
        if choices.count(text) == 1:
            meant.add(choices.index(text))
        if len(text) == 1 and text.upper() in _LETTERS[: len(choices)]:
            meant.add(_LETTERS.index(text.upper()))
        elif text.isdecimal():
            meant.add(int(text))
        if not text:
            raise ValueError("`gold` is empty: the item has no gold answer")
        if len(meant) > 1 and min(meant) < len(choices) > max(meant):
            raise ValueError(
                f"`gold` is {value!r}, which is a choice and the place of another; say which by an "
                "expression: `gold | int`, or `choices.index(gold)`"
            )
        index = choices.index(text) if choices.count(text) == 1 else next(iter(meant), None)
    if index is None:
        raise ValueError(f"`gold` is {value!r}, which is no index, letter or choice")
    if not 0 <= index < len(choices):
        raise ValueError(f"`gold` is {value!r}, and there are {len(choices)} choices")
    return index
