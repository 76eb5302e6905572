"""What a search may change: ranges and choices of a stage's settings, written and checked."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from chatwright.errors import UsageError
from chatwright.train.preference.settings import PAIRS_PER_STEP
from chatwright.train.stages import NewModel, TrainStage

_RANGE = re.compile(r"(?P<low>[^.\s]\S*?|\.\S+?)\.\.(?P<high>[^:\s]+)(?P<options>(:[^:]*)*)")
_SYNTAX = "write KEY=LOW..HIGH, KEY=LOW..HIGH:log, KEY=LOW..HIGH:step=N or KEY=A,B,C"
# Of these, one at most may be given: setting one of them takes the place of the others.
ONE_OF = (("epochs", "steps", "tokens"), ("batch_tokens", "batch_size"))
HOW_MUCH = ONE_OF[0]
# Assumed for a model that has not been loaded: SmolLM2-135M's.
_WIDTH = 576
_NO_DIFFERENCE = "it does not change what is learnt"
# Never; and not with more than one value.
_NEVER = {
    "objective": "another objective's losses cannot be compared",
    "validate_every": "a trial is measured at each tenth",
    "samples": _NO_DIFFERENCE,
}
_NOT_SEARCHED = {
    "validation_tokens": "losses on other data cannot be compared",
    **dict.fromkeys(
        (
            "checkpoint_every", "checkpoint_seconds", "keep_checkpoints", "threads", "compile",
            "distributed", "micro_batch_tokens", "checkpoint_activations",
        ),
        _NO_DIFFERENCE,
    ),
}  # fmt: skip

Scalar = None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: by orders of magnitude."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def described(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}

    def __str__(self) -> str:
        more = ":log" if self.log else f":step={self.step:g}" if self.step is not None else ""
        return f"{self.low:g}..{self.high:g}{more}"


@dataclass(frozen=True, slots=True)
class Choices:
    """One of several values; a single one is simply set."""

    values: tuple[Scalar, ...]

    def described(self) -> list[Scalar]:
        return list(self.values)

    def __str__(self) -> str:
        return ",".join("null" if v is None else str(v) for v in self.values)


Space = Mapping[str, Range | Choices]


def parse_settings(texts: Iterable[str]) -> dict[str, Range | Choices]:
    """What `--set` says: `learning_rate=1e-4..1e-2:log`, `batch_tokens=2048,4096`.

    Raises `UsageError` naming the key.
    """
    space: dict[str, Range | Choices] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key or not value:
            raise UsageError(f"{text!r} names no setting and values", where="--set", hint=_SYNTAX)
        if key in space:
            raise UsageError(f"{key} is given twice", where="--set", hint="give it once")
        space[key] = _parse(value, f"--set {key}")
    return space


def load_space(path: Path) -> dict[str, Range | Choices]:
    """A YAML file: `key: low..high:log`, `key: [a, b]` or `key: {low: …, high: …, log: true}`.

    Raises `UsageError` naming file and key.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UsageError(f"the search space cannot be read: {error}", where=str(path)) from error
    if not isinstance(raw, dict) or not raw:
        raise UsageError(
            "a search space maps settings to what they may be",
            where=str(path),
            hint="for example `learning_rate: 1e-4..1e-2:log`",
        )
    space: dict[str, Range | Choices] = {}
    for key, value in raw.items():
        where = f"{path}: {key}"
        if isinstance(value, list):
            space[str(key)] = _choices(value, where)
        elif isinstance(value, dict):
            space[str(key)] = _range_of(value, where)
        elif isinstance(value, str):
            space[str(key)] = _parse(value, where)
        else:
            space[str(key)] = _choices([value], where)
    return space


