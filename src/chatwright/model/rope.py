"""How fast each pair of a head turns (RoPE), and the ways of making a window longer than trained.

Imports no torch: the native engine computes its tables from the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chatwright.errors import ModelError

if TYPE_CHECKING:
    from chatwright.model.config import ModelConfig

RopeType = Literal["linear", "dynamic", "yarn", "llama3"]
EXTENSIONS = ("linear", "ntk", "dynamic", "yarn", "llama3")


class RopeScaling(BaseModel):
    """How RoPE's frequencies differ from θ^(−2i/D), so that positions beyond training make sense.

    - `linear`: all positions are divided by `factor` (Chen et al. 2023, position interpolation).
    - `dynamic`: NTK-aware, the base grows with the sequence once it is longer than
      `original_context`; what is shorter is computed as if nothing were scaled.
    - `yarn`: pairs that turn often within the original window stay, slow ones are interpolated,
      with a ramp from `beta_fast` to `beta_slow` turns; queries and keys are multiplied by
      `attention_factor` (None: 0.1 · ln(factor) + 1). Peng et al. 2023.
    - `llama3`: as Llama 3.1 does it, by wavelength, between `low_freq_factor` and
      `high_freq_factor`.

    Static NTK scaling is a larger `rope_theta` and nothing else: see `with_rope`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: RopeType
    factor: float = Field(ge=1, le=1e6, allow_inf_nan=False)
    original_context: int | None = Field(default=None, gt=0)
    beta_fast: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    beta_slow: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    attention_factor: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    truncate: bool = True
    low_freq_factor: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    high_freq_factor: float = Field(default=4.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type != "linear" and self.original_context is None:
            raise ValueError(f"{self.type} needs original_context, the window of the training")
        if self.type == "llama3" and self.high_freq_factor <= self.low_freq_factor:
            raise ValueError("high_freq_factor must be larger than low_freq_factor")
        return self


@lru_cache(maxsize=64)
def rope_frequencies(
    config: ModelConfig, length: int | None = None
) -> tuple[NDArray[np.float32], float]:
    """Radians per position of each pair, float32 [D/2], and what cosines and sines are scaled by.

    `length` is the longest sequence, in tokens; only `dynamic` scaling looks at it. The array is
    shared and cannot be written to. Computed in float64, and so the same on every machine.
    """
    size, theta = config.head_dim, config.rope_theta
    scaling = config.rope_scaling
    attention = 1.0
    if scaling is not None and scaling.type == "dynamic":
        assert scaling.original_context is not None
        longest = max(length or 0, scaling.original_context)
        stretch = scaling.factor * longest / scaling.original_context - (scaling.factor - 1)
        theta = _stretched(theta, stretch, size)
    plain = _plain(size, theta)
    if scaling is None or scaling.type == "dynamic":
        result = plain
    elif scaling.type == "linear":
        result = plain / scaling.factor
    elif scaling.type == "yarn":
        result = _yarn(plain, theta, scaling)
        attention = scaling.attention_factor or yarn_attention(scaling.factor)
    else:
        result = _llama3(plain, scaling)
    frequencies = result.astype(np.float32)
    frequencies.flags.writeable = False
    return frequencies, attention


def _plain(size: int, theta: float) -> NDArray[np.float64]:
    plain: NDArray[np.float64] = np.power(theta, -np.arange(0, size, 2, dtype=np.float64) / size)
    return plain


def _stretched(theta: float, stretch: float, size: int) -> float:
    """The base with which the slowest pair turns `stretch` times slower, the fastest as before."""
    return float(theta * stretch ** (size / (size - 2)))


def yarn_attention(factor: float) -> float:
    """The scale of queries and keys that YaRN's authors found best for a window `factor` longer."""
    return 0.1 * math.log(factor) + 1.0


def _yarn(plain: NDArray[np.float64], theta: float, scaling: RopeScaling) -> NDArray[np.float64]:
    size = 2 * len(plain)
    assert scaling.original_context is not None

    def pair_of(turns: float, window: int = scaling.original_context) -> float:
        """Which pair (as a real number) turns so many times within the window."""
        return size * math.log(window / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001
    slow = np.clip((np.arange(len(plain)) - low) / (high - low), 0, 1)
    result: NDArray[np.float64] = plain * (slow / scaling.factor + 1 - slow)
    return result


def _llama3(plain: NDArray[np.float64], scaling: RopeScaling) -> NDArray[np.float64]:
    assert scaling.original_context is not None
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_context * plain / (2 * math.pi)  # within the original window
    kept = np.clip((turns - low) / (high - low), 0, 1)
    result: NDArray[np.float64] = plain * ((1 - kept) / scaling.factor + kept)
    return result


def llama3_factors(size: int, theta: float, scaling: RopeScaling) -> NDArray[np.float32]:
    """What Llama 3's `scaling` divides each pair's frequency by, float32 [D/2]; `size` is D."""
    plain = _plain(size, theta)
    return (plain / _llama3(plain, scaling)).astype(np.float32)


def with_rope(config: ModelConfig, type: str, factor: float, **options: Any) -> ModelConfig:
    """`config` with a window `factor` times as long, by scaling RoPE as `type` says.

    `type` is `linear`, `ntk` (static: the base grows, Llama and everybody else need to know
    nothing of it), `dynamic` or `yarn`, which keeps most of a model's quality without training;
    `llama3` is for models trained so. `options` are fields of `RopeScaling`. Raises `ModelError`
    for values that make no sense, and where the model's RoPE is scaled already.
    """
    if config.rope_scaling is not None:
        raise ModelError(
            f"this model's RoPE is scaled already ({config.rope_scaling.type}, by "
            f"{config.rope_scaling.factor:g}; its window is {config.context} tokens)",
            hint="use it without a scaling of your own",
        )
    if type not in EXTENSIONS:
        raise ModelError(
            f"there is no RoPE scaling {type!r}", hint=f"known: {', '.join(EXTENSIONS)}"
        )
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= 1e6:
        raise ModelError(f"a window cannot be made {factor!r} times as long", where="rope factor")
    changes: dict[str, Any] = {"context": int(config.context * factor)}
    if type == "ntk":
        if options:
            raise ModelError(f"ntk has no option {min(options)!r}", where="rope")
        if config.head_dim <= 2:
            raise ModelError("ntk scaling needs heads larger than 2", where="rope")
        changes["rope_theta"] = _stretched(config.rope_theta, factor, config.head_dim)
    else:
        scaling = {"type": type, "factor": factor} | options
        if type != "linear":
            scaling.setdefault("original_context", config.context)
        changes["rope_scaling"] = scaling
    return config.checked(config.model_dump() | changes, "rope")


def parse_rope(text: str) -> dict[str, Any]:
    """The arguments of `with_rope` from one word of a command line: `yarn:4`.

    Raises `ModelError` for what is not a known type and a number.
    """
    type, _, factor = text.partition(":")
    try:
        number = float(factor)
    except ValueError:
        number = math.nan
    if type not in EXTENSIONS or not 1 <= number <= 1e6:
        raise ModelError(
            f"{text!r} is not a way to make a window longer",
            hint=f"write one of {', '.join(EXTENSIONS)}, a colon and a factor, as in yarn:4",
        )
    return {"type": type, "factor": number}


def scaling_of_hf(
    rope: Mapping[str, Any], context: Any, original: Any = None
) -> tuple[dict[str, Any] | None, Any]:
    """`RopeScaling`'s fields and the window, of `rope_parameters` or the older `rope_scaling`.

    `context` and `original` are `max_position_embeddings` and, where a file has it outside,
    `original_max_position_embeddings`. Nothing is checked here: `ModelConfig.checked` does that.
    """
    kind = rope_type(rope)
    if kind == "default":
        return None, context
    factor = rope.get("factor")
    fields: dict[str, Any] = {"type": kind, "factor": factor}
    if kind == "linear":
        return fields, context
    # transformers counts dynamic scaling from the window that the file names.
    before = original or rope.get("original_max_position_embeddings") or context
    fields["original_context"] = context if kind == "dynamic" else before
    numbers = isinstance(context, int) and isinstance(before, int) and before > 0
    if kind == "dynamic":
        if numbers and isinstance(factor, int | float) and 1 <= factor <= 1e6:
            context = int(context * factor)
    elif kind == "yarn":
        if factor is None and numbers:
            factor = fields["factor"] = context / before
        for name in ("beta_fast", "beta_slow", "truncate"):
            if rope.get(name) not in (None, 0) or rope.get(name) is False:
                fields[name] = rope[name]
        fields["attention_factor"] = _hf_attention(rope, factor)
        if numbers and isinstance(factor, int | float) and 1 <= factor <= 1e6:
            # Files name the window before or after scaling; only the latter is what it is made for.
            context = max(context, int(before * factor))
    else:
        for name in ("low_freq_factor", "high_freq_factor"):
            if name in rope:
                fields[name] = rope[name]
    return fields, context


def rope_type(rope: Mapping[str, Any]) -> Any:
    """The kind of scaling that a file names; `default` where it names none."""
    return rope.get("rope_type") or rope.get("type") or "default"


def _hf_attention(rope: Mapping[str, Any], factor: Any) -> Any:
    """YaRN's `attention_factor`; DeepSeek's files give it as the ratio of two scales."""
    given, top, bottom = (rope.get(k) for k in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None or not (top and bottom):
        return given
    if not all(isinstance(x, int | float) for x in (top, bottom, factor)) or factor <= 1:
        return 1.0
    return (0.1 * top * math.log(factor) + 1) / (0.1 * bottom * math.log(factor) + 1)


def scaling_to_hf(scaling: RopeScaling) -> dict[str, Any]:
    """What `transformers` reads as this scaling, without `rope_theta`."""
    written: dict[str, Any] = {"rope_type": scaling.type, "factor": scaling.factor}
    if scaling.type in ("yarn", "llama3"):
        written["original_max_position_embeddings"] = scaling.original_context
    if scaling.type == "yarn":
        written |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        if scaling.attention_factor is not None:
            written["attention_factor"] = scaling.attention_factor
        if not scaling.truncate:
            written["truncate"] = False
    elif scaling.type == "llama3":
        written["low_freq_factor"] = scaling.low_freq_factor
        written["high_freq_factor"] = scaling.high_freq_factor
    return written
