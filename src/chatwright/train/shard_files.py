"""Tensors that lie in shares on several ranks, on disk: each rank writes its own, in parallel.

The work is `torch.distributed.checkpoint`'s, the files are safetensors (nothing pickled), and each
says which part of which tensor it holds: any number of ranks can read them again.
"""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from chatwright.errors import DataError


def save_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the DTensors' local parts and the plain tensors into `folder`; all ranks call it.

    A plain tensor that several ranks give under one name is written once. Raises `OSError` on every
    rank where one finds no room.
    """
    with _plainly():
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        save(dict(tensors), storage_writer=writer)


def shapes_of(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """What `folder` holds: whole shapes and types by name."""
    found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: (data.size, data.properties.dtype)
        for name, data in found.items()
        if isinstance(data, TensorStorageMetadata)
    }


def load_shards(folder: Path, into: Mapping[str, Tensor]) -> None:
    """Fill the tensors `into`, DTensors with this rank's part; all ranks call it together."""
    with _plainly():
        reader = HuggingFaceStorageReader(str(folder))
        load(dict(into), storage_reader=reader, no_dist=not dist.is_initialized())


def load_whole(folder: Path) -> dict[str, Tensor]:
    """Everything in `folder`, put together in this process."""
    whole = {
        name: torch.empty(size, dtype=dtype) for name, (size, dtype) in shapes_of(folder).items()
    }
    with _plainly():
        reader = HuggingFaceStorageReader(str(folder))
        load(dict(whole), storage_reader=reader, no_dist=True)
    return whole


@contextmanager
def _plainly() -> Iterator[None]:
    """Errors as others raise them, and no chatter."""
    logger = logging.getLogger("torch.distributed.checkpoint")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.distributed")
            yield
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        said = str(first)
        if getattr(first, "errno", None) == errno.ENOSPC or "No space left" in said:
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise DataError(f"the sharded state cannot be used: {said}") from error
    finally:
        logger.setLevel(before)
