"""Whether an answer follows the verifiable instructions of its prompt: strictly, and loosely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.instructions import chinese, published  # noqa: F401  fills the table
from chatwright.evaluate.instructions.registry import CHECKS, arguments


@dataclass(frozen=True, slots=True)
class InstructionPrompt:
    """A row of the published table: a prompt, its instructions and the arguments of each."""

    key: str
    prompt: str
    instruction_ids: tuple[str, ...]
    kwargs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """Which instructions of one prompt an answer follows, in their order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def instruction_ids() -> tuple[str, ...]:
    """Every instruction that can be checked, in alphabetical order."""
    return tuple(sorted(CHECKS))


def check(instruction_id: str, kwargs: Mapping[str, Any], prompt: str, answer: str) -> bool:
    """Whether an answer follows one instruction. An empty answer follows none.

    `prompt` is what `combination:repeat_prompt` repeats where its argument is not given. Raises
    `DataError` for an unknown instruction or wrong arguments.
    """
    given = dict(kwargs)
    if instruction_id == "combination:repeat_prompt" and not given.get("prompt_to_repeat"):
        given["prompt_to_repeat"] = prompt
    checked = arguments(instruction_id, given)
    return bool(answer.strip()) and CHECKS[instruction_id](answer, **checked)


def follow(row: InstructionPrompt, answer: str) -> Followed:
    """Strict: the answer as it is. Loose: it or one of seven variants of it follows.

    The variants leave out the first line, the last, both ("Sure, here it is:"), and asterisks of
    Markdown, as section 2.2 of the paper has it.
    """
    variants = _variants(answer)
    strict, loose = [], []
    for name, kwargs in zip(row.instruction_ids, row.kwargs, strict=True):
        followed = check(name, kwargs, row.prompt, answer)
        strict.append(followed)
        loose.append(followed or any(check(name, kwargs, row.prompt, v) for v in variants))
    return Followed(tuple(strict), tuple(loose))


def instruction_prompt(row: Mapping[str, Any], where: str | None = None) -> InstructionPrompt:
    """A row with the published columns (key, prompt, instruction_id_list, kwargs), checked.

    Raises `DataError` naming `where` and the key for a missing column, an unknown instruction or
    arguments that are not the instruction's.
    """
    key, prompt = row.get("key"), row.get("prompt")
    names, kwargs = row.get("instruction_id_list"), row.get("kwargs")
    where = f"{where}, key {key}" if where else f"key {key}"
    if key is None or not isinstance(prompt, str) or not prompt.strip():
        raise DataError("the row needs a key and a prompt", where=where)
    if not isinstance(names, list) or not names or not isinstance(kwargs, list):
        raise DataError("instruction_id_list and kwargs must be lists", where=where)
    if len(names) != len(kwargs):
        raise DataError(
            f"{len(names)} instructions and {len(kwargs)} sets of arguments", where=where
        )
    for name, given in zip(names, kwargs, strict=True):
        known = dict(given or {})
        if name == "combination:repeat_prompt" and not known.get("prompt_to_repeat"):
            known["prompt_to_repeat"] = prompt
        arguments(str(name), known, where)
    return InstructionPrompt(
        str(key), prompt, tuple(names), tuple(dict(given or {}) for given in kwargs)
    )


def _variants(answer: str) -> list[str]:
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut[1:], *(text.replace("*", "") for text in cut)]
