"""What a caller may ask of the engine, and what comes back."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, Self

from chatwright.errors import UsageError

FinishReason = Literal["stop", "length", "cancelled", "timeout"]
MOST_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer's text must look like as a whole; enforced token by token.

    Make one with `json_schema` (draft 2020-12, as far as llguidance supports it), `json` (any JSON
    value), `regex` (Rust syntax, matched against the whole answer) or `grammar` (llguidance's
    variant of Lark's EBNF; the rule `start` is the answer; GBNF, whose first rule is `root`, is
    taken too). Whether it compiles is found out when a request is submitted.
    """

    kind: Literal["json_schema", "regex", "grammar"]
    text: str

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str) -> Self:
        """Text that is JSON and valid under `schema`, on one line, keys in the schema's order.

        Raises `UsageError` where the schema itself is no JSON object.
        """
        if isinstance(schema, str):
            try:
                value = json.loads(schema)
            except ValueError as error:
                raise UsageError(f"the schema is not JSON: {error}", where="constraint") from error
        else:
            value = dict(schema)
        if not isinstance(value, dict):
            raise UsageError("a JSON schema must be an object here", where="constraint")
        try:
            # Keys keep their order: properties are written in that of the schema.
            return cls("json_schema", json.dumps(value, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"the schema cannot be written as JSON: {error}", where="constraint"
            ) from error

    @classmethod
    def json(cls) -> Self:
        """Text that is any one JSON value."""
        return cls("json_schema", "{}")

    @classmethod
    def regex(cls, pattern: str) -> Self:
        """Text that `pattern` matches from the first character to the last."""
        return cls("regex", pattern)

    @classmethod
    def grammar(cls, text: str) -> Self:
        """Text that the grammar derives."""
        return cls("grammar", text)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen, and when to stop.

    **Logits changed**, in this order, which is that of `transformers`: `guidance` above 1 moves
    them away from what the model says after `negative_prompt` (token ids; none: after the prompt's
    last token alone; Sanchez et al. 2023, classifier-free guidance). `logit_bias` is added to
    tokens' logits (-inf forbids one; kept as sorted pairs). `repetition_penalty` above 1 makes
    tokens of prompt and answer less likely (Keskar et al. 2019). OpenAI's `frequency_penalty`
    times the number of times that a token is in the answer so far, and `presence_penalty` if it is
    there at all, are subtracted; the prompt does not count. `no_repeat_ngram` n forbids a token
    that would repeat n tokens of prompt and answer in a row. Then the `constraint`. Before
    `min_tokens` tokens no end may come, neither the model's own nor one of `stop_tokens`, unless
    the constraint leaves nothing else.

    **Choice**: `temperature` 0 always takes the likeliest token (greedy). `top_k` keeps the k
    likeliest (0: all), `top_p` the fewest whose probabilities reach p (Holtzman et al. 2020),
    `min_p` those with at least that share of the likeliest's probability (Nguyen et al. 2024), and
    `typical_p` those nearest the expected information that together reach p (Meister et al. 2022).
    With a `seed` the same request gives the same answer whoever else is in the batch.

    **End**: at most `max_tokens` are made. The text ends before the first of the `stop` strings,
    which itself is not part of it, or at one of `stop_tokens`. With `ignore_end` the model's own
    end of turn does not end it. `timeout` is in seconds from submission. `window_end` says what
    happens where prompt and answer reach the context window: "stop" ends the answer with the
    reason "length"; "slide" drops the oldest tokens but the first `sinks` and goes on (Xiao et al.
    2023); "refuse" refuses at once a request whose prompt and `max_tokens` cannot fit.

    **Several answers**: `n` independent ones to one prompt, the best n by mean log-probability of
    `best_of`. `beams` above 1 is beam search instead, with n ≤ beams answers, scored by the sum of
    log-probabilities over length^`length_penalty`; `early_stopping` True ends when there are as
    many finished answers as beams, "never" only when no better can come, False by the usual guess
    in between (as `transformers`). It is deterministic, so `temperature` must be 0.

    `logprobs` asks for the natural log-probability of each token under the model itself, before
    all of the above, and `top_logprobs` for the likeliest tokens' beside it. `constraint` gives the
    form of the whole answer. `lookup` lets that many tokens be guessed per step from what prompt
    and answer already contain (prompt lookup decoding: same answers, sooner).

    Raises `UsageError` naming the field for a value, or for two together, that cannot be.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram: int = 0
    logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_end: bool = False
    seed: int | None = None
    n: int = 1
    best_of: int | None = None
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    logprobs: bool = False
    top_logprobs: int = 0
    guidance: float = 1.0
    negative_prompt: tuple[int, ...] = ()
    constraint: Constraint | None = None
    lookup: int = 0
    window_end: Literal["stop", "slide", "refuse"] = "stop"
    sinks: int = 4
    timeout: float | None = None

    def __post_init__(self) -> None:
        stop: object = self.stop
        if isinstance(stop, str):  # one string alone is what people write first
            stop = (stop,)
        _check("stop", stop, isinstance(stop, Iterable), "a string, or several")
        object.__setattr__(self, "stop", tuple(stop))  # type: ignore[arg-type]
        for name in ("stop_tokens", "negative_prompt"):
            object.__setattr__(self, name, _token_ids(name, getattr(self, name)))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        _check_types(self)
        _check_values(self)
        _check_together(self)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0.0

    @property
    def answers(self) -> int:
        """How many answers are made, of which `n` come back: `best_of`, or n."""
        return self.n if self.best_of is None else self.best_of


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    `token_ids` holds every token made, the one that ended the answer included; `logprobs` is
    parallel to it, or None when not asked for, and so is `top_logprobs` (token and logprob, the
    likeliest first). `text` holds neither special tokens nor a stop string. `finish_reason`: "stop"
    (end of turn, stop string, or a constraint that is complete), "length" (`max_tokens` or the end
    of the context window), "cancelled", "timeout". `cached_tokens` of the `prompt_tokens` were not
    computed again. `index` tells which of the n answers it is; `score` is a beam's score, or the
    mean log-probability where the best of several were asked for.
    """

    text: str
    token_ids: list[int]
    logprobs: list[float] | None
    finish_reason: FinishReason
    prompt_tokens: int
    top_logprobs: list[list[tuple[int, float]]] | None = None
    cached_tokens: int = 0
    index: int = 0
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token of an answer with its natural log-probability, and the likeliest in its place."""

    token: int
    logprob: float
    top: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of a streamed answer; whole characters only, and possibly none.

    The last piece of answer `index`, and only that, has a `finish_reason` and the whole
    `completion`. Where `logprobs` were asked for, `chosen` are the tokens taken since the piece
    before; the last piece has none, for its completion tells them all.
    """

    text: str
    finish_reason: FinishReason | None = None
    completion: Completion | None = None
    index: int = 0
    chosen: tuple[Chosen, ...] = ()


_WHOLE = (
    "top_k", "no_repeat_ngram", "min_tokens", "max_tokens", "n", "beams", "top_logprobs", "lookup",
    "sinks",
)  # fmt: skip
_NUMBERS = (
    "temperature", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "length_penalty", "guidance",
)  # fmt: skip
# Beyond these a float32 logit becomes infinite, and what is chosen from it means nothing.
_MOST_BIAS = 1e6
_MOST_GUIDANCE = 1e3
_MOST_LENGTH_PENALTY = 100.0


def _check_types(p: SamplingParams) -> None:
    for name in _WHOLE:
        _check(name, getattr(p, name), _is_whole(getattr(p, name)), "a whole number")
    for name in ("seed", "best_of"):
        value = getattr(p, name)
        _check(name, value, value is None or _is_whole(value), "a whole number, or None")
    for name in _NUMBERS:
        _check(name, getattr(p, name), _is_number(getattr(p, name)), "a number")
    _check("timeout", p.timeout, p.timeout is None or _is_number(p.timeout), "a number, or None")


def _is_whole(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_values(p: SamplingParams) -> None:
    _check("temperature", p.temperature, 0.0 <= p.temperature < math.inf, "0 or more")
    _check("top_k", p.top_k, p.top_k >= 0, "0 (all tokens) or more")
    for name in ("top_p", "typical_p"):
        _check(name, getattr(p, name), 0.0 < getattr(p, name) <= 1.0, "above 0 and at most 1")
    _check("min_p", p.min_p, 0.0 <= p.min_p <= 1.0, "between 0 (all tokens) and 1")
    _check(
        "repetition_penalty",
        p.repetition_penalty,
        0.0 < p.repetition_penalty < math.inf,
        "above 0 (1 changes nothing)",
    )
    for name, most in (
        ("frequency_penalty", _MOST_BIAS),
        ("presence_penalty", _MOST_BIAS),
        ("length_penalty", _MOST_LENGTH_PENALTY),
    ):
        value = getattr(p, name)
        _check(name, value, abs(value) <= most, f"between -{most:g} and {most:g}")
    for name in ("no_repeat_ngram", "min_tokens", "lookup", "sinks"):
        _check(name, getattr(p, name), getattr(p, name) >= 0, "0 or more")
    for name in ("max_tokens", "n", "beams"):
        _check(name, getattr(p, name), getattr(p, name) >= 1, "1 or more")
    for text in p.stop:
        _check("stop", text, isinstance(text, str) and text != "", "text that is not empty")
    _check(
        "early_stopping",
        p.early_stopping,
        p.early_stopping in (True, False, "never"),
        "True, False or 'never'",
    )
    _check(
        "top_logprobs",
        p.top_logprobs,
        0 <= p.top_logprobs <= MOST_TOP_LOGPROBS,
        f"between 0 and {MOST_TOP_LOGPROBS}",
    )
    most = _MOST_GUIDANCE
    _check("guidance", p.guidance, 1.0 <= p.guidance <= most, f"between 1 (none) and {most:g}")
    _check(
        "constraint",
        p.constraint,
        p.constraint is None or isinstance(p.constraint, Constraint),
        "a Constraint",
    )
    _check(
        "window_end",
        p.window_end,
        p.window_end in ("stop", "slide", "refuse"),
        "'stop', 'slide' or 'refuse'",
    )
    _check(
        "timeout",
        p.timeout,
        p.timeout is None or 0.0 < p.timeout < math.inf,
        "a number of seconds above 0, or None",
    )


def _check_together(p: SamplingParams) -> None:
    if p.min_tokens > p.max_tokens:
        _refuse("min_tokens", f"{p.min_tokens} is more than max_tokens, which is {p.max_tokens}")
    if p.best_of is not None and p.best_of < p.n:
        _refuse("best_of", f"{p.best_of} is less than n, which is {p.n}")
    if p.top_logprobs and not p.logprobs:
        _refuse("top_logprobs", "it needs logprobs=True")
    if p.negative_prompt and p.guidance == 1.0:
        _refuse("negative_prompt", "it needs guidance above 1")
    if p.lookup and p.guidance != 1.0:
        _refuse("lookup", "guesses cannot be checked under guidance; leave one of the two out")
    if p.beams == 1:
        if p.length_penalty != 1.0:
            _refuse("length_penalty", "it means something with beams above 1 only")
        if p.early_stopping is not False:
            _refuse("early_stopping", "it means something with beams above 1 only")
    else:
        _check_beams(p)


def _check_beams(p: SamplingParams) -> None:
    if not p.greedy:
        _refuse("temperature", "beam search does not sample; set temperature=0")
    if p.n > p.beams:
        _refuse("n", f"{p.beams} beams give at most as many answers, not {p.n}")
    if p.best_of is not None:
        _refuse("best_of", "beam search ranks its own answers; ask for n of them")
    if p.guidance != 1.0:
        _refuse("guidance", "it cannot be had together with beam search")
    if p.lookup:
        _refuse("lookup", "beam search takes no guesses; leave one of the two out")
    if p.window_end == "slide":
        _refuse("window_end", "beams share what they have read, so it cannot slide; use 'stop'")


def _check(name: str, value: object, right: bool, bound: str) -> None:
    if not right:  # comparisons with NaN are false, so NaN ends here too
        raise UsageError(f"{name} is {value!r}; it must be {bound}", where=name)


def _refuse(name: str, why: str) -> None:
    raise UsageError(why, where=name)


def _token_ids(name: str, ids: Iterable[int]) -> tuple[int, ...]:
    try:
        tokens = tuple(operator.index(i) for i in ids)
    except TypeError as error:
        raise UsageError(f"{name} must be token ids (whole numbers)", where=name) from error
    for token in tokens:
        _check(name, token, token >= 0, "token ids from 0 on")
    return tokens


def _biases(
    biases: Mapping[int, float] | Iterable[tuple[int, float]],
) -> tuple[tuple[int, float], ...]:
    pairs = biases.items() if isinstance(biases, Mapping) else biases
    try:
        told = {operator.index(token): float(bias) for token, bias in pairs}
    except (TypeError, ValueError) as error:
        raise UsageError(
            "logit_bias must map token ids (whole numbers) to numbers", where="logit_bias"
        ) from error
    for token, bias in told.items():
        _check("logit_bias", token, token >= 0, "for token ids from 0 on")
        # -inf forbids a token; +inf would make every other impossible, and a NaN anything
        right = bias == -math.inf or abs(bias) <= _MOST_BIAS
        _check("logit_bias", bias, right, f"between -{_MOST_BIAS:g} and {_MOST_BIAS:g}, or -inf")
    return tuple(sorted(told.items()))
