"""A model's shape out of a GGUF file's metadata, and the names that GGUF gives to parameters.

Imports no torch: the native engine reads a model with this and numpy alone.
"""

from __future__ import annotations

from typing import Any

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.gguf_rope import long_context_of, shortest
from chatwright.tokenizer.gguf_file import GGUFFile

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_TOP = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """GGUF's name of a parameter (`layers.3.mlp.up_proj.weight`: `blk.3.ffn_up.weight`)."""
    if name in _TOP:
        return _TOP[name]
    _, layer, rest = name.split(".", 2)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_IN_LAYER[module]}.{kind}"


def config_of(file: GGUFFile) -> ModelConfig:
    """The shape that the metadata describes. Raises `ModelError` for one that this is not."""
    where = f"{file.path}: metadata"
    family = file.get("general.architecture", str)
    if family not in _ARCHITECTURES:
        raise ModelError(
            f"models of architecture {family!r} are not supported",
            where=where,
            hint=f"supported: {', '.join(_ARCHITECTURES)}",
        )

    def number(key: str, kind: Any = int, default: Any = ...) -> Any:
        return file.get(f"{family}.{key}", kind, default)

    width, heads = number("embedding_length"), number("attention.head_count")
    head_dim = number("attention.key_length", int, width // heads if heads > 0 else 0)
    embedding = file.tensors.get("token_embd.weight")
    unsupported = {
        "RoPE on a part of each head": number("rope.dimension_count", int, head_dim) != head_dim,
        "experts": number("expert_count", int, 0) > 0,
        "values of another size than keys": number("attention.value_length", int, head_dim)
        != head_dim,
    }
    found = [what for what, there in unsupported.items() if there]
    if found:
        raise ModelError(
            f"this model uses {' and '.join(found)}, which Chatwright does not support yet",
            where=where,
        )
    context = number("context_length")
    theta = shortest(number("rope.freq_base", float, 10_000.0))
    return ModelConfig.checked(
        {
            "vocab_size": embedding.shape[0] if embedding else number("vocab_size"),
            "width": width,
            "n_layers": number("block_count"),
            "n_heads": heads,
            "n_kv_heads": number("attention.head_count_kv", int, heads),
            "head_dim": head_dim,
            "mlp_width": number("feed_forward_length"),
            "context": context,
            "rope_theta": theta,
            "norm_eps": shortest(number("attention.layer_norm_rms_epsilon", float, 1e-5)),
            "tied": "output.weight" not in file.tensors,
            "qk_norm": "blk.0.attn_q_norm.weight" in file.tensors,
            "attention_bias": "blk.0.attn_q.bias" in file.tensors,
            "output_bias": "blk.0.attn_output.bias" in file.tensors,
        }
        | long_context_of(file, family, head_dim, theta, context),
        where,
    )
