"""Optimizers, which parameter goes to which, and float32 masters of bfloat16 weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.errors import TrainingError
from chatwright.train.lamb import Lamb
from chatwright.train.muon import BatchedMuon
from chatwright.train.settings import OptimizerName

# Muon's update has an RMS of 0.2 per element once scaled so that AdamW's rates fit (Liu et al.
# 2025, "Muon is scalable for LLM training"); torch calls that `match_rms_adamw`.
_MUON_SCALE = "match_rms_adamw"
NEEDS_WHOLE = frozenset({"muon", "lamb"})
"""Optimizers whose update of a matrix depends on all of it: they cannot work on parts of one."""
_MUON_MOMENTUM = 0.95
_SGD_MOMENTUM = 0.9
# Keys of ours in the groups of torch's optimizers.
_DECOUPLED = "decoupled"
_PEAK = "peak"
# Matrices smaller than this are updated by one thread: handing many small operations to several
# costs more than it gains, and hundreds of times more on a machine that is busy.
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
    """One or two torch optimizers, stepped together under one schedule.

    Weight decay is decoupled from the gradient in all of them (Loshchilov and Hutter 2019: weights
    shrink by rate · `weight_decay`), also in SGD, RMSprop and Adagrad, where torch itself would add
    it to the gradient; in LAMB it is part of the update, as published. Norms and biases have none.

    `betas` are those of AdamW, RAdam, LAMB; the second one is RMSprop's averaging. `momentum`,
    `nesterov` and `eps` are the optimizer's own (see `TrainSettings`) where None. `rates` are the
    peak rates of the matrices outside the layers whose names begin so ("embed_tokens"): these have
    no weight decay, which would be a multiple of a rate that may be large.

    Raises `TrainingError` where nothing is trained.
    """

    def __init__(
        self,
        groups: Groups,
        optimizer: OptimizerName,
        *,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        momentum: float | None = None,
        nesterov: bool | None = None,
        eps: float | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        use_muon = optimizer in ("muon", "auto") and bool(groups.hidden)
        decayed = {**groups.other, **({} if use_muon else groups.hidden)}
        parts = []
        for prefix, rate in (rates or {}).items():
            own = {name: decayed.pop(name) for name in groups.other if name.startswith(prefix)}
            parts.append((own, 0.0, rate))
        parts += [(decayed, weight_decay, learning_rate), (groups.vectors, 0.0, learning_rate)]
        self.torch: dict[str, torch.optim.Optimizer] = {}
        if any(part for part, _, _ in parts):
            name = "adamw" if optimizer in ("muon", "auto") else optimizer
            options = {} if eps is None else {"eps": eps}
            if name == "sgd" or (name == "rmsprop" and momentum is not None):
                options["momentum"] = _SGD_MOMENTUM if momentum is None else momentum
            if name == "sgd":
                options["nesterov"] = bool(nesterov)
            self.torch[name] = _make(
                name,
                [
                    {"params": list(p.values()), "weight_decay": d, _PEAK: rate}
                    for p, d, rate in parts
                    if p
                ],
                lr=learning_rate,
                betas=betas,
                options=options,
            )
        if use_muon:
            self.torch["muon"] = BatchedMuon(
                [{"params": list(groups.hidden.values()), _PEAK: learning_rate}],
                lr=learning_rate,
                weight_decay=weight_decay,
                momentum=_MUON_MOMENTUM if momentum is None else momentum,
                nesterov=nesterov is not False,
                adjust_lr_fn=_MUON_SCALE,
            )
        if not self.torch:
            raise TrainingError("nothing can be trained: every parameter is frozen")
        every = {**groups.other, **groups.hidden, **groups.vectors}
        names = {id(parameter): name for name, parameter in every.items()}
        self._names = {
            owner: [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
            for owner, optimizer in self.torch.items()
        }
        self._peak = learning_rate
        self._small = max(p.numel() for p in every.values()) < _WORTH_THREADS

    def step(self, factor: float) -> float:
        """Update the weights at `factor` times the peak rate; returns that rate."""
        for name, optimizer in self.torch.items():
            for group in optimizer.param_groups:
                group["lr"] = group[_PEAK] * factor
            # Muon's products are few, and large enough for all threads.
            alone = self._small and name != "muon"
            with torch_threads(1 if alone else torch.get_num_threads()):
                _decay(optimizer)
                optimizer.step()
        return self._peak * factor

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, flat: `adamw/embed_tokens.weight/exp_avg` → tensor."""
        found = {}
        for owner, optimizer in self.torch.items():
            for number, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    if value is not None:
                        name = self._names[owner][number]
                        found[f"{owner}/{name}/{key}"] = torch.as_tensor(value)
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises `TrainingError` where it does not fit."""
        for owner, optimizer in self.torch.items():
            numbers = {name: number for number, name in enumerate(self._names[owner])}
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                its_owner, name, field = key.split("/")
                if its_owner == owner:
                    state.setdefault(numbers.get(name, -1), {})[field] = value
            if state and set(state) != set(numbers.values()):
                raise TrainingError(f"the saved state of {owner} is of another model")
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _make(
    name: str,
    groups: list[dict[str, Any]],
    *,
    lr: float,
    betas: tuple[float, float],
    options: dict[str, Any],
) -> torch.optim.Optimizer:
    """The optimizer `name` over `groups` (parameters and their weight decay)."""
    optim = torch.optim
    if name in ("sgd", "rmsprop", "adagrad"):
        # `_decay` does it, decoupled; torch's own would not be.
        groups = [{**g, "weight_decay": 0.0, _DECOUPLED: g["weight_decay"]} for g in groups]
    if name == "sgd":
        options.pop("eps", None)
        return optim.SGD(groups, lr=lr, fused=True, **options)
    if name == "rmsprop":
        return optim.RMSprop(groups, lr=lr, alpha=betas[1], **options)
    if name == "adagrad":
        return optim.Adagrad(groups, lr=lr, **options)
    if name == "radam":
        return optim.RAdam(groups, lr=lr, betas=betas, decoupled_weight_decay=True, **options)
    if name == "lamb":
        adapted = [{**g, "adapt": any(p.ndim > 1 for p in g["params"])} for g in groups]
        return Lamb(adapted, lr=lr, betas=betas, **options)
    return optim.AdamW(groups, lr=lr, betas=betas, fused=True, **options)


@torch.no_grad()
def _decay(optimizer: torch.optim.Optimizer) -> None:
    """Shrink the weights of groups whose optimizer does not do so itself."""
    for group in optimizer.param_groups:
        if group.get(_DECOUPLED):
            torch._foreach_mul_(group["params"], 1 - group["lr"] * group[_DECOUPLED])


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
    parameters: Iterable[nn.Parameter],
    weight: float,
    clip: float | None,
    norm_of_all: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Divide summed gradients by `weight` and clip their norm; returns the norm before clipping.

    Both in one pass over the gradients. A parameter that no loss reached has a zero gradient, so
    that the optimizers treat every step alike. Where `parameters` are shares, `norm_of_all` turns
    the norm of this process's into that of all.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    norms = torch._foreach_norm(gradients)
    own = torch.linalg.vector_norm(torch.stack(norms))
    norm = float(own if norm_of_all is None else norm_of_all(own)) / weight
    factor = 1 / weight
    if clip is not None and norm > clip:
        factor *= clip / norm
    torch._foreach_mul_(gradients, factor)
    return norm
