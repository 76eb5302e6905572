"""From a model's name to an engine that answers with it, by the quickest way this machine has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chatwright.errors import ContextError, ModelError, UsageError
from chatwright.generate.engine import BLOCK_SIZE, Engine
from chatwright.generate.sizing import physical_memory, pool_size
from chatwright.model.config import ModelConfig
from chatwright.model.gguf_config import config_of
from chatwright.model.references import gguf_of, resolve, unpack
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.gguf_file import GGUFFile
from chatwright.tokenizer.gguf_tokenizer import tokenizer_of
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.generate.native_runner import NativeRunner
    from chatwright.model import Transformer
    from chatwright.progress import Progress

Backend = Literal["auto", "native", "torch"]
Weights = Literal["auto", "stored", "float32", "bfloat16", "int8", "int4"]
WEIGHTS: tuple[Weights, ...] = ("auto", "stored", "float32", "bfloat16", "int8", "int4")


def load_engine(
    reference: str | os.PathLike[str],
    *,
    workspace: Workspace | None = None,
    backend: Backend = "auto",
    weights: Weights = "auto",
    max_batch: int = 8,
    context: int | None = None,
    kv_memory: int | None = None,
    kv_dtype: str = "auto",
    threads: int | None = None,
    rope: Mapping[str, Any] | None = None,
    draft: str | None = None,
    prefix_reuse: bool = True,
    progress: Progress | None = None,
) -> Engine:
    """An engine for `reference` (what `load_model` takes).

    `backend` "native" computes with the compiled kernels (a CPU, no torch), "torch" with PyTorch;
    "auto" takes the kernels where they are compiled, can compute the model and no GPU is there.
    `weights` "auto" keeps 8- and 4-bit blocks as the file has them and makes everything else
    bfloat16; "int8" and "int4" round it to so many bits now (`chatwright compress` does that once,
    and better). `draft` names a smaller model with the same vocabulary that guesses tokens. The
    other arguments are `Engine`'s and `load_model`'s. Raises `ModelError` for what cannot be used
    and `UsageError` for settings that cannot be.
    """
    if backend not in ("auto", "native", "torch"):
        raise UsageError(
            f"backend is {backend!r}; it must be auto, native or torch", where="backend"
        )
    if max_batch < 1:
        raise UsageError(f"max_batch is {max_batch}; it must be 1 or more", where="max_batch")
    if kv_memory is not None and kv_memory < 1:
        raise UsageError(f"kv_memory is {kv_memory}; it must be 1 byte or more", where="kv_memory")
    if rope is not None and not {"type", "factor"} <= set(rope):
        raise UsageError(
            f"rope is {dict(rope)!r}; it needs a type and a factor",
            where="rope",
            hint='like {"type": "yarn", "factor": 2}',
        )
    if weights not in WEIGHTS:
        raise UsageError(f"weights is {weights!r}; it must be one of {', '.join(WEIGHTS)}")
    path = resolve(os.fspath(reference), workspace=workspace, progress=progress)
    found = _Found.at(path) if backend != "torch" else None
    reason = "PyTorch was asked for" if found is None else found.why_not_native()
    if backend == "native" and reason is not None:
        raise UsageError(f"the compiled kernels cannot compute this: {reason}", where=str(path))
    guide = None
    if draft is not None:
        settings = {
            "max_batch": max_batch,
            "context": context,
            "threads": threads,
            "kv_dtype": kv_dtype,
        }
        guide = _draft(draft, workspace, progress, settings if reason is None else None)
    common: dict[str, Any] = {
        "max_batch": max_batch,
        "draft": guide,
        "prefix_reuse": prefix_reuse,
    }
    if reason is None and found is not None:
        runner, tokenizer = found.load_native(
            weights=weights,
            max_batch=max_batch,
            context=context,
            kv_memory=kv_memory,
            kv_dtype=kv_dtype,
            threads=threads,
            rope=rope,
        )
        return Engine(runner, tokenizer, **common)
    if weights in ("int8", "int4"):
        raise UsageError(
            f"PyTorch computes with whole numbers only as they are stored; {weights} needs the "
            f"compiled kernels ({reason})",
            where="weights",
        )
    import torch

    from chatwright.model import load_model

    dtype = None if weights in ("auto", "stored") else getattr(torch, weights)
    model, tokenizer = load_model(
        str(reference), dtype=dtype, workspace=workspace, progress=progress, rope=rope
    )
    return Engine(
        model,
        tokenizer,
        context=context,
        kv_memory=kv_memory,
        kv_dtype=kv_dtype,
        **common,
    )


def engine_of(
    model: Transformer, tokenizer: Tokenizer, *, max_batch: int = 8, context: int | None = None
) -> Engine:
    """An engine for a model in memory whose weights stay as they are.

    Where the kernels can compute it, they get a copy of the weights in the model's own type and
    answer several times sooner; `engine.model` is still the Transformer. Elsewhere, and where a
    model trains while it answers, it is `Engine(model, tokenizer)`.
    """
    from chatwright.generate.native_runner import NativeRunner, slow_kernels, unsupported

    config = model.config
    plain = {name for name, _ in type(model).empty(config).named_parameters()}
    wanted = str(model.dtype).removeprefix("torch.")
    if (
        model.device.type != "cpu"
        or wanted not in ("float32", "bfloat16")
        or plain != set(model.state_dict())  # adapters, factors
        or (slow_kernels() or unsupported(config)) is not None
    ):
        return Engine(model, tokenizer, max_batch=max_batch, context=context)
    window = context or config.context
    there = physical_memory()
    size = pool_size(
        max_batch=max_batch,
        context=window,
        block_size=BLOCK_SIZE,
        bytes_per_block=NativeRunner.cache_bytes(config, wanted, wanted),
        memory=None if there is None else there // 2,
    )
    runner = NativeRunner.of(
        model,
        n_blocks=size.n_blocks,
        context=size.context,
        weights=wanted,
        vocab_size=tokenizer.vocab_size,
    )
    return Engine(runner, tokenizer, max_batch=max_batch, same=model)


@dataclass(frozen=True)
class _Found:
    """Where a model's weights are: a `.gguf` file, whose header is read once, or a folder."""

    path: Path
    file: GGUFFile | None
    problem: str | None = None

    @classmethod
    def at(cls, path: Path) -> _Found:
        try:
            place = path
            if not path.is_dir() and path.suffix.lower() != ".gguf":
                place = unpack(path)
            place = gguf_of(place) or place
            return cls(place, None if place.is_dir() else GGUFFile.open(place))
        except (ModelError, OSError) as error:
            return cls(path, None, str(error))

    def config(self) -> ModelConfig:
        return ModelConfig.load(self.path) if self.file is None else config_of(self.file)

    def tokenizer(self) -> Tokenizer:
        if self.file is None:
            return Tokenizer.load(self.path)
        return Tokenizer(*tokenizer_of(self.file))

    def why_not_native(self) -> str | None:
        """Why the kernels are not to be used for a model; None where they are."""
        from chatwright.generate.native_runner import slow_kernels, unsupported

        if self.problem is not None:  # `load_model` says what is wrong
            return self.problem
        if _has_gpu():
            return "there is a GPU"
        try:
            return slow_kernels() or unsupported(self.config())
        except (ModelError, OSError) as error:  # `load_model` knows more forms
            return str(error)

    def load_native(
        self,
        *,
        weights: Weights = "auto",
        max_batch: int = 8,
        context: int | None = None,
        kv_memory: int | None = None,
        kv_dtype: str = "auto",
        threads: int | None = None,
        rope: Mapping[str, Any] | None = None,
    ) -> tuple[NativeRunner, Tokenizer]:
        """A runner over the compiled kernels, and the tokenizer."""
        from chatwright.generate.native_runner import NativeRunner
        from chatwright.model.raw_weights import open_raw
        from chatwright.model.rope import with_rope

        tokenizer = self.tokenizer()
        where = str(self.path)
        with open_raw(self.path, self.file) as (stored, raw):
            config = with_rope(stored, **rope) if rope else stored
            if tokenizer.vocab_size > config.vocab_size:
                raise ModelError(
                    f"the tokenizer has {tokenizer.vocab_size} tokens and the model only "
                    f"{config.vocab_size}",
                    where=where,
                    hint="tokenizer and weights are not of one model; fetch the model again",
                )
            window = config.context if context is None else context
            if not 1 < window <= config.context:
                raise ContextError(
                    f"context is {window}; it must be between 2 and the model's window of "
                    f"{config.context}"
                )
            there = physical_memory()
            size = pool_size(
                max_batch=max_batch,
                context=window,
                block_size=BLOCK_SIZE,
                bytes_per_block=NativeRunner.cache_bytes(config, kv_dtype, weights),
                memory=kv_memory if kv_memory is not None else there // 2 if there else None,
            )
            runner = NativeRunner.from_raw(
                config,
                raw,
                n_blocks=size.n_blocks,
                context=size.context,
                weights=weights,
                kv_dtype=kv_dtype,
                vocab_size=tokenizer.vocab_size,
                threads=threads,
                where=where,
            )
        return runner, tokenizer


def _has_gpu() -> bool:
    """Whether PyTorch has a GPU to compute on; torch is imported only where there may be one."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd")):
        return False
    import torch

    return torch.cuda.is_available()


def _draft(
    reference: str,
    workspace: Workspace | None,
    progress: Progress | None,
    settings: Mapping[str, Any] | None,
) -> Transformer | NativeRunner:
    """The model that guesses; by the kernels with `settings`, by PyTorch where they are None."""
    found = _Found.at(resolve(reference, workspace=workspace, progress=progress))
    if settings is not None and found.why_not_native() is None:
        window = min(settings["context"] or found.config().context, found.config().context)
        return found.load_native(**{**settings, "context": window})[0]
    from chatwright.model import load_model

    return load_model(reference, workspace=workspace, progress=progress)[0]
