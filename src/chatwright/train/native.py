"""What training computes between its matrix products, by compiled kernels: bfloat16 on a CPU.

Each is one pass over memory where torch takes up to ten, with float32 inside. They lie in the
engine's library (`generate/native`, `train.cpp`); where that is missing, or numbers are of another
type, `ready` says no and torch computes. Rows are divided among torch's own OpenMP threads.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_float, c_int, c_int64, c_void_p
from functools import lru_cache

import torch
from torch import Tensor

_LANES = 16
_P, _I = c_void_p, c_int64
_FUNCTIONS = {
    "norm": [_P, _P, _P, _P, _I, _I, c_float],
    "norm_again": [_P, _P, _P, _P, _I, _I],
    "norm_backward": [_P, _P, _P, _P, _P, _P, _P, _I, _I],
    "turn": [_P, _P, _P, _P, _I, _I, _I, c_float],
    "gated": [_P, _P, _P, _I],
    "gated_backward": [_P, _P, _P, _P, _P, _I],
    "softmax": [_P, _I, _I, _I, _I],
    "softmax_backward": [_P, _P, _I, _I, _I, _I],
    "cross_entropy": [_P, _P, _P, _I, _I],
}


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The library with the kernels' types declared; None where it is not, or is an older one."""
    from chatwright.errors import ChatwrightError
    from chatwright.generate.native.library import open_library

    if os.environ.get("CHATWRIGHT_TRAIN_NATIVE", "1") == "0":
        return None
    try:
        library = open_library()
        for name, arguments in _FUNCTIONS.items():
            function = getattr(library, f"cw_train_{name}")
            function.restype, function.argtypes = None, [c_int, *arguments]
        set_threads, choose_ = library.cw_train_threads, library.cw_train_choose
    except (ChatwrightError, AttributeError):
        return None
    choose_.restype, choose_.argtypes = c_int, [c_char_p]
    set_threads.restype, set_threads.argtypes = None, [c_void_p] * 3
    try:  # the library that torch has loaded is found by its name
        openmp = ctypes.CDLL("libgomp.so.1")
        names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        set_threads(*(ctypes.cast(getattr(openmp, name), c_void_p) for name in names))
    except (OSError, AttributeError):
        pass  # another OpenMP: one thread computes
    return library


def ready(*tensors: Tensor) -> bool:
    """Whether the kernels are there and take such numbers: bfloat16, rows of whole vectors."""
    return (
        all(
            t.dtype == torch.bfloat16 and t.device.type == "cpu" and t.shape[-1] % _LANES == 0
            for t in tensors
        )
        and _library() is not None
    )


def choose(kernels: str = "") -> bool:
    """Use the kernels for "portable", "avx2" or "avx512" (the best when empty), where they run."""
    library = _library()
    return library is not None and bool(library.cw_train_choose(kernels.encode()))


def _run(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel on contiguous tensors and numbers."""
    passed: list[int | float | None] = []
    for value in arguments:
        if isinstance(value, Tensor):
            assert value.is_contiguous(), name
            passed.append(value.data_ptr())
        else:
            passed.append(value)
    getattr(_library(), f"cw_train_{name}")(torch.get_num_threads(), *passed)


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """RMSNorm of [..., C] over the last dimension, and each row's float32 factor [..., 1]."""
    x = x.contiguous()
    y = torch.empty_like(x)
    factor = torch.empty((*x.shape[:-1], 1), dtype=torch.float32)
    _run("norm", x, weight, y, factor, factor.numel(), x.shape[-1], eps)
    return y, factor


def norm_again(x: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
    """The same with the factors known."""
    x = x.contiguous()
    y = torch.empty_like(x)
    _run("norm_again", x, weight, factor, y, factor.numel(), x.shape[-1])
    return y


def norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    factor: Tensor,
    need_weight: bool,
    *,
    add: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Gradients of the input (plus `add`) and of the weight."""
    grad, x = grad.contiguous(), x.contiguous()
    width = x.shape[-1]
    out = torch.empty_like(x)
    parts = torch.zeros(torch.get_num_threads(), width) if need_weight else None
    add = None if add is None else add.contiguous()
    _run("norm_backward", grad, x, weight, factor, add, out, parts, factor.numel(), width)
    return out, None if parts is None else parts.sum(0).to(weight.dtype)


def turn(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    """RoPE of [N, heads, D] by float32 angles [N, 1, D/2], D / 2 whole vectors.

    With `sign` −1 its inverse.
    """
    x = x.contiguous()
    y = torch.empty_like(x)
    rows, heads, size = x.shape
    _run("turn", x, cos.contiguous(), sin.contiguous(), y, rows, heads, size, sign)
    return y


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """SiLU(gate) · up."""
    out = torch.empty_like(gate)
    _run("gated", gate, up, out, gate.numel())
    return out


def gated_backward(gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up."""
    grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
    _run("gated_backward", gate, up, grad.contiguous(), grad_gate, grad_up, gate.numel())
    return grad_gate, grad_up


def causal_softmax(scores: Tensor, queries: int) -> Tensor:
    """Softmax of scores [stacks, shared · queries, keys] in place.

    The last query of each `queries` sees every key, the one before it all but the last, and so on.
    """
    keys = scores.shape[-1]
    _run("softmax", scores, scores.numel() // keys, queries, keys, keys - queries)
    return scores


def causal_softmax_backward(grad: Tensor, weights: Tensor, queries: int) -> Tensor:
    """The scores' gradient, in place of the weights'."""
    keys = grad.shape[-1]
    rows = grad.numel() // keys
    _run("softmax_backward", grad, weights, rows, queries, keys, keys - queries)
    return grad


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Float32 losses [N]; the logits [N, V] become their gradients, in place."""
    losses = torch.empty(len(logits), dtype=torch.float32)
    _run("cross_entropy", logits, targets.contiguous(), losses, *logits.shape)
    return losses
