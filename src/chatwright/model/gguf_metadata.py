"""A model's shape as the metadata of a GGUF file, in llama.cpp's terms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.gguf_rope import long_context_metadata
from chatwright.records import result_fingerprint
from chatwright.tokenizer.gguf_file import GGUFFile

# What a file says about its own bytes, and not about the model.
_OF_THE_FILE = ("architecture", "type", "file_type", "quantization_version", "alignment")
_LICENSE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


def architecture_of(config: ModelConfig) -> str:
    """llama.cpp's name of the family that computes this shape. Raises `ModelError` where none."""
    if config.qk_norm:
        if config.attention_bias:
            raise ModelError(
                "llama.cpp has no model with query and key norms and biases in attention",
                hint="export as hf instead",
            )
        return "qwen3"
    return "qwen2" if config.attention_bias and not config.output_bias else "llama"


def model_metadata(config: ModelConfig) -> dict[str, Any]:
    """Keys and values that describe `config`. Raises `ModelError` for what GGUF cannot say."""
    family = architecture_of(config)
    shape: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.n_layers,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": float(config.rope_theta),
        **long_context_metadata(config),
    }
    return {
        "general.architecture": family,
        "general.type": "model",
        **{f"{family}.{key}": value for key, value in shape.items()},
    }


def provenance(folder: Path, source: Path | None = None) -> dict[str, Any]:
    """What a new file should say of where the model came from, as metadata.

    `source`, the GGUF file that the model was read from, hands on its name, authors and licence; a
    checkpoint's `folder` its card's licence, and the fingerprint that its lineage goes by
    (`chatwright.fingerprint`).
    """
    found: dict[str, Any] = {}
    if source is not None:
        for key, value in GGUFFile.open(source).metadata.items():
            own = key.removeprefix("general.")
            texts = value if isinstance(value, list) else [value]
            wanted = own != key and own not in _OF_THE_FILE
            is_text = texts and all(isinstance(text, str) for text in texts)
            if is_text and (wanted or key == "chatwright.fingerprint"):
                found[key] = value
    card = folder / "README.md"
    if card.is_file():
        said = _LICENSE.search(card.read_text(encoding="utf-8", errors="replace"))
        if said is not None:
            found["general.license"] = said[1]
    if folder.is_dir() and (ours := result_fingerprint(folder)):
        found["chatwright.fingerprint"] = ours
    return found
