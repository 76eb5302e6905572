"""A whole copy of the model on every rank, each computing its share of every step: torch's DDP.

`DistributedDataParallel` sums buckets of gradients while the backward pass still runs. Two things
are ours: the sum is no mean (the loop divides by the weight of the whole step), and gradients that
come in a short type are summed in float32, over micro-batches and over ranks.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from chatwright.model import Transformer
from chatwright.train.objectives import Loss, Objective
from chatwright.train.parallel import Local, LossModule, Mode, counted
from chatwright.train.sharing import Part


class Replicated(Local):
    """A `Parallel` with the whole model on every rank.

    All ranks hold the same bits: they begin with those of rank 0, and a sum over ranks comes out
    the same everywhere.
    """

    mode: Mode = "ddp"

    def __init__(self, model: Transformer, objective: Objective, dtype: torch.dtype) -> None:
        for parameter in model.parameters():
            dist.broadcast(parameter.data, src=0)
        super().__init__(model, objective, dtype)
        self._master_of = {
            id(live): self.kept.masters[name]
            for name, live in self.kept.live.items()
            if self.kept.masters[name] is not live
        }
        self._module = LossModule(model, objective)
        # A parameter that is never reached: DDP warns of looking for such where it finds none.
        self._module.register_parameter(
            "unreached", nn.Parameter(torch.zeros((), device=self.device))
        )
        # Looking for parameters that a loss does not reach also keeps DDP from laying out its
        # buckets anew after the first step, which would make a resumed run sum in another order.
        self._ddp = DistributedDataParallel(
            self._module, init_sync=False, find_unused_parameters=True
        )
        self._ddp.register_comm_hook(self, _sum_bucket)

    def backward(self, part: Part, scale: float, *, last: bool) -> Loss:
        with nullcontext() if last else self._ddp.no_sync():
            loss = counted(self._ddp(part.batch.to(self.device)), part)
            (loss.sum * scale).backward()
        if not last:
            self.kept.collect()
        else:
            # The hook has put these sums into the masters, in float32.
            for name, live in self.kept.live.items():
                if self.kept.masters[name] is not live:
                    live.grad = None
        return loss

    def loss(self, part: Part) -> Loss:
        return counted(self._module(part.batch.to(self.device)), part)


def _sum_bucket(own: Replicated, bucket: Any) -> torch.futures.Future[Tensor]:
    """DDP's communication hook: sum a bucket over the ranks, in float32."""
    buffer = bucket.buffer()
    masters = [own._master_of.get(id(parameter)) for parameter in bucket.parameters()]
    if masters[0] is None:  # float32: DDP has added up the micro-batches itself
        work = dist.all_reduce(buffer, async_op=True)
        return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
    wide = buffer.float()
    offset = 0
    for master in masters:
        assert master is not None  # a bucket holds one type
        part = wide[offset : offset + master.numel()]
        if master.grad is not None:  # what the micro-batches before this one have given
            part += master.grad.reshape(-1)
        master.grad = part.view(master.shape)
        offset += master.numel()
    work = dist.all_reduce(wide, async_op=True)
    # `wide` now holds the sums, and so do the masters' gradients, which are views of it.
    return work.get_future().then(lambda done: buffer)  # type: ignore[no-any-return]


# DDP checks a hook's annotations, and does not know those that are text.
_sum_bucket.__annotations__.clear()
