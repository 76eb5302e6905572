"""Bounds on everything that a caller can set. Over one of them, the answer is 400 or 413."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of them together, may ask of the server.

    `body_bytes` is the size of a request's JSON; `active` the number of answers being generated or
    waiting for the engine at one time (one more gets 429); `body_seconds` how long a client may
    take to send its body, and `stall_seconds` how long it may take to read one piece of an answer.
    `logit_biases` is the number of tokens that one request may favour or forbid, `schema_bytes` the
    size of the JSON schema that its answer shall have, and `beams` how wide it may search.
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
    beams: int = 8
    active: int = 64
    loaded_models: int = 2
