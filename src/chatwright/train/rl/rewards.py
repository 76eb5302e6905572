"""Functions that judge answers: found by name, checked, added up; and a few that come with us.

A reward function takes samples and returns a number for each:

>>> def reward(samples: Sequence[Sample]) -> Sequence[float]:
...     return [float("sorry" not in sample.text) for sample in samples]

A recipe names one as `package.module:function` or `path/to/file.py:function`. It must give the same
numbers for the same samples, or else a run that is resumed is not the run that was interrupted.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from chatwright.errors import ChatwrightError, TrainingError, UsageError
from chatwright.records import Message

_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer that the model made, and what is known about its prompt.

    `prompt` are the messages before it. `finish_reason` is "stop" where the model ended its turn
    and "length" where it was cut off. `reference` is the answer that the row itself has (the last
    assistant turn, which was taken off, or the chosen one), `meta` the row's.
    """

    prompt: Sequence[Message]
    text: str
    finish_reason: str
    row_id: str
    reference: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


RewardFunction = Callable[[Sequence[Sample]], Sequence[float]]


def load_reward_function(name: str, *, where: str = "reward_function") -> RewardFunction:
    """The function called `package.module:function` or `file.py:function`; `where` names the key.

    Raises `UsageError` where there is none, or it cannot be imported.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute.isidentifier():
        raise UsageError(
            f"{name!r} names no function",
            where=where,
            hint="write package.module:function or path/to/file.py:function",
        )
    try:
        module = (
            _file(Path(place), where) if place.endswith(".py") else importlib.import_module(place)
        )
        found = getattr(module, attribute)
    except ChatwrightError:
        raise
    except AttributeError as error:
        raise UsageError(f"there is no {attribute!r} in {place}", where=where) from error
    except Exception as error:  # whatever a module of somebody's own raises
        raise UsageError(
            f"{place} cannot be imported: {type(error).__name__}: {error}", where=where
        ) from error
    if not callable(found):
        raise UsageError(f"{name} is no function", where=where)
    return found  # type: ignore[no-any-return]


def _file(path: Path, where: str) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", where=where)
    # By its path: two files of the same name are two modules, and neither hides an installed one.
    digest = hashlib.blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()
    spec = importlib.util.spec_from_file_location(f"chatwright_reward_{digest}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in it look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def judge(function: RewardFunction, samples: Sequence[Sample]) -> list[float]:
    """The rewards of `samples`, checked.

    Raises `TrainingError` naming the function, and the row where there is one, for an exception of
    its own, a wrong number of rewards, or one that is no finite number.
    """
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    name = f"{getattr(function, '__module__', None) or 'reward'}:{name}"
    where = f"reward function {name}"
    try:
        rewards = list(function(samples))
    except ChatwrightError:
        raise
    except Exception as error:  # whatever a function of somebody's own raises
        rows = ", ".join(dict.fromkeys(s.row_id for s in samples[:3]))
        raise TrainingError(
            f"it failed: {type(error).__name__}: {error} (first rows: {rows})", where=where
        ) from error
    if len(rewards) != len(samples):
        raise TrainingError(
            f"it gave {len(rewards)} rewards for {len(samples)} samples", where=where
        )
    checked = []
    for sample, reward in zip(samples, rewards, strict=True):
        try:
            value = float(reward)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            shown = sample.text[:_LONGEST_SHOWN]
            raise TrainingError(
                f"the reward is {reward!r}, for the answer {shown!r}",
                where=f"{where}, row {sample.row_id}",
                hint="a reward is a finite number; give 0 where nothing can be judged",
            )
        checked.append(value)
    return checked


def weighted(parts: Sequence[tuple[RewardFunction, float]]) -> RewardFunction:
    """One function that adds up several, each times its weight."""

    def total(samples: Sequence[Sample]) -> list[float]:
        found = [[w * r for r in judge(function, samples)] for function, w in parts]
        return [math.fsum(values) for values in zip(*found, strict=True)]

    return total


# -- functions that come with us -------------------------------------------------------------------


def length(samples: Sequence[Sample]) -> list[float]:
    """Minus the answer's characters over 100: the shorter, the better (to try things with)."""
    return [-len(sample.text) / 100 for sample in samples]


def ended(samples: Sequence[Sample]) -> list[float]:
    """1 where the model ended its turn itself, 0 where it was cut off."""
    return [float(sample.finish_reason == "stop") for sample in samples]


def exact_answer(samples: Sequence[Sample]) -> list[float]:
    """1 where the answer's final number or text is that of the row's own answer, else 0.

    The final answer is what follows the last `####` (as in GSM8K) or LaTeX's `boxed`; without
    either, the last number of the text. Numbers are compared by value (`1,000` is `1000.0`), other
    text without case and spaces. Raises `TrainingError` for a row that has no such answer.
    """
    rewards = []
    for sample in samples:
        wanted = _final(sample.reference or "")
        if wanted is None:
            raise TrainingError(
                "the row has no final answer to compare with",
                where=f"row {sample.row_id}",
                hint="end its answer with `#### 42`",
            )
        found = _final(sample.text)
        rewards.append(float(found is not None and _plain(found) == _plain(wanted)))
    return rewards


_MARKED = re.compile(r"####\s*([^\n]+)|\\boxed\{([^{}]*)\}")
_NUMBER = re.compile(r"[-−+]?\d[\d,，]*(?:\.\d+)?")


def _final(text: str) -> str | None:
    marked = list(_MARKED.finditer(text))
    if marked:
        return (marked[-1][1] or marked[-1][2] or "").strip() or None
    numbers = _NUMBER.findall(text)
    return numbers[-1] if numbers else None


def _plain(text: str) -> str:
    number = text.strip().lstrip("$¥￥€£").rstrip("%.。元 ").replace(",", "").replace("，", "")
    try:
        value = Decimal(number.replace("−", "-"))
    except InvalidOperation:
        return "".join(text.split()).rstrip(".。").casefold()
    return str(value.normalize() + 0) if value.is_finite() else number
