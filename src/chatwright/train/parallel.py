"""How the loss, the gradients and the weights of one model are spread over the ranks of a run.

One process (`Local`), a whole copy of the model on every rank (`train/distributed.py`, DDP), or a
share of every weight on each (`train/sharded.py`, FSDP2). The loop sees one interface, and the
gradients are the same: sums over all ranks, divided by the weight of the whole step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from chatwright.errors import TrainingError, UsageError
from chatwright.model import Transformer
from chatwright.train.objectives import Loss, Objective
from chatwright.train.optim import Masters, finish_gradients
from chatwright.train.packing import Batch
from chatwright.train.settings import OptimizerName, TrainSettings
from chatwright.train.sharing import Part
from chatwright.train.world import World

Mode = Literal["local", "ddp", "fsdp"]

# Adam with float32 masters: weights, gradients, two averages. Beside it activations need room.
_BYTES_TRAINED, _BYTES_FROZEN = 16, 4
_SHARE_OF_MEMORY = 0.6
# Gradients are widened so many numbers at a time before they are added: 256 MB of copies.
_ADDED_AT_ONCE = 1 << 26
# Their rollouts need the whole model in one place at every step.
_WHOLE_ONLY = ("ppo", "grpo")


class Parallel(Protocol):
    """A model in training, wherever its weights are.

    `model` is the module that computes, `masters` what this rank's optimizers update, by name.
    """

    mode: Mode
    model: Transformer
    device: torch.device

    @property
    def masters(self) -> dict[str, nn.Parameter]: ...

    def clear(self) -> None:
        """Forget the gradients of the step before."""

    def backward(self, part: Part, scale: float, *, last: bool) -> Loss:
        """The loss of a micro-batch, its gradients times `scale` added up; `last` of the step."""
        ...

    def loss(self, part: Part) -> Loss:
        """The loss of a micro-batch, for validation."""
        ...

    def finish(self, weight: float, clip: float | None) -> float:
        """Sums become the step's gradients (`optim.finish_gradients`); the norm over all ranks."""
        ...

    def publish(self) -> None:
        """The optimizers' new values reach the model."""

    def close(self) -> None:
        """The model that was given is whole again and holds what was learnt."""

    def state(self, optimizer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights by name, and the optimizers' tensors, as a checkpoint takes them."""
        ...

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put back weights. Raises `TrainingError` where they are of another model."""


class Local:
    """One process that holds everything."""

    mode: Mode = "local"

    def __init__(self, model: Transformer, objective: Objective, dtype: torch.dtype) -> None:
        self.model = model
        self.device = model.device
        self.objective = objective
        trained = {k: p.detach().float() for k, p in model.named_parameters() if p.requires_grad}
        to_dtype(model, dtype)
        kind = MastersOnGpu if self.device.type == "cuda" else Masters
        self.kept = kind(model, trained)

    @property
    def masters(self) -> dict[str, nn.Parameter]:
        return self.kept.masters

    def clear(self) -> None:
        self.kept.clear()

    def backward(self, part: Part, scale: float, *, last: bool) -> Loss:
        loss = self.loss(part)
        (loss.sum * scale).backward()
        self.kept.collect()
        return loss

    def loss(self, part: Part) -> Loss:
        return self.objective.loss(self.model, part.batch.to(self.device))

    def finish(self, weight: float, clip: float | None) -> float:
        return finish_gradients(self.masters.values(), weight, clip)

    def publish(self) -> None:
        self.kept.publish()

    def close(self) -> None:
        return None

    def state(self, optimizer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {name: master.detach() for name, master in self.masters.items()}, optimizer

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        if set(weights) != set(self.masters):
            raise TrainingError("the saved training state is of another model")
        for name, master in self.masters.items():
            master.copy_(weights[name])
        self.publish()


class MastersOnGpu(Masters):
    """The same numbers by kernels that take many tensors at a time.

    One by one, the conversions between two types of a model's many matrices reach an eighth of the
    memory's speed (measured on an H200 at 128 million parameters).
    """

    @torch.no_grad()
    def collect(self) -> None:
        new: list[tuple[Tensor, Tensor]] = []
        more: list[tuple[Tensor, Tensor]] = []
        for live, master in self._short:
            if live.grad is None:
                continue
            if master.grad is None:
                master.grad = torch.empty_like(master)
                new.append((master.grad, live.grad))
            else:
                more.append((master.grad, live.grad))
            live.grad = None
        _copy(new)
        while more:
            part = [more.pop()]
            size = part[0][0].numel()
            while more and size + more[-1][0].numel() <= _ADDED_AT_ONCE:
                part.append(more.pop())
                size += part[-1][0].numel()
            wide = [torch.empty_like(total) for total, _ in part]
            _copy([(own, grad) for own, (_, grad) in zip(wide, part, strict=True)])
            torch._foreach_add_([total for total, _ in part], wide)

    @torch.no_grad()
    def publish(self) -> None:
        _copy(self._short)


def _copy(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Copy the second tensor of each pair into the first."""
    if pairs:
        torch._foreach_copy_([target for target, _ in pairs], [source for _, source in pairs])


class LossModule(nn.Module):
    """The loss as a module: what DDP and FSDP2 wrap, so that every objective goes through them."""

    def __init__(self, model: Transformer, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        loss = self.objective.loss(self.model, batch)
        return (
            loss.sum,
            loss.weight.detach(),
            {name: value.detach() for name, value in loss.metrics.items()},
        )


def counted(found: tuple[Tensor, Tensor, dict[str, Tensor]], part: Part) -> Loss:
    """The loss of a part; nothing of one that does not count, but for the graph behind it."""
    if part.counts:
        return Loss(*found)
    total, weight, metrics = found
    return Loss(total * 0.0, weight * 0, {name: value * 0 for name, value in metrics.items()})


def choose_mode(settings: TrainSettings, model: Transformer, world: World) -> Mode:
    """DDP or FSDP2, as the settings say; with `auto` DDP where its state fits into memory.

    Raises `UsageError` for FSDP2 with an objective that rolls out.
    """
    if world.size == 1:
        return "local"
    whole_only = settings.objective in _WHOLE_ONLY or (
        settings.objective == "distil" and settings.distil.on == "student"
    )
    if settings.distributed != "auto":
        if settings.distributed == "fsdp" and whole_only:
            raise UsageError(
                f"{settings.objective} writes answers with the whole model, which FSDP2 cuts up",
                where="distributed: fsdp",
                hint="set distributed: ddp",
            )
        return settings.distributed
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    needed = _BYTES_TRAINED * sizes[True] + _BYTES_FROZEN * sizes[False]
    fits = needed <= _SHARE_OF_MEMORY * _memory(world)
    # Ranks may sit on different machines: all follow the smallest.
    return "ddp" if whole_only or all(world.gather(fits)) else "fsdp"


def make_parallel(
    model: Transformer,
    objective: Objective,
    dtype: torch.dtype,
    *,
    mode: Mode,
    world: World,
    optimizer: OptimizerName,
) -> Parallel:
    """Spread `model`, in place; matrices compute in `dtype`, the optimizers in float32."""
    if mode == "local":
        return Local(model, objective, dtype)
    world.start()
    if mode == "ddp":
        from chatwright.train.distributed import Replicated

        return Replicated(model, objective, dtype)
    from chatwright.train.sharded import Sharded

    return Sharded(model, objective, dtype, world=world, optimizer=optimizer)


def to_dtype(model: Transformer, dtype: torch.dtype) -> None:
    """Weights to `dtype`, except adapters: they stay float32 and are rounded where used."""
    for name, parameter in model.named_parameters():
        if not name.endswith((".lora_A", ".lora_B")):
            parameter.data = parameter.data.to(dtype)


def _memory(world: World) -> int:
    """Bytes of memory that this rank may call its own."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(world.local_rank).total_memory)
    import psutil

    return int(psutil.virtual_memory().total) // world.local_size
