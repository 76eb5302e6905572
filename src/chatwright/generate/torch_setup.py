"""The PyTorch runner of an engine: how large its pool is, and what tells that weights changed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from chatwright.generate.runner import Runner
from chatwright.generate.sizing import BLOCK_SIZE, physical_memory, pool_size
from chatwright.generate.torch_cache import bytes_per_block, cache_dtype
from chatwright.generate.torch_runner import TorchRunner
from chatwright.model import Transformer


def torch_runner(
    model: Transformer,
    context: int,
    max_batch: int,
    vocab_size: int,
    *,
    kv_memory: int | None = None,
    kv_dtype: str = "auto",
) -> Runner:
    """A runner whose blocks take at most `kv_memory` bytes, or half of the machine's memory."""
    if kv_memory is None and (memory := _memory_beside(model)) is not None:
        kv_memory = memory // 2
    size = pool_size(
        max_batch=max_batch,
        context=context,
        block_size=BLOCK_SIZE,
        bytes_per_block=bytes_per_block(
            model.config, BLOCK_SIZE, cache_dtype(kv_dtype, model.dtype)
        ),
        memory=kv_memory,
    )
    return TorchRunner(
        model,
        n_blocks=size.n_blocks,
        context=max(2, size.context),
        block_size=BLOCK_SIZE,
        kv_dtype=kv_dtype,
        vocab_size=vocab_size,
    )


def _memory_beside(model: Transformer) -> int | None:
    """Bytes of memory where the model computes: all of a machine's, what is free of a GPU's."""
    if model.device.type == "cuda":
        free: int = torch.cuda.mem_get_info(model.device)[0]
        return free
    return physical_memory() if model.device.type == "cpu" else None


def weights_fingerprint(model: Transformer) -> Callable[[], object]:
    """What names the model's present weights: it changes when they are changed or exchanged."""

    def fingerprint() -> object:
        return hash(tuple((id(p), p.data_ptr(), _version(p)) for p in model.parameters()))

    return fingerprint


def _version(parameter: torch.nn.Parameter) -> int:
    # Made in inference mode, a tensor counts no changes, and nor can it be trained.
    return 0 if parameter.is_inference() else parameter._version
