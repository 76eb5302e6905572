"""The decoder, its weights in and out, and low-rank adapters.

Names are imported when they are first used: `ModelConfig` alone does not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.model.config import ModelConfig
    from chatwright.model.load import KNOWN_MODELS, best_dtype, fetch_weights, load_model
    from chatwright.model.lora import (
        add_lora,
        load_adapter,
        lora_parameters,
        merge_lora,
        save_adapter,
    )
    from chatwright.model.save import save_model
    from chatwright.model.transformer import Attention, Transformer, causal_attention

_HOMES = {
    "ModelConfig": ".config",
    "Attention": ".transformer",
    "Transformer": ".transformer",
    "causal_attention": ".transformer",
    "KNOWN_MODELS": ".load",
    "best_dtype": ".load",
    "fetch_weights": ".load",
    "load_model": ".load",
    "save_model": ".save",
    "add_lora": ".lora",
    "load_adapter": ".lora",
    "lora_parameters": ".lora",
    "merge_lora": ".lora",
    "save_adapter": ".lora",
}

__all__ = [
    "KNOWN_MODELS",
    "Attention",
    "ModelConfig",
    "Transformer",
    "add_lora",
    "best_dtype",
    "causal_attention",
    "fetch_weights",
    "load_adapter",
    "load_model",
    "lora_parameters",
    "merge_lora",
    "save_adapter",
    "save_model",
]

__getattr__ = lazy_names(__name__, _HOMES)
