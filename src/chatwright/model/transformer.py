"""One Llama-shaped decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU.

The model holds weights and arithmetic only. Which token may look at which is the caller's matter:
it hands in an `Attention` (causal by default; packed rows in training; a KV cache in the engine).

Modules are named as Hugging Face names them, so a parameter's name here with `model.` in front is
its name in a file (`lm_head` has no prefix). Follows Touvron et al. 2023 (Llama), with Qwen3's
query and key norms as an option.

Letters in shapes: B rows, T tokens, C width, H heads, K key-value heads, D head size, V vocabulary.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.initial import initialise
from chatwright.model.rope import rope_frequencies


class Attention(Protocol):
    """How the queries of one layer attend to keys and values.

    `q` is [B, H, T, D], `k` and `v` are [B, K, T, D]; `q` and `k` are already normalised and
    rotated, H is a multiple of K. Returns [B, H, T, D]. Scores are scaled by 1/√D.
    """

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...


def causal_attention(
    layer: int, q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None, sinks: int = 0
) -> Tensor:
    """Each token attends to itself and all before it in its row: the default.

    With `window`, to the last `window` of these only, itself included, and to the row's first
    `sinks` tokens.
    """
    length = q.shape[2]
    mask: Tensor | None = None
    if window is not None and window < length:
        mask = visible(torch.arange(length, device=q.device), length, window, sinks)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )


def visible(positions: Tensor, length: int, window: int | None = None, sinks: int = 0) -> Tensor:
    """Whether queries at `positions` [T] see each of the positions 0…`length` − 1: bool [T, S]."""
    at = torch.arange(length, device=positions.device)
    query = positions[:, None]
    seen = at <= query
    if window is not None:
        seen &= (at > query - window) | (at < sinks)
    return seen


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last dimension, in float32; then scale.

    Zhang and Sennrich 2019. The scale is applied after rounding to the input's type, as Hugging
    Face does it, so that bfloat16 results agree.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)


def rope_tables(
    positions: Tensor, frequencies: Tensor, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, float32 [B, 1, T, D/2], of `positions` [B, T]. Su et al. 2021.

    `frequencies` and `scale` are those of `rope_frequencies`. Computed anew for each call: a buffer
    would lose precision when the model is cast to bfloat16.
    """
    angles = positions.float()[:, None, :, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return (cos, sin) if scale == 1.0 else (cos * scale, sin * scale)


@lru_cache(maxsize=64)
def frequencies_on(
    config: ModelConfig, length: int | None, device: torch.device
) -> tuple[Tensor, float]:
    """`rope_frequencies` as a tensor on `device`."""
    frequencies, scale = rope_frequencies(config, length)
    with torch.inference_mode(False):  # also training may use what is made here
        return torch.tensor(frequencies, device=device), scale


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pair (i, i + D/2) of each head of `x` [B, heads, T, D] by its position's angle."""
    first, second = x.chunk(2, dim=-1)  # in float32 from here: the tables are
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)


class SelfAttention(nn.Module):
    """Projections around an `Attention`; keys and values may have fewer heads than queries."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        q_width, kv_width = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.width, q_width, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.width, kv_width, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.width, kv_width, bias=config.attention_bias)
        self.o_proj = nn.Linear(q_width, config.width, bias=config.output_bias)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        rows, length, _ = x.shape
        heads = (rows, length, -1, self.head_dim)
        q, k, v = (p(x).view(heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
        mixed = attention(self.layer, q, k, v.transpose(1, 2))
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, -1))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """SwiGLU: a gated linear unit with SiLU. Shazeer 2020."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then MLP; each reads a normalised copy and adds to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.self_attn = SelfAttention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, attention)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


def _longest(tokens: Tensor, positions: Tensor | None) -> int:
    """How many positions the longest sequence in the rows has."""
    return tokens.shape[1] if positions is None else int(positions.max()) + 1


def _check_window(window: int, longest: int) -> None:
    if longest > window:
        raise ModelError(
            f"the model sees {window} tokens back, and this computation would let a token see "
            f"{longest}",
            hint="use shorter sequences",
        )


class Transformer(nn.Module):
    """Tokens in, logits out.

    >>> model = Transformer.random(ModelConfig.from_depth(2, vocab_size=512), seed=1)
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 512])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.n_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.lm_head: nn.Linear | None = None
        if not config.tied:
            self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.score: nn.Linear | None = None
        self.value: nn.Linear | None = None

    @classmethod
    def empty(cls, config: ModelConfig) -> Transformer:
        """The modules without memory for their weights (`load_state_dict(…, assign=True)` next)."""
        with torch.device("meta"):
            return cls(config)

    @classmethod
    def random(
        cls, config: ModelConfig, seed: int, device: str = "cpu", *, zero_outputs: bool = False
    ) -> Transformer:
        """Fresh float32 weights; the same seed gives the same weights on every machine.

        `zero_outputs`: made for pretraining (`initialise`).
        """
        model = cls.empty(config).to_empty(device="cpu")
        model.reset_parameters(torch.Generator().manual_seed(seed), zero_outputs=zero_outputs)
        return model.to(device)

    def reset_parameters(
        self, generator: torch.Generator | None = None, *, zero_outputs: bool = False
    ) -> None:
        """Draw new weights: see `initialise`."""
        initialise(self, generator, zero_outputs=zero_outputs)

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    @property
    def head_weight(self) -> Tensor:
        """The matrix [V, C] that turns hidden states into logits (the embedding when tied)."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        attention: Attention | None = None,
        rope_length: int | None = None,
    ) -> Tensor:
        """Final normalised hidden states [B, T, C] of `tokens` [B, T] (int64).

        `positions` [B, T] are the RoPE positions (0, 1, 2, … in each row when None). `attention`
        is plain causal over the row, within the model's window, when None; another one must keep
        to the window itself and say so (`keeps_window`). `rope_length` is the sequence length that
        dynamic RoPE scaling assumes (as long as the largest position when None).
        """
        config = self.config
        if attention is None:
            attention = self._attention
        elif config.sliding_window is not None and not getattr(attention, "keeps_window", False):
            _check_window(config.sliding_window, _longest(tokens, positions))
        if config.rope_scaling is None or config.rope_scaling.type != "dynamic":
            rope_length = None
        elif rope_length is None:
            rope_length = _longest(tokens, positions)
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        cos, sin = rope_tables(positions, *frequencies_on(config, rope_length, tokens.device))
        x = self.embed_tokens(tokens)
        for block in self.layers:
            x = block(x, cos, sin, attention)
        return self.norm(x)  # type: ignore[no-any-return]

    def _attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        config = self.config
        window, sinks = config.window_of(layer), config.attention_sinks
        return causal_attention(layer, q, k, v, window=window, sinks=sinks)

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [..., V] of hidden states [..., C]."""
        if self.lm_head is None:
            return F.linear(hidden, self.embed_tokens.weight).float()
        return self.lm_head(hidden).float()  # type: ignore[no-any-return]

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        attention: Attention | None = None,
    ) -> Tensor:
        """Float32 logits [B, T, V]; the arguments are those of `hidden`."""
        return self.logits(self.hidden(tokens, positions, attention))
