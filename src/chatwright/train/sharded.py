"""A share of every weight on each rank: torch's FSDP2 (`fully_shard`).

Each block's weights are put together when it computes and dropped again after; gradients are summed
and cut up on the way back. Optimizers that look at single elements update the shares where they
lie. Those that look at whole matrices (Muon, LAMB) have an owner for each: it alone holds the
matrix's momentum, updates the whole and sends it round.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from chatwright.errors import TrainingError, UsageError
from chatwright.model import Transformer
from chatwright.train.objectives import Loss, Objective
from chatwright.train.optim import finish_gradients, group_parameters
from chatwright.train.parallel import LossModule, Mode, counted
from chatwright.train.settings import OptimizerName
from chatwright.train.sharing import Part
from chatwright.train.world import World


class Sharded:
    """A `Parallel` whose weights lie in shares; the float32 shares are what is trained.

    `model` is a module of its own. The one that was given holds nothing until `close`. Memory for
    weights, gradients and optimizer falls with the number of ranks.
    """

    mode: Mode = "fsdp"

    def __init__(
        self,
        model: Transformer,
        objective: Objective,
        dtype: torch.dtype,
        *,
        world: World,
        optimizer: OptimizerName,
    ) -> None:
        self._given = model
        self._world = world
        self._dtype = dtype
        self._home = model.device
        self.device = torch.device(world.device)
        for parameter in model.parameters():
            wide = parameter.requires_grad
            parameter.data = parameter.data.to(torch.float32 if wide else dtype)
        # A copy of the modules around the same parameters, which are then cut up one by one.
        self.model = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        self._module = LossModule(self.model, objective)
        self._shard(dtype)
        _hollow(model)
        self.live: dict[str, DTensor] = {
            name: p  # type: ignore[misc]
            for name, p in self.model.named_parameters()
            if p.requires_grad
        }
        self._owners = _owners(self.live, optimizer, world.size)
        if len(self._owners) == len(self.live) < world.size:
            raise UsageError(
                f"{optimizer} updates whole matrices, of which {len(self.live)} are trained; that "
                f"is too few for {world.size} processes",
                where="distributed: fsdp",
                hint="set distributed: ddp",
            )
        self._masters: dict[str, nn.Parameter] = {}
        for name, live in self.live.items():
            if name not in self._owners:
                # The same memory: what an optimizer does to the share, it does to the model.
                self._masters[name] = nn.Parameter(live.to_local().detach())
            else:
                whole = live.full_tensor().detach()
                if self._owners[name] == world.rank:
                    self._masters[name] = nn.Parameter(whole)

    def _shard(self, dtype: torch.dtype) -> None:
        policy = MixedPrecisionPolicy(
            param_dtype=None if dtype == torch.float32 else dtype,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,  # RoPE's tables stay float32
        )
        mesh = init_device_mesh(self.device.type, (self._world.size,))
        for block in self.model.layers:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(self._module, mesh=mesh, mp_policy=policy)
        for module in self._module.modules():
            if isinstance(module, FSDPModule):  # sums, not means
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    @property
    def masters(self) -> dict[str, nn.Parameter]:
        return self._masters

    def clear(self) -> None:
        for parameter in (*self.live.values(), *self._masters.values()):
            parameter.grad = None

    def backward(self, part: Part, scale: float, *, last: bool) -> Loss:
        # Each micro-batch is summed over the ranks at once: to wait for the last one would keep
        # whole gradients in memory, which is what is being avoided.
        loss = self.loss(part)
        (loss.sum * scale).backward()
        return loss

    def loss(self, part: Part) -> Loss:
        with warnings.catch_warnings():
            # The fused blocks return a view, and nobody writes into it.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
            return counted(self._module(part.batch.to(self.device)), part)

    @torch.no_grad()
    def finish(self, weight: float, clip: float | None) -> float:
        for name, live in self.live.items():
            gradient: Any = live.grad
            if name not in self._owners:
                self._masters[name].grad = None if gradient is None else gradient.to_local()
            elif gradient is not None:
                whole = gradient.full_tensor()
                if name in self._masters:
                    self._masters[name].grad = whole
            live.grad = None
        return finish_gradients(self._masters.values(), weight, clip, norm_of_all)

    @torch.no_grad()
    def publish(self) -> None:
        for name, owner in self._owners.items():
            live = self.live[name]
            whole = self._masters[name].detach() if owner == self._world.rank else None
            self._spread(live, whole, owner)

    def _spread(self, live: DTensor, whole: Tensor | None, owner: int) -> None:
        """Every rank's share of `whole`, which `owner` has."""
        if whole is None:
            whole = torch.empty(live.shape, dtype=torch.float32, device=self.device)
        dist.broadcast(whole, src=owner)
        live.to_local().copy_(self.share_of(whole))

    @torch.no_grad()
    def close(self) -> None:
        modules = dict(self._given.named_modules())
        for name, parameter in self.model.named_parameters():
            whole = parameter.detach()
            if isinstance(whole, DTensor):
                whole = whole.full_tensor()
            home, _, field = name.rpartition(".")
            if not field.startswith("lora_"):  # as one process would leave it (`to_dtype`)
                whole = whole.to(self._dtype)
            whole = whole.to(self._home)  # one GPU may not hold all of it
            modules[home].register_parameter(
                field, nn.Parameter(whole, requires_grad=parameter.requires_grad)
            )

    # -- state: the same names whatever the number of ranks ---------------------------------------

    def share_of(self, whole: Tensor) -> Tensor:
        """The rows of a whole weight that this rank has, as FSDP2 cuts it."""
        parts = torch.chunk(whole, self._world.size, 0)
        rank = self._world.rank
        return parts[rank] if rank < len(parts) else whole[:0]

    def spread(self, name: str, local: Tensor) -> Tensor:
        """The tensor of all ranks that `local` is this rank's part of (a momentum of `name`).

        A tensor that is no share (a count, a matrix that this rank owns) is returned as it is.
        """
        live = self.live[name]
        if name in self._owners or local.ndim == 0 or local.shape != live.to_local().shape:
            return local
        return DTensor.from_local(
            local,
            live.device_mesh,
            live.placements,
            run_check=False,
            shape=live.shape,
            stride=live.stride(),
        )

    def owns(self, name: str) -> bool:
        """Whether this rank's optimizers update (a part of) that parameter."""
        return name in self._masters

    def is_share(self, name: str) -> bool:
        """Whether every rank holds a part of that parameter's optimizer state."""
        return name not in self._owners

    def state(self, optimizer: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        weights: dict[str, Tensor] = {name: p.detach() for name, p in self.live.items()}
        return weights, {key: self.spread(key.split("/")[1], t) for key, t in optimizer.items()}

    def cut(self, optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of an optimizer's whole tensors what this rank's optimizers keep."""
        found = {}
        for key, tensor in optimizer.items():
            name = key.split("/")[1]
            if self.owns(name):
                cut = self.is_share(name) and tensor.shape == self.live[name].shape
                found[key] = self.share_of(tensor).clone() if cut else tensor
        return found

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Put back whole weights, or none where the shares were loaded in place."""
        if weights and set(weights) != set(self.live):
            raise TrainingError("the saved training state is of another model")
        for name, live in self.live.items():
            if weights:
                live.to_local().copy_(self.share_of(weights[name]))
            if name in self._owners:
                whole = live.full_tensor()
                if name in self._masters:
                    self._masters[name].copy_(whole)


def norm_of_all(own: Tensor) -> Tensor:
    """The norm over all ranks, of whose parts this rank's have the norm `own`."""
    square = own.double().square()
    dist.all_reduce(square)
    return square.sqrt()


def _owners(live: Mapping[str, Tensor], optimizer: OptimizerName, size: int) -> dict[str, int]:
    """Who updates which whole matrix: each rank about as many numbers, the same on every rank."""
    if optimizer == "lamb":
        names = list(live)
    elif optimizer in ("muon", "auto"):
        parameters: Any = live.items()
        names = list(group_parameters(parameters).hidden)
    else:
        return {}
    load = [0] * size
    found = {}
    for name in sorted(names, key=lambda n: -live[n].numel()):
        rank = min(range(size), key=load.__getitem__)
        found[name] = rank
        load[rank] += live[name].numel()
    return {name: found[name] for name in names}


def _hollow(model: Transformer) -> None:
    """Take the weights out of `model`: its copy has them, in shares."""
    for module in model.modules():
        for field, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty_like(parameter, device="meta")
            module.register_parameter(
                field, nn.Parameter(empty, requires_grad=parameter.requires_grad)
            )
