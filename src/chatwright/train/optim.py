"""Optimizers, which parameter goes to which, and float32 masters of bfloat16 weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chatwright.errors import TrainingError
from chatwright.train.settings import OptimizerName

# Muon's update has an RMS of 0.2 per element once scaled so that AdamW's rates fit (Liu et al.
# 2025, "Muon is scalable for LLM training"); torch calls that `match_rms_adamw`.
_MUON_SCALE = "match_rms_adamw"
# Matrices smaller than this are updated by one thread: handing the many small products of Muon to
# several costs more than it gains, and hundreds of times more on a machine that is busy.
_WORTH_THREADS = 1 << 22


@dataclass(frozen=True, slots=True)
class Groups:
    """Every trained parameter, once: hidden matrices, other matrices, vectors."""

    hidden: dict[str, nn.Parameter]
    other: dict[str, nn.Parameter]
    vectors: dict[str, nn.Parameter]


def group_parameters(parameters: Iterable[tuple[str, nn.Parameter]]) -> Groups:
    """Sort trained parameters by what suits them.

    `hidden` are the 2-D weights inside the layers. `other` are embedding, head and LoRA matrices,
    whose rows or ranks have a meaning of their own, so that Muon's orthogonal updates do not fit.
    `vectors` are norms and biases: no weight decay.
    """
    groups = Groups({}, {}, {})
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            groups.vectors[name] = parameter
        elif parameter.ndim == 2 and name.startswith("layers.") and "lora" not in name.lower():
            groups.hidden[name] = parameter
        else:
            groups.other[name] = parameter
    return groups


class Optimizers:
    """One or two torch optimizers, stepped together under one schedule."""

    def __init__(
        self,
        groups: Groups,
        optimizer: OptimizerName,
        *,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        use_muon = optimizer in ("muon", "auto") and bool(groups.hidden)
        decayed = {**groups.other, **({} if use_muon else groups.hidden)}
        adam_groups = [
            {"params": list(part.values()), "weight_decay": decay}
            for part, decay in ((decayed, weight_decay), (groups.vectors, 0.0))
            if part
        ]
        self.torch: dict[str, torch.optim.Optimizer] = {}
        if adam_groups:
            self.torch["adamw"] = torch.optim.AdamW(
                adam_groups, lr=learning_rate, betas=betas, eps=1e-8, fused=True
            )
        if use_muon:
            self.torch["muon"] = torch.optim.Muon(
                list(groups.hidden.values()),
                lr=learning_rate,
                weight_decay=weight_decay,
                adjust_lr_fn=_MUON_SCALE,
            )
        if not self.torch:
            raise TrainingError("nothing can be trained: every parameter is frozen")
        self._peak = learning_rate
        largest = max(p.numel() for part in (decayed, groups.hidden) for p in part.values())
        self._small = largest < _WORTH_THREADS

    def step(self, factor: float) -> float:
        """Update the weights at `factor` times the peak rate; returns that rate."""
        for optimizer in self.torch.values():
            for group in optimizer.param_groups:
                group["lr"] = self._peak * factor
            with torch_threads(1 if self._small else torch.get_num_threads()):
                optimizer.step()
        return self._peak * factor

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, flat: `adamw.12.exp_avg` → tensor."""
        found = {}
        for name, optimizer in self.torch.items():
            for number, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    found[f"{name}.{number}.{key}"] = torch.as_tensor(value)
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises `TrainingError` where it does not fit."""
        for name, optimizer in self.torch.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                owner, number, field = key.split(".", 2)
                if owner == name:
                    state.setdefault(int(number), {})[field] = value
            current = optimizer.state_dict()
            expected = sum(len(group["params"]) for group in current["param_groups"])
            if state and set(state) != set(range(expected)):
                raise TrainingError(f"the saved state of {name} is of another model")
            optimizer.load_state_dict({**current, "state": state})


class Masters:
    """Float32 copies of trained parameters that are kept in a shorter type for speed.

    Gradients of micro-batches are summed in float32 (`collect`), the optimizer works on the
    float32 copies, and `publish` rounds them into the model. A float32 parameter is its own master.
    """

    def __init__(self, model: nn.Module, start: dict[str, Tensor]) -> None:
        """`start` are the float32 values that the short ones were rounded from, by name."""
        self.live = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.masters = {
            n: p if p.dtype == torch.float32 else nn.Parameter(start[n])
            for n, p in self.live.items()
        }
        self._short = [(self.live[n], m) for n, m in self.masters.items() if m is not self.live[n]]

    @torch.no_grad()
    def collect(self) -> None:
        """Add the model's gradients to the masters' and clear the former."""
        for live, master in self._short:
            if live.grad is None:
                continue
            if master.grad is None:
                master.grad = live.grad.float()
            else:
                master.grad.add_(live.grad)
            live.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the model."""
        for live, master in self._short:
            live.copy_(master)

    def clear(self) -> None:
        for parameter in (*self.live.values(), *self.masters.values()):
            parameter.grad = None


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use `count` threads: sums are split among them, so the bits of a result depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def finish_gradients(
    parameters: Iterable[nn.Parameter], weight: float, clip: float | None
) -> float:
    """Divide summed gradients by `weight` and clip their norm; returns the norm before clipping.

    Both in one pass over the gradients. A parameter that no loss reached has a zero gradient, so
    that the optimizers treat every step alike.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    norms = torch._foreach_norm(gradients)
    norm = float(torch.linalg.vector_norm(torch.stack(norms))) / weight
    factor = 1 / weight
    if clip is not None and norm > clip:
        factor *= clip / norm
    torch._foreach_mul_(gradients, factor)
    return norm
