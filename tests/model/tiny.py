"""Tiny models and files that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.model.gguf import gguf_name
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.training import SPECIAL

VOCAB = 320
TEXTS = ["the quick brown fox jumps over the lazy dog. " * 4, "你好，世界！今天天气很好。" * 6]

FAMILIES: dict[str, dict[str, Any]] = {
    "llama-untied": {"qk_norm": False, "tied": False},
    "llama-tied": {"qk_norm": False, "tied": True},
    "llama-bias": {"qk_norm": False, "attention_bias": True, "output_bias": True},
    "qwen2": {"qk_norm": False, "attention_bias": True, "tied": True},
    "qwen3": {"qk_norm": True, "tied": True},
    "every-option": {"qk_norm": True, "attention_bias": True, "output_bias": True, "tied": False},
}


def tiny_config(**options: Any) -> ModelConfig:
    """Every size differs, and a head is not width / heads: a mixed-up size cannot pass."""
    shape = {
        "vocab_size": VOCAB,
        "width": 96,
        "n_layers": 3,
        "n_heads": 6,
        "n_kv_heads": 2,
        "head_dim": 32,
        "mlp_width": 160,
        "context": 128,
        "rope_theta": 5_000.0,
        "norm_eps": 1e-5,
    }
    return ModelConfig(**(shape | options))


def tiny_model(seed: int = 0, **options: Any) -> Transformer:
    """Random weights, norms and biases included: ones and zeros would hide a mistake."""
    model = Transformer.random(tiny_config(**options), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.normal_(1.0 if "norm" in name else 0.0, 0.3, generator=generator)
            else:
                p.mul_(1.0).normal_(0.0, 0.15, generator=generator)
    return model.eval()


def tiny_tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, VOCAB)


def _permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to Llama's queries and keys."""
    split = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return split.swapaxes(1, 2).reshape(weights.shape)


def write_gguf(
    path: Path,
    model: Transformer,
    tokenizer: Tokenizer,
    kind: str = "F32",
    architecture: str = "llama",
    *,
    extra: Mapping[str, int | float | str] | None = None,
    rope_divisors: np.ndarray | None = None,
) -> dict[str, torch.Tensor]:
    """Write `model` with the `gguf` package; matrices become `kind`. Returns what is to be read.

    Q4_K and Q6_K cannot be written by that package: their blocks are random bytes with small
    scales, and what they mean is what the package reads from them. `extra` is metadata without the
    architecture's name in front, `rope_divisors` the tensor of Llama 3's RoPE scaling.
    """
    config, rng = model.config, np.random.default_rng(5)
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(config.n_layers)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    for key, value in (extra or {}).items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](f"{architecture}.{key}", value)  # type: ignore[operator]
    if rope_divisors is not None:
        writer.add_tensor("rope_freqs.weight", rope_divisors)
    vocab = tokenizer.spec["model"]["vocab"] | {
        a["content"]: a["id"] for a in tokenizer.spec["added_tokens"]
    }
    tokens = sorted(vocab, key=vocab.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t in SPECIAL else 1 for t in tokens])
    writer.add_token_merges([" ".join(m) for m in tokenizer.spec["model"]["merges"]])
    writer.add_eos_token_id(vocab["<|im_end|>"])
    writer.add_pad_token_id(vocab["<|pad|>"])
    writer.add_chat_template(tokenizer.chat_template or "")
    expected = {}
    for name, parameter in model.state_dict().items():
        values = parameter.float().numpy()
        heads = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}.get(name.split(".")[-2])
        if heads and architecture == "llama":
            values = _permuted(values, heads)
        number = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        if number.name in ("Q4_K", "Q6_K"):
            raw = _random_blocks(rng, values.shape, number)
        else:
            raw = gguf.quants.quantize(values, number)
        read = gguf.quants.dequantize(raw, number).astype(np.float32)
        if heads and architecture == "llama":
            half = read.shape[0] // heads // 2
            read = read.reshape(heads, half, 2, *read.shape[1:]).swapaxes(1, 2)
        expected[name] = torch.from_numpy(read.reshape(values.shape).copy())
        writer.add_tensor(gguf_name(name), raw, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _random_blocks(
    rng: np.random.Generator, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType
) -> np.ndarray:
    per_block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (shape[0], shape[1] // per_block, size), dtype=np.uint8)
    scales = {"Q4_K": (0, 2), "Q6_K": (208,)}[kind.name]
    for at in scales:
        halves = rng.uniform(1e-3, 4e-3, (*blocks.shape[:2], 1)).astype(np.float16)
        blocks[..., at : at + 2] = halves.view(np.uint8)
    return blocks.reshape(shape[0], -1)
