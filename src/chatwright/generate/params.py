"""What a caller may ask of the engine, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chatwright.errors import UsageError

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen, and when to stop.

    `temperature` 0 always takes the likeliest token (greedy). `top_k` keeps the k likeliest tokens
    (0: all) and `top_p` the fewest whose probabilities reach p (Holtzman et al. 2020).
    `repetition_penalty` above 1 makes tokens of the prompt and of the answer so far less likely
    (Keskar et al. 2019). The order is that of `transformers`: penalty, temperature, top-k, top-p.
    At most `max_tokens` are made. The text ends before the first of the `stop` strings, which
    itself is not part of it. With a `seed` the same request gives the same answer whoever else is
    in the batch. `logprobs` asks for the natural log-probability of each token under the model
    itself, before penalty, temperature and truncation.

    Raises `UsageError` for a value that cannot be.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False

    def __post_init__(self) -> None:
        stop: object = self.stop
        if isinstance(stop, str):  # one string alone is what people write first
            stop = (stop,)
        object.__setattr__(self, "stop", tuple(stop))  # type: ignore[arg-type]
        _check("temperature", self.temperature, 0.0 <= self.temperature < math.inf, "0 or more")
        _check("top_k", self.top_k, self.top_k >= 0, "0 (all tokens) or more")
        _check("top_p", self.top_p, 0.0 < self.top_p <= 1.0, "above 0 and at most 1")
        _check(
            "repetition_penalty",
            self.repetition_penalty,
            0.0 < self.repetition_penalty < math.inf,
            "above 0 (1 changes nothing)",
        )
        _check("max_tokens", self.max_tokens, self.max_tokens >= 1, "1 or more")
        for text in self.stop:
            _check("stop", text, isinstance(text, str) and text != "", "text that is not empty")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


def _check(name: str, value: object, right: bool, bound: str) -> None:
    if not right:  # comparisons with NaN are false, so NaN ends here too
        raise UsageError(f"{name} is {value!r}; it must be {bound}", where=name)


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    `token_ids` holds every token made, the one that ended the answer included; `logprobs` is
    parallel to it, or None when not asked for. `text` holds neither special tokens nor a stop
    string. `finish_reason`: "stop" (end of turn or stop string), "length" (`max_tokens` or the end
    of the context window), "cancelled".
    """

    text: str
    token_ids: list[int]
    logprobs: list[float] | None
    finish_reason: FinishReason
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of a streamed answer; whole characters only, and possibly none.

    The last piece, and only that, has a `finish_reason` and the whole `completion`.
    """

    text: str
    finish_reason: FinishReason | None = None
    completion: Completion | None = None
