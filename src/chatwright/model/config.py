"""The shape of a decoder, and the same shape as Hugging Face writes it in `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chatwright.errors import ModelError
from chatwright.model.rope import RopeScaling, RopeType, rope_type, scaling_of_hf, scaling_to_hf
from chatwright.tokenizer.files import read_json_object

_HEAD_DIM = 64
_MLP_MULTIPLE = 64
# Llama-shaped families that this decoder reads; others differ in ways that a shape cannot tell.
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


class ModelConfig(BaseModel):
    """Sizes and options of one Llama-shaped decoder.

    `attention_bias` puts a bias on the query, key and value projections, `output_bias` one on the
    attention's output projection too (Llama and Qwen3 have both or neither, Qwen2 the first only).
    `qk_norm` normalises each head's queries and keys before RoPE, as Qwen3 does. `tied` uses the
    embedding as the head. `context` is the longest sequence, in tokens, that the model is made for.
    `rope_scaling` says how RoPE was made to reach that far, where it was scaled.

    With `sliding_window`, a token sees itself and the `sliding_window` − 1 before it (Mistral), and
    the first `attention_sinks` of the sequence at the positions they have there (after Xiao et al.
    2023; no known family has those, and other programs leave them out). Layers below
    `window_from_layer` see everything before a token (Qwen2 and Qwen3).

    `reward_mean` and `reward_std` are those of a reward model's scores over its training data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: int = Field(gt=0, le=4_000_000)
    width: int = Field(gt=0, le=65_536)
    n_layers: int = Field(gt=0, le=1_024)
    n_heads: int = Field(gt=0, le=1_024)
    n_kv_heads: int = Field(gt=0, le=1_024)
    head_dim: int = Field(gt=0, le=4_096)
    mlp_width: int = Field(gt=0, le=1_048_576)
    context: int = Field(gt=0)
    rope_theta: float = Field(default=10_000.0, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    tied: bool = False
    qk_norm: bool = False
    attention_bias: bool = False
    output_bias: bool = False
    rope_scaling: RopeScaling | None = None
    sliding_window: int | None = Field(default=None, gt=0)
    attention_sinks: int = Field(default=0, ge=0)
    window_from_layer: int = Field(default=0, ge=0)
    reward_mean: float = 0.0
    reward_std: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads ({self.n_heads}) is not a multiple of n_kv_heads ({self.n_kv_heads})"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim ({self.head_dim}) is odd; RoPE turns pairs")
        if self.output_bias and not self.attention_bias:
            raise ValueError("output_bias without attention_bias: no known family has that")
        if self.qk_norm and self.attention_bias != self.output_bias:
            raise ValueError("with qk_norm, attention_bias and output_bias go together (Qwen3)")
        kind = self.rope_scaling.type if self.rope_scaling is not None else None
        if kind == "dynamic" and self.head_dim <= 2:
            raise ValueError("dynamic RoPE scaling needs heads larger than 2")
        if kind == "yarn" and self.rope_theta <= 1:
            raise ValueError("YaRN needs a rope_theta above 1")
        if self.sliding_window is None:
            if self.attention_sinks or self.window_from_layer:
                raise ValueError("attention_sinks and window_from_layer need a sliding_window")
        elif self.window_from_layer >= self.n_layers:
            raise ValueError("window_from_layer leaves no layer with a sliding window")
        elif (
            not self.qk_norm
            and self.attention_bias == self.output_bias
            and (self.attention_bias or self.window_from_layer)
        ):
            raise ValueError(
                "a sliding window with biases everywhere, or on some layers only without biases "
                "or qk_norm: no known family has that"
            )
        return self

    def window_of(self, layer: int) -> int | None:
        """How many positions a token of this layer sees, itself included; None: all before it."""
        return self.sliding_window if layer >= self.window_from_layer else None

    @classmethod
    def from_depth(cls, depth: int, vocab_size: int, context: int = 1024, **options: Any) -> Self:
        """The shape that one dial gives: width 64 per layer, one 64-wide head per layer.

        Keys and values share heads (the largest proper divisor of the number of heads); the MLP is
        8/3 of the width, rounded up to a multiple of 64. `options` override any field. The idea of
        one dial is nanochat's (`--depth`).
        """
        if depth < 1:
            raise ModelError(f"depth must be at least 1, not {depth}")
        width = depth * _HEAD_DIM
        n_kv_heads = max(d for d in range(1, max(1, depth // 2) + 1) if depth % d == 0)
        shape: dict[str, Any] = {
            "vocab_size": vocab_size,
            "width": width,
            "n_layers": depth,
            "n_heads": depth,
            "n_kv_heads": n_kv_heads,
            "head_dim": _HEAD_DIM,
            "mlp_width": _round_up(width * 8 / 3, _MLP_MULTIPLE),
            "context": context,
            "norm_eps": 1e-6,
            "qk_norm": True,
        }
        return cls.checked(shape | options, "depth")

    @property
    def n_parameters(self) -> int:
        """How many numbers the weights hold, each tied matrix counted once."""
        c = self
        q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        layer = c.width * (2 * q + 2 * kv) + 3 * c.width * c.mlp_width + 2 * c.width
        layer += 2 * c.head_dim * c.qk_norm + (q + 2 * kv) * c.attention_bias
        layer += c.width * c.output_bias
        return c.n_layers * layer + c.vocab_size * c.width * (1 if c.tied else 2) + c.width

    def to_hf(self) -> dict[str, Any]:
        """The content of a `config.json` that `transformers` opens as the same model."""
        if self.qk_norm:
            family, name = "qwen3", "Qwen3ForCausalLM"
        elif self.attention_bias and not self.output_bias:
            family, name = "qwen2", "Qwen2ForCausalLM"
        elif self.sliding_window is not None:
            family, name = "mistral", "MistralForCausalLM"
        else:
            family, name = "llama", "LlamaForCausalLM"
        scaling = self.rope_scaling
        rope = {"rope_type": "default"} if scaling is None else scaling_to_hf(scaling)
        context = self.context
        if scaling is not None and scaling.type == "dynamic":
            context = scaling.original_context or context  # transformers multiplies it itself
        config: dict[str, Any] = {
            "architectures": [name],
            "model_type": family,
            "vocab_size": self.vocab_size,
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": context,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,  # transformers 4, vLLM and llama.cpp read this one
            "rope_parameters": rope | {"rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tied,
            "attention_dropout": 0.0,
            "use_cache": True,
        }
        if scaling is not None:
            config["rope_scaling"] = rope  # the older programs' name for it
        if family == "llama":
            config |= {"attention_bias": self.attention_bias, "mlp_bias": False}
        elif family == "mistral":
            config["sliding_window"] = self.sliding_window
        else:
            if family == "qwen3":
                config["attention_bias"] = self.attention_bias
            config["use_sliding_window"] = self.sliding_window is not None
            if self.sliding_window is not None:
                config["sliding_window"] = self.sliding_window
                config["max_window_layers"] = self.window_from_layer
        if self.attention_sinks:
            config["attention_sinks"] = self.attention_sinks
        return config

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], where: str = "config.json") -> Self:
        """Read a `config.json`'s content. Raises `ModelError` for a shape that this is not."""
        family = config.get("model_type")
        if family not in _FAMILIES:
            raise ModelError(
                f"models of type {family!r} are not supported",
                where=where,
                hint=f"supported: {', '.join(_FAMILIES)}",
            )
        _refuse_unsupported(config, where)
        rope = _rope_of(config, where)
        scaling, context = scaling_of_hf(
            rope,
            config.get("max_position_embeddings", 2048),
            config.get("original_max_position_embeddings"),
        )
        qkv_bias = family == "qwen2" or bool(config.get("attention_bias", False))
        heads = config.get("num_attention_heads")
        head_dim = config.get("head_dim")
        if head_dim is None and isinstance(heads, int) and heads > 0:
            head_dim = 128 if family == "qwen3" else config.get("hidden_size", 0) // heads
        kv_heads = config.get("num_key_value_heads")
        return cls.checked(
            {
                "vocab_size": config.get("vocab_size"),
                "width": config.get("hidden_size"),
                "n_layers": config.get("num_hidden_layers"),
                "n_heads": heads,
                "n_kv_heads": heads if kv_heads is None else kv_heads,
                "head_dim": head_dim,
                "mlp_width": config.get("intermediate_size"),
                "context": context,
                "rope_theta": rope.get("rope_theta") or config.get("rope_theta") or 10_000.0,
                "rope_scaling": scaling,
                "norm_eps": config.get("rms_norm_eps", 1e-6),
                "tied": bool(config.get("tie_word_embeddings", False)),
                "qk_norm": family == "qwen3",
                "attention_bias": qkv_bias,
                "output_bias": qkv_bias and family != "qwen2",
                "reward_mean": config.get("reward_mean", 0.0),
                "reward_std": config.get("reward_std", 1.0),
            }
            | _window_of(config, where),
            where,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `config.json` in `folder`."""
        return cls.from_hf(read_json_object(folder / "config.json"), str(folder / "config.json"))

    @classmethod
    def checked(cls, shape: dict[str, Any], where: str) -> Self:
        try:
            return cls(**shape)
        except ValidationError as error:
            said = "; ".join(
                f"{'.'.join(str(p) for p in e['loc']) or 'shape'}: {e['msg']}"
                for e in error.errors()
            )
            raise ModelError(f"this is not the shape of a model: {said}", where=where) from error


def _rope_of(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a file says about RoPE, under its newer or its older name; the older has precedence."""
    rope: dict[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        value = config.get(key) or {}
        if not isinstance(value, dict):
            raise ModelError(f"{key} is not a JSON object", where=where)
        if value:
            theta = rope.get("rope_theta")
            rope = ({} if theta is None else {"rope_theta": theta}) | value
    return rope


def _window_of(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields about the sliding window, by each family's rules."""
    family = config["model_type"]
    # As in transformers: Mistral has a window unless its file says null, the others when asked.
    windowed = family == "mistral" or bool(config.get("use_sliding_window", False))
    window = config.get("sliding_window", 4096) if windowed and family != "llama" else None
    layers = config.get("num_hidden_layers")
    first = 0 if family == "mistral" else config.get("max_window_layers", 28)
    if not window or (isinstance(layers, int) and isinstance(first, int) and first >= layers > 0):
        return {}
    kinds = config.get("layer_types")
    if kinds is not None and family != "mistral":
        if kinds == ["full_attention"] * len(kinds):
            return {}
        if isinstance(kinds, list) and "sliding_attention" in kinds:
            first = kinds.index("sliding_attention")
        if kinds != ["full_attention"] * first + ["sliding_attention"] * (len(kinds) - first):
            raise ModelError("its layer_types are in an order that is not supported", where=where)
    return {
        "sliding_window": window,
        "window_from_layer": first,
        "attention_sinks": config.get("attention_sinks", 0),
    }


def _refuse_unsupported(config: Mapping[str, Any], where: str) -> None:
    """Options that change the computation and that this decoder does not have."""
    rope = _rope_of(config, where)
    kind = rope_type(rope)
    activation = config.get("hidden_act", "silu")
    partial = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1
    found = {
        f"RoPE scaling {kind!r}": kind not in ("default", *get_args(RopeType)),
        "RoPE on a part of each head": partial != 1,
        f"the activation {activation!r}": activation not in ("silu", "swish"),
        "an MLP with bias": bool(config.get("mlp_bias")),
        "quantised safetensors": config.get("quantization_config") is not None,
    }
    missing = [what for what, there in found.items() if there]
    if missing:
        raise ModelError(
            f"this model uses {' and '.join(missing)}, which Chatwright does not support yet",
            where=where,
            hint="use a model without it; for quantised weights, use the GGUF or the original",
        )


def _round_up(value: float, multiple: int) -> int:
    return -int(-value // multiple) * multiple