def default_space(stage: TrainStage) -> dict[str, Range | Choices]:
    """What is worth searching when nobody says: learning rate, batch, decay, warmup, schedule.

    The learning rate goes 8 times down and up from the stage's own, or from the usual one; the
    batch to half and double (of preferences in pairs, of rollouts in prompts).
    """
    from chatwright.train.numbers import usual_rate

    depth = stage.model.depth if isinstance(stage.model, NewModel) else None
    rate = stage.learning_rate or usual_rate(stage, _WIDTH if depth is None else 64 * depth)
    rates = Range(float(f"{rate / 8:.2g}"), float(f"{rate * 8:.2g}"), log=True)
    space: dict[str, Range | Choices] = {"learning_rate": rates}
    if stage.objective in ("ppo", "grpo"):
        block = stage.ppo if stage.objective == "ppo" else stage.grpo
        space[f"{stage.objective}.prompts"] = _around(block.prompts)
    elif stage.batch_size is not None:
        space["batch_size"] = _around(stage.batch_size)
    elif stage.objective in ("reward", "dpo") and stage.batch_tokens is None:
        space["batch_size"] = _around(PAIRS_PER_STEP)
    else:
        new = stage.objective == "pretrain" and depth is not None
        space["batch_tokens"] = _around(
            stage.batch_tokens or (1024 * (depth or 1) if new else 4096)
        )
    space["weight_decay"] = Choices((0.0, 0.01, 0.1))
    space["warmup"] = Range(0.0, 0.2)
    space["schedule"] = Choices(("wsd", "cosine", "linear"))
    return space


def check_space(
    space: Space, stage: TrainStage, where: str = "search space"
) -> dict[str, Range | Choices]:
    """The space with its numbers in the types of the stage's settings.

    Raises `UsageError` for a setting that the stage does not have, one that makes no sense to
    search, and values that it does not take.
    """
    if not space:
        raise UsageError("there is nothing to search", where=where, hint=_SYNTAX)
    for group in ONE_OF:
        both = [key for key in group if key in space]
        if len(both) > 1:
            raise UsageError(
                f"{' and '.join(both)} exclude each other", where=where, hint="search one of them"
            )
    checked: dict[str, Range | Choices] = {}
    for key, values in space.items():
        place = f"{where}: {key}"
        unwanted = _NEVER if key not in varied(space) else _NEVER | _NOT_SEARCHED
        if key in unwanted:
            raise UsageError(f"{key} is not searched: {unwanted[key]}", where=place)
        kinds = _kinds(key, stage, place)
        if isinstance(values, Range):
            checked[key] = _typed(values, kinds, place)
            ends: Sequence[Any] = (checked[key].low, checked[key].high)  # type: ignore[union-attr]
        else:
            checked[key] = values
            ends = values.values
        for value in ends:
            try:
                with_values(stage, {key: value})
            except ValidationError as error:
                raise UsageError(
                    f"{key} cannot be {value!r}: {explain(error)}",
                    where=place,
                    hint="leave this value out",
                ) from error
    return checked


def with_values(stage: TrainStage, values: Mapping[str, Any]) -> TrainStage:
    """The stage with these settings, `lora.rank` going into `lora`.

    Raises pydantic's `ValidationError` where they do not go together.
    """
    plain: dict[str, Any] = _as_dict(stage)
    for key, value in values.items():
        for group in ONE_OF:
            if key in group:
                plain.update(dict.fromkeys(group, None))
        *parents, last = key.split(".")
        inside = plain
        for name in parents:
            inside = inside[name]
        inside[last] = value
    return type(stage).model_validate(plain)


def explain(error: ValidationError) -> str:
    """The first complaint in a person's words."""
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def varied(space: Space) -> dict[str, Range | Choices]:
    """The settings that have more than one value."""
    return {k: v for k, v in space.items() if not isinstance(v, Choices) or len(v.values) > 1}


