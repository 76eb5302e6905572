"""The compiled library: found, opened, and its functions' types declared."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_uint8, c_uint64, c_void_p
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import ChatwrightError
from chatwright.generate.native.compile import LIBRARY

_ABI = 1
OUT_OF_MEMORY = 2  # what a function returns then; 1 is any other failure
_FUNCTIONS = {
    "cw_abi": (c_int, []),
    "cw_last_error": (c_char_p, []),
    "cw_best_kernels": (c_char_p, []),
    "cw_create": (
        c_void_p,
        [POINTER(c_int32), c_float, c_float, POINTER(c_float), c_char_p],
    ),
    "cw_destroy": (None, [c_void_p]),
    "cw_kernels": (c_char_p, [c_void_p]),
    "cw_block_bytes": (c_uint64, [c_void_p]),
    "cw_weight_bytes": (c_uint64, [c_void_p]),
    "cw_pack": (
        c_int,
        [c_void_p, c_int, c_int, c_int, c_int, POINTER(c_uint8), c_int, c_int, POINTER(c_int32)],
    ),
    "cw_set_vector": (c_int, [c_void_p, c_int, c_int, POINTER(c_float), c_int]),
    "cw_step": (
        c_int,
        [
            c_void_p,
            c_int,
            *[POINTER(c_int32)] * 6,
            POINTER(c_float),
            POINTER(c_int64),
            POINTER(c_float),
            POINTER(c_float),
        ],
    ),
    "cw_copy_block": (None, [c_void_p, c_int, c_int]),
    "cw_clear_block": (None, [c_void_p, c_int]),
    "cw_shift_block": (c_int, [c_void_p, c_int, c_int]),
    "cw_multiply": (
        c_int,
        [c_void_p, c_int, c_int, POINTER(c_float), c_int, c_int, POINTER(c_float), c_int],
    ),
    "cw_unpack_row": (None, [c_void_p, c_int, c_int, c_int, POINTER(c_float), c_int]),
}


@lru_cache(maxsize=1)
def _open() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    if os.environ.get("CHATWRIGHT_NATIVE", "1") == "0":
        return "switched off by CHATWRIGHT_NATIVE=0"
    if not LIBRARY.exists():
        return "not compiled: there was no C++ compiler when Chatwright was installed"
    try:
        library = ctypes.CDLL(str(LIBRARY))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        if library.cw_abi() != _ABI:
            return "compiled from other sources; install Chatwright again"
    except (OSError, AttributeError) as error:
        return f"cannot be opened: {error}"
    return library


def why_not() -> str | None:
    """Why the compiled kernels cannot be used here; None where they can."""
    opened = _open()
    return opened if isinstance(opened, str) else None


def open_library() -> ctypes.CDLL:
    """The library. Raises `ChatwrightError` where there is none."""
    opened = _open()
    if isinstance(opened, str):
        raise ChatwrightError(
            f"the compiled kernels are {opened}",
            hint="install g++ or clang++ and run `pip install` again; without them, PyTorch "
            "computes (slower)",
        )
    return opened


def check(library: ctypes.CDLL, status: int) -> None:
    """Raise `MemoryError` or `RuntimeError` for what one of the library's functions returned."""
    if status == OUT_OF_MEMORY:
        raise MemoryError("out of memory in the compiled kernels")
    if status:
        raise RuntimeError(last_error(library))


def last_error(library: ctypes.CDLL) -> str:
    """What went wrong last in this thread."""
    return str(library.cw_last_error().decode())


def int32_pointer(values: NDArray[np.int32]) -> Any:
    """Where the numbers of a contiguous array lie; it must outlive the call."""
    return values.ctypes.data_as(POINTER(c_int32))


def float_pointer(values: NDArray[np.float32]) -> Any:
    """Where the numbers of a contiguous array lie; it must outlive the call."""
    return values.ctypes.data_as(POINTER(c_float))
