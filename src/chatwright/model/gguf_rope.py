"""RoPE scaling and sliding windows in GGUF's terms, both ways. Imports no torch.

llama.cpp knows linear scaling and YaRN by name; Llama 3's scaling is a tensor, `rope_freqs.weight`,
of what each pair's frequency is divided by. Dynamic scaling it does not know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.rope import RopeScaling, llama3_factors, yarn_attention
from chatwright.tokenizer.gguf_file import GGUFFile

FACTORS = "rope_freqs.weight"
_LLAMA3_WINDOW = 8192  # every released model's; a file of ours names another
# What some other families change in YaRN's formula.
_YARN_USUAL = {
    "rope.scaling.yarn_ext_factor": 1.0,
    "rope.scaling.yarn_attn_factor": 1.0,
    "rope.scaling.yarn_log_multiplier": 0.0,
}


def long_context_of(
    file: GGUFFile, family: str, head_dim: int, theta: float, context: int
) -> dict[str, Any]:
    """The fields of `ModelConfig` about RoPE scaling and windows. Raises `ModelError`."""
    where = f"{file.path}: metadata"

    def value(key: str, kind: Any, default: Any) -> Any:
        return file.get(f"{family}.{key}", kind, default)

    fields: dict[str, Any] = {}
    if window := value("attention.sliding_window", int, 0):
        fields["sliding_window"] = window
    # As in llama.cpp: a factor without a type is linear, and 0 is none.
    kind = value("rope.scaling.type", str, "linear")
    factor = shortest(value("rope.scaling.factor", float, value("rope.scale_linear", float, 0.0)))
    original = value("rope.scaling.original_context_length", int, None)
    if kind not in ("none", "linear", "yarn"):
        raise ModelError(f"RoPE scaling {kind!r} is not supported yet", where=where)
    scaled = kind != "none" and factor not in (0.0, 1.0)
    if FACTORS in file.tensors:
        if scaled:
            raise ModelError(f"it has both {FACTORS} and RoPE scaling {kind!r}", where=where)
        fields["rope_scaling"] = _llama3_of(file, head_dim, theta, original)
    elif scaled and kind == "linear":
        fields["rope_scaling"] = {"type": "linear", "factor": factor}
    elif scaled:
        for key, usual in _YARN_USUAL.items():
            if value(key, float, usual) != usual:
                raise ModelError(f"YaRN with {family}.{key} is not supported yet", where=where)
        scaling = {
            "type": "yarn",
            "factor": factor,
            "original_context": original or context,
            "beta_fast": shortest(value("rope.scaling.yarn_beta_fast", float, 32.0)),
            "beta_slow": shortest(value("rope.scaling.yarn_beta_slow", float, 1.0)),
        }
        # llama.cpp multiplies what YaRN's authors recommend by this one.
        extra = shortest(value("rope.scaling.attn_factor", float, 1.0))
        if extra != 1.0 and factor >= 1:
            scaling["attention_factor"] = shortest(extra * yarn_attention(factor))
        fields["rope_scaling"] = scaling
    return fields


def long_context_metadata(config: ModelConfig) -> dict[str, Any]:
    """Metadata (keys without the family's name) of `config`'s scaling and window; {} for neither.

    llama.cpp computes no sliding window for these families and lets every token see all before it.
    Raises `ModelError` for what GGUF cannot say.
    """
    scaling = config.rope_scaling
    written: dict[str, Any] = {}
    if config.sliding_window is not None:
        if config.attention_sinks or config.window_from_layer:
            raise _not_in_gguf("attention sinks, or a window in some layers only,")
        written["attention.sliding_window"] = config.sliding_window
    if scaling is None:
        return written
    if scaling.type == "linear":
        written |= {"rope.scaling.type": "linear", "rope.scaling.factor": scaling.factor}
    elif scaling.type == "yarn":
        if not scaling.truncate:
            raise _not_in_gguf("YaRN without whole pairs")
        written |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": scaling.factor,
            "rope.scaling.original_context_length": scaling.original_context,
            "rope.scaling.yarn_beta_fast": scaling.beta_fast,
            "rope.scaling.yarn_beta_slow": scaling.beta_slow,
        }
        if scaling.attention_factor is not None:
            extra = scaling.attention_factor / yarn_attention(scaling.factor)
            written["rope.scaling.attn_factor"] = extra
    elif scaling.type == "llama3":
        if (scaling.low_freq_factor, scaling.high_freq_factor) != (1.0, 4.0):
            raise _not_in_gguf("Llama 3's RoPE scaling with bounds of its own")
        written["rope.scaling.original_context_length"] = scaling.original_context
    else:
        raise _not_in_gguf("dynamic RoPE scaling")
    return written


def frequency_divisors(config: ModelConfig) -> NDArray[np.float32] | None:
    """The tensor `rope_freqs.weight` [D/2] where the scaling is Llama 3's, else None."""
    if config.rope_scaling is None or config.rope_scaling.type != "llama3":
        return None
    return llama3_factors(config.head_dim, config.rope_theta, config.rope_scaling)


def shortest(value: float) -> float:
    """The short decimal that a float32 of the file stands for (1e-05, not 9.99999974e-06)."""
    return float(str(np.float32(value)))


def _llama3_of(
    file: GGUFFile, head_dim: int, theta: float, original: int | None
) -> dict[str, Any] | None:
    """The scaling that gives the file's divisors; None where all are 1."""
    tensor = file.tensors[FACTORS]
    where = f"{file.path}: tensor {FACTORS!r}"
    if tensor.type != "F32" or tensor.shape != (head_dim // 2,):
        raise ModelError(
            f"it is {tensor.type} of shape {list(tensor.shape)}, not F32 of {head_dim // 2}",
            where=where,
        )
    try:
        with file.path.open("rb") as handle:
            handle.seek(tensor.offset)
            divisors = np.frombuffer(handle.read(tensor.n_bytes), dtype="<f4")
    except OSError as error:
        raise ModelError(f"this file cannot be read: {error}", where=where) from error
    if len(divisors) != head_dim // 2:
        raise ModelError("the file ends here: it is truncated", where=where)
    if np.all(divisors == 1):
        return None
    factor = shortest(float(divisors.max()))
    if 1 < factor <= 1e6 and theta > 0 and head_dim % 2 == 0:
        for window in (original, _LLAMA3_WINDOW):
            if window is None or window < 1:
                continue
            found = RopeScaling(type="llama3", factor=factor, original_context=window)
            if np.allclose(llama3_factors(head_dim, theta, found), divisors, rtol=1e-4):
                return found.model_dump()
    raise ModelError(
        "these RoPE factors are not Llama 3's, and others are not supported yet", where=where
    )


def _not_in_gguf(what: str) -> ModelError:
    return ModelError(f"a GGUF file cannot say that a model uses {what}", hint="export as hf")
