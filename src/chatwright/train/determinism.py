"""Training on a GPU that gives the same bits each time, where the settings ask for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

from chatwright.errors import UsageError

_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
# With any other workspace cuBLAS may add in another order each time ("Results reproducibility" in
# its manual), and torch refuses its products.
_WORKSPACES = (":4096:8", ":16:8")


@contextmanager
def deterministic_algorithms(wanted: bool, device: torch.device) -> Iterator[None]:
    """Within it torch computes on `device` with algorithms that give the same bits each time.

    Nothing is done where that is not `wanted`, and on a CPU, which does so anyway. Raises
    `UsageError` where cuBLAS has not been told: it reads the environment when CUDA starts, and by
    now that may have happened.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    given = os.environ.get(_VARIABLE)
    if given not in _WORKSPACES:
        found = "is not set" if given is None else f"is {given!r}"
        raise UsageError(
            f"{_VARIABLE} {found}, and without it cuBLAS does not give the same bits each time",
            where="deterministic: true",
            hint=f"start again with {_VARIABLE}={_WORKSPACES[0]} in the environment",
        )
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its attribute is a property that types do not know
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # Memory is never read before it is written, so filling it would only cost time.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill
