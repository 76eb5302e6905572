"""Weights from safetensors files, and filling a model with weights from any file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.gguf import wrong_shape
from chatwright.model.heads import add_head
from chatwright.model.transformer import Transformer
from chatwright.tokenizer.files import read_json_object

HEADS = ("lm_head.", "score.")
"""Names of parameters that have no prefix in a file."""
_HEAD, _SCORE = (f"{name}weight" for name in HEADS)
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Left in some files by old code; computed here.
_IGNORED = ("rotary_emb.inv_freq", "masked_bias", "attn.bias")


class Weights(Protocol):
    """Where parameters are read from, by our names."""

    def names(self) -> set[str]: ...

    def name_in_file(self, name: str) -> str: ...

    def read(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor: ...


def fill(
    config: ModelConfig, weights: Weights, where: str, dtype: torch.dtype, device: str
) -> Transformer:
    """A model of `config` with every parameter read from `weights`.

    Raises `ModelError` for a tensor that is missing or that the model has no place for.
    """
    model = empty_for(config, weights.names())
    wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
    in_file = {weights.name_in_file(name) for name in wanted}
    there = {name for name in weights.names() if not name.endswith(_IGNORED)}
    if model.config.tied:
        there.discard("lm_head.weight")  # a copy of the embedding
    if missing := sorted(in_file - there):
        raise ModelError(
            f"{len(missing)} of {len(in_file)} tensors are missing, the first is {missing[0]!r}",
            where=where,
            hint="the file is not whole, or config.json is another model's; fetch it again",
        )
    if extra := sorted(there - in_file):
        raise ModelError(
            f"{len(extra)} tensors have no place in this model, the first is {extra[0]!r}",
            where=where,
            hint="the model computes something that Chatwright does not know",
        )
    state = {name: weights.read(name, shape, dtype).to(device) for name, shape in wanted.items()}
    model.load_state_dict(state, assign=True)
    return model


def empty_for(config: ModelConfig, names: set[str]) -> Transformer:
    """`Transformer.empty`, with a reward model's head where the file has one.

    Such a file has no head that predicts tokens; where the embedding is none either, the model gets
    none: `config.tied` is true then, and its logits mean nothing.
    """
    if _SCORE not in names:
        return Transformer.empty(config)
    model = Transformer.empty(
        config if _HEAD in names else config.model_copy(update={"tied": True})
    )
    add_head(model, "score")
    return model


class SafetensorsWeights:
    """Parameters in one or more safetensors files, named as Hugging Face names them."""

    def __init__(self, files: dict[str, tuple[Path, Any]], prefix: str) -> None:
        self._files, self._prefix = files, prefix

    def names(self) -> set[str]:
        return set(self._files)

    def name_in_file(self, name: str) -> str:
        return name if name.startswith(HEADS) else self._prefix + name

    def read(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        key = self.name_in_file(name)
        path, file = self._files[key]
        where = f"{path}: tensor {key!r}"
        try:
            view = file.get_slice(key)
            found, kind = tuple(view.get_shape()), view.get_dtype()
            if found != shape:
                raise wrong_shape(str(path), key, found, shape)
            if kind not in _FLOATS:
                raise ModelError(
                    f"its type is {kind}; weights must be one of {', '.join(sorted(_FLOATS))}",
                    where=where,
                    hint="quantised safetensors are not supported; use the GGUF or the original",
                )
            tensor: Tensor = file.get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"it cannot be read: {error}", where=where) from error
        return tensor.to(dtype)


@contextlib.contextmanager
def open_safetensors(folder: Path) -> Iterator[SafetensorsWeights]:
    """The weights of a checkpoint folder: one file, or an index and its shards.

    safetensors checks that its header is JSON and that the tensors' bytes follow one another and
    end with the file. Raises `ModelError`, also for a folder that holds pickles only.
    """
    with contextlib.ExitStack() as stack:
        files: dict[str, tuple[Path, Any]] = {}
        for path, names in _shards(folder).items():
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except FileNotFoundError as error:
                raise ModelError(
                    "this file of the model is missing", where=str(path), hint="fetch it again"
                ) from error
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"not a readable safetensors file: {error}",
                    where=str(path),
                    hint="it is truncated or corrupt; fetch it again",
                ) from error
            held = set(file.keys())
            for name in names if names is not None else held:
                if name not in held:
                    raise ModelError(
                        "the index says that this tensor is here, and it is not",
                        where=f"{path}: tensor {name!r}",
                        hint="fetch the model again",
                    )
                files[name] = (path, file)
        prefix = "model." if any(name.startswith("model.") for name in files) else ""
        yield SafetensorsWeights(files, prefix)


def _shards(folder: Path) -> dict[Path, list[str] | None]:
    """Files to read, and which tensors from each (None: all)."""
    index = folder / _INDEX
    if (folder / _SINGLE).exists() or not index.exists():
        refuse_pickles(folder)
        return {folder / _SINGLE: None}
    places = read_json_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError("the index has no weight_map", where=str(index))
    shards: dict[Path, list[str] | None] = {}
    for name, file in places.items():
        if (
            not isinstance(file, str)
            or Path(file).name != file
            or not file.endswith(".safetensors")
        ):
            raise ModelError(
                f"the index names {file!r}, which is not a safetensors file of this folder",
                where=f"{index}: tensor {name!r}",
            )
        names = shards.setdefault(folder / file, [])
        assert names is not None
        names.append(name)
    return shards


def is_pickle(path: Path) -> bool:
    """Whether a file of this name would be opened with pickle."""
    return path.suffix.lower() in _PICKLES


def refuse_pickles(folder: Path) -> None:
    """Raise where `folder` has weights only as pickles, which can run code when read."""
    if (folder / _SINGLE).exists():
        return
    pickles = sorted(p.name for p in folder.iterdir() if is_pickle(p)) if folder.is_dir() else []
    if pickles:
        raise pickle_error(folder / pickles[0])


def pickle_error(path: Path) -> ModelError:
    """The error that refuses a pickle."""
    return ModelError(
        "these weights are a Python pickle, which can run any code when it is opened",
        where=str(path),
        hint="use the model's safetensors or GGUF file; Chatwright never opens a pickle",
    )