def points_of(space: Space) -> int | None:
    """How many combinations there are; None where that has no end."""
    count = 1
    for values in space.values():
        if isinstance(values, Choices):
            count *= len(values.values)
        elif values.whole:
            count *= int((values.high - values.low) // (values.step or 1)) + 1
        elif values.step is not None:
            count *= int((values.high - values.low) / values.step + 1e-9) + 1
        else:
            return None
    return count


# -- inside ----------------------------------------------------------------------------------------


def _around(size: int) -> Choices:
    """Half, the same and double."""
    return Choices(tuple(dict.fromkeys((max(1, size // 2), size, 2 * size))))


def _as_dict(settings: BaseModel) -> dict[str, Any]:
    """All fields, blocks as dictionaries; also those that `model_dump` leaves out."""
    found = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {k: _as_dict(v) if isinstance(v, BaseModel) else v for k, v in found.items()}


def _parse(text: str, where: str) -> Range | Choices:
    found = _RANGE.fullmatch(text)
    if found is None:
        if ".." in text:
            raise UsageError(f"{text!r} is not a range of numbers", where=where, hint=_SYNTAX)
        try:
            values = YAML(typ="safe").load(f"[{text}]")
        except YAMLError as error:
            raise UsageError(f"{text!r} cannot be read", where=where, hint=_SYNTAX) from error
        return _choices(values, where)
    options: dict[str, Any] = {"low": found["low"], "high": found["high"]}
    for option in filter(None, found["options"].split(":")):
        name, equals, value = option.partition("=")
        options[name] = value if equals else True
    return _range_of(options, where)


def _range_of(raw: Mapping[str, Any], where: str) -> Range:
    unknown = sorted(set(raw) - {"low", "high", "log", "step"})
    if unknown or "low" not in raw or "high" not in raw:
        what = f"unknown: {', '.join(unknown)}" if unknown else "a range has `low` and `high`"
        raise UsageError(what, where=where, hint=_SYNTAX)
    log = raw.get("log", False)
    if not isinstance(log, bool):
        raise UsageError("`log` is true or false", where=where, hint=_SYNTAX)
    low, high = _number(raw["low"], where), _number(raw["high"], where)
    step = None if raw.get("step") is None else _number(raw["step"], where)
    if not low < high:
        raise UsageError(
            f"the range {low:g}..{high:g} is empty", where=where, hint="the smaller number is first"
        )
    if log and low <= 0:
        raise UsageError(
            f"a logarithmic range begins above 0, not at {low:g}",
            where=where,
            hint="raise its beginning, or leave out `log`",
        )
    if step is not None and (step <= 0 or log):
        raise UsageError("`step` is above 0 and without `log`", where=where, hint=_SYNTAX)
    return Range(low, high, log, step)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not isfinite(number):
        raise UsageError(f"{value!r} is not a number", where=where, hint=_SYNTAX)
    return number


def _choices(values: Sequence[Any], where: str) -> Choices:
    for value in values:
        if not isinstance(value, Scalar):
            raise UsageError(
                f"{value!r} is not a single word or number", where=where, hint="list single values"
            )
    if not values:
        raise UsageError("the list of choices is empty", where=where, hint=_SYNTAX)
    unique = {(type(value), value): value for value in values}
    return Choices(tuple(unique.values()))


def _typed(values: Range, kinds: set[Any], where: str) -> Range:
    """The range with whole numbers where the setting takes nothing else."""
    if float in kinds:
        return values
    if int not in kinds:
        names = sorted(repr(k) if isinstance(k, str) else k.__name__ for k in kinds)
        raise UsageError(
            "this setting is no number",
            where=where,
            hint=f"list what to try, separated by commas; it takes {', '.join(names)}",
        )
    for number in (values.low, values.high, values.step or 1.0):
        if number != int(number):
            raise UsageError(f"this setting is a whole number, and {number:g} is not", where=where)
    step = None if values.step is None else int(values.step)
    return Range(int(values.low), int(values.high), values.log, step, whole=True)


def _kinds(key: str, stage: TrainStage, where: str) -> set[Any]:
    """The types and literals that a setting takes."""
    model: BaseModel = stage
    *parents, last = key.split(".")
    for name in parents:
        _known(name, model, where)
        inner = getattr(model, name)
        if not isinstance(inner, BaseModel):
            raise UsageError(
                f"the stage has no block `{name}`",
                where=where,
                hint=f"add `{name}:` to the stage in the recipe first",
            )
        model = inner
    _known(last, model, where)
    if not parents and last in stage.references:
        raise UsageError(
            f"{last} names what is trained or trained on, which a search does not change",
            where=where,
        )
    return set(_leaves(type(model).model_fields[last].annotation))


def _known(name: str, model: BaseModel, where: str) -> None:
    import difflib

    fields = type(model).model_fields
    if name not in fields:
        close = difflib.get_close_matches(name, fields, n=1)
        start = f"did you mean `{close[0]}`? " if close else ""
        raise UsageError(
            f"the stage has no setting {name!r}",
            where=where,
            hint=f"{start}settings: {', '.join(fields)}",
        )


def _leaves(annotation: Any) -> Iterable[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for inner in get_args(annotation):
            yield from _leaves(inner)
    elif origin is Literal:
        yield from get_args(annotation)
    elif annotation is not type(None):
        yield origin or annotation
