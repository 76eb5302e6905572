"""Bounds on everything that a caller can set. Over one of them, the answer is 400 or 413."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests in the long run (`per_second`) and at once (`burst`)."""

    per_second: float
    burst: float

    def times(self, factor: float) -> Rate:
        return Rate(self.per_second * factor, self.burst * factor)


def _rates() -> dict[str, Rate]:
    """By the group that a route names (`access.allow`); one that is not here counts as "api"."""
    return {
        "api": Rate(50, 300),
        "public": Rate(20, 200),
        "credentials": Rate(1, 30),  # keys and cookies that are no good
        "sign_in": Rate(1, 30),
        "upload": Rate(2, 60),
    }


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of them together, may ask of the server.

    `body_bytes` is the size of a request's JSON; `active` the number of answers being generated or
    waiting for the engine at one time (one more gets 429), `active_of_one` how many of them may be
    one person's; `body_seconds` how long a client may take to send its body, and `stall_seconds`
    how long it may take to read one piece of an answer.
    `logit_biases` is the number of tokens that one request may favour or forbid, `schema_bytes` the
    size of the JSON schema that its answer shall have (of those of all its tools together),
    `schema_depth` how deep that may be nested, and `beams` how wide it may search. `choices` is the
    number of answers to one conversation, `prompts` that of prompts, or of answers to all of them,
    in one request for completions, and `tools` the number of
    functions that it may offer. `rates` is how often a key, a person or an address may ask, by
    group of routes.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    stall_seconds: float = 30.0
    messages: int = 500
    max_tokens: int = 4096
    stop_strings: int = 4
    stop_length: int = 200
    logit_biases: int = 1000
    schema_bytes: int = 1 << 16
    schema_depth: int = 40
    beams: int = 8
    choices: int = 8
    prompts: int = 16
    tools: int = 64
    active: int = 64
    active_of_one: int = 48
    loaded_models: int = 2
    rates: Mapping[str, Rate] = field(default_factory=_rates)
