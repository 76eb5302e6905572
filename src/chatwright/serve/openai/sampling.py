"""The sampling fields that all requests have in common, and what the engine makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from chatwright.errors import UsageError
from chatwright.generate import SamplingParams
from chatwright.generate.params import Constraint
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits
from chatwright.serve.openai.parsing import Request, over_limit

MOST = 2**31  # of any count; what is allowed beyond that is a matter of `Limits`

# What a setting of the engine is called in a request.
_OUR_NAMES = {"beams": "num_beams", "constraint": "response_format"}


def _stops(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


def _early(value: Any) -> Any:
    # 1 equals True in Python, and is no boolean in JSON
    if value is None or isinstance(value, bool) or value == "never":
        return value
    raise PydanticCustomError("early_stopping", "it must be true, false or 'never'")


# OpenAI writes token ids as JSON's keys are: text.
TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
Stop = Annotated[
    list[Annotated[str, Field(min_length=1)]] | None,
    BeforeValidator(_stops, json_schema_input_type=str | list[str] | None),
]


class Sampling(Request):
    """How tokens are chosen. Fields left out are the assistant's own."""

    model: str = Field(max_length=300, description="A name that /v1/models lists.")
    temperature: float | None = Field(
        None, ge=0, le=2, description="0 always takes the likeliest token."
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="Keep the fewest tokens that reach this probability together."
    )
    top_k: int | None = Field(
        None, ge=0, le=1_000_000, description="Not OpenAI's: keep the k likeliest tokens (0: all)."
    )
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Not OpenAI's: keep tokens with this share of the likeliest's probability.",
    )
    typical_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Not OpenAI's: locally typical sampling (Meister et al. 2022).",
    )
    repetition_penalty: float | None = Field(
        None,
        gt=0,
        le=10,
        description="Not OpenAI's: above 1, tokens of prompt and answer become less likely.",
    )
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    no_repeat_ngram: int | None = Field(
        None, ge=0, le=1000, description="Not OpenAI's: no n tokens in a row come twice."
    )
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, description="Added to the logits of tokens, by id."
    )
    num_beams: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="Not OpenAI's: above 1, beam search. It takes no chance (temperature 0), and a "
        "stream of it comes in one piece at the end.",
    )
    length_penalty: float | None = Field(
        None, ge=-10, le=10, description="Not OpenAI's: the power of the length that scores beams."
    )
    early_stopping: Annotated[Literal[True, False, "never"] | None, BeforeValidator(_early)] = (
        Field(None, description="Not OpenAI's: when beam search ends (as in transformers).")
    )
    min_tokens: int | None = Field(
        None, ge=0, le=MOST, description="Not OpenAI's: no end before so many tokens."
    )
    max_tokens: int | None = Field(None, ge=1, le=MOST)
    n: int | None = Field(None, ge=1, le=MOST, description="How many answers to make.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="The same request then gets the same answer."
    )
    stop: Stop = Field(None, description="The answer ends before the first of these.")
    stream: bool | None = Field(None, description="Server-sent events as it is written.")

    def asked(self) -> dict[str, Any]:
        """The engine's settings by name, with None for those that are not asked for."""
        bias = self.logit_bias
        beams = (self.num_beams or 1) > 1
        return {
            "temperature": 0.0 if beams and self.temperature is None else self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repetition_penalty": self.repetition_penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "no_repeat_ngram": self.no_repeat_ngram,
            "logit_bias": {int(token): b for token, b in bias.items()} if bias else None,
            "beams": self.num_beams,
            "length_penalty": self.length_penalty,
            "early_stopping": self.early_stopping,
            "min_tokens": self.min_tokens,
            "max_tokens": self.max_tokens,
            "n": self.n,
            "seed": self.seed,
            "stop": tuple(self.stop) if self.stop else None,
        }

    def check(self, limits: Limits) -> None:
        """Raises `ApiError` (400) for more than this server takes."""
        if (self.max_tokens or 0) > limits.max_tokens:
            raise over_limit("max_tokens", f"max_tokens may be at most {limits.max_tokens}")
        if (self.num_beams or 1) > limits.beams:
            raise over_limit("num_beams", f"num_beams may be at most {limits.beams}")
        if (self.n or 1) > limits.choices:
            raise over_limit("n", f"n may be at most {limits.choices}")
        if len(self.logit_bias or {}) > limits.logit_biases:
            raise over_limit(
                "logit_bias", f"logit_bias may name at most {limits.logit_biases} tokens"
            )
        stops = self.stop or []
        if len(stops) > limits.stop_strings or any(len(s) > limits.stop_length for s in stops):
            raise over_limit(
                "stop",
                f"at most {limits.stop_strings} stop strings of {limits.stop_length} characters",
            )


def settle(default: SamplingParams, asked: dict[str, Any]) -> SamplingParams:
    """`default` (the assistant's own settings) with what the caller asked for put over it.

    Raises `ApiError` (400) for things that cannot be together, naming one of them.
    """
    try:
        return replace(default, **{name: v for name, v in asked.items() if v is not None})
    except UsageError as error:
        name = error.where or ""
        raise ApiError(
            400, error.message, param=_OUR_NAMES.get(name, name), code="invalid_value"
        ) from error


def json_form(
    kind: Literal["text", "json_object", "json_schema"], schema: dict[str, Any] | None
) -> Constraint | None:
    """What an answer of this format must look like; None for any text."""
    if kind == "json_schema" and schema is not None:
        return Constraint.json_schema(schema)
    if kind == "json_object":
        return Constraint.json_schema({"type": "object"})
    return None
