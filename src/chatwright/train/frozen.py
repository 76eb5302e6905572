"""Frozen parameters: named by pattern, kept as they are to the bit, without optimizer state."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from chatwright.errors import TrainingError

_RANGE = re.compile(r"(\d+)-(\d+)")
_LONGEST_RANGE = 1024  # as many layers as a model may have


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Switch off the gradients of all parameters that `patterns` name; returns their names.

    A pattern is the beginning of a parameter's name, part by part: `embed_tokens`, `layers.0`,
    `layers.0-5` (both ends included), `layers.*.mlp`, `layers.0-1.self_attn.q_proj`. Within a part,
    `*`, `?` and `[…]` are wildcards. Everything below a named module is frozen with it.

    Raises `TrainingError` where a pattern, or a number of its range, names nothing.
    """
    names = dict(model.named_parameters())
    found: dict[str, None] = {}
    for pattern in patterns:
        for one in _without_ranges(pattern):
            matched = [name for name in names if _begins(name, one)]
            if not matched:
                raise TrainingError(
                    f"{_quoted(one, pattern)} names no parameter of this model",
                    where="freeze",
                    hint=_hint(model, one),
                )
            found.update(dict.fromkeys(matched))
    for name in found:
        names[name].requires_grad_(False)
    return list(found)


def _begins(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(wanted) <= len(parts) and all(map(fnmatchcase, parts, wanted))


def _without_ranges(pattern: str) -> list[str]:
    """`layers.0-2.mlp` → `layers.0.mlp`, `layers.1.mlp`, `layers.2.mlp`."""
    found = [""]
    for part in pattern.split("."):
        choices = [part]
        if match := _RANGE.fullmatch(part):
            first, last = int(match[1]), int(match[2])
            if not first <= last < first + _LONGEST_RANGE:
                raise TrainingError(
                    f"{pattern!r} has a range that does not go up",
                    where="freeze",
                    hint="write the smaller number first: layers.0-5",
                )
            choices = [str(n) for n in range(first, last + 1)]
        found = [f"{head}.{choice}" if head else choice for head in found for choice in choices]
    return found


def _quoted(one: str, pattern: str) -> str:
    return repr(one) if one == pattern else f"{one!r} (in {pattern!r})"


def _hint(model: nn.Module, pattern: str) -> str:
    names = [name for name, _ in model.named_parameters()]
    if pattern == "lm_head":
        return "this model's head is its embedding: freeze embed_tokens"
    layers = {int(n.split(".")[1]) for n in names if n.startswith("layers.")}
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    what = f"its parts: {', '.join(tops)}"
    return f"{what}; its layers: 0-{max(layers)}" if layers else what
