"""A world of one under NCCL: the loops of DDP and FSDP2 beside that of one process.

`torchrun --nproc-per-node 1 _gpu_world.py SETTINGS`. One GPU is one rank, so that nothing is sent,
but all that the engines do to a model on a GPU is done. Lines that begin with `{` are results.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from chatwright.model import ModelConfig, Transformer
from chatwright.train.blocks import training_blocks
from chatwright.train.distributed import Replicated
from chatwright.train.objectives import NextToken
from chatwright.train.optim import Optimizers, group_parameters
from chatwright.train.packing import Batch, make_batch
from chatwright.train.parallel import Local, Parallel
from chatwright.train.sharded import Sharded
from chatwright.train.sharing import share
from chatwright.train.sums import Sums
from chatwright.train.world import World


def batches(step: int, config: ModelConfig) -> list[Batch]:
    """Two micro-batches."""
    rng = torch.Generator().manual_seed(step)
    found = []
    for lengths in ((128, 128, 60), (200, 17)):
        rows = [torch.randint(0, config.vocab_size, (2, n), generator=rng) for n in lengths]
        found.append(make_batch([(r[0].numpy(), r[1].numpy()) for r in rows], ["row"]))
    return found


def losses(mode: str, settings: dict[str, Any], dtype: torch.dtype, compile: bool) -> list[float]:
    device = settings["device"]
    config = ModelConfig.from_depth(4, 512, context=256)
    model = Transformer.random(config, 1, device)
    objective, world = NextToken(), World()
    parallel: Parallel
    if mode == "local":
        parallel = Local(model, objective, dtype)
    elif mode == "ddp":
        parallel = Replicated(model, objective, dtype)
    else:
        parallel = Sharded(model, objective, dtype, world=world, optimizer="adamw")
    optimizers = Optimizers(
        group_parameters(parallel.masters.items()), "adamw", learning_rate=1e-3, weight_decay=0.1,
        betas=(0.9, 0.95),
    )  # fmt: skip
    found = []
    with training_blocks(parallel.model, compile=compile):
        parallel.model.train()
        for step in range(settings["steps"]):
            parts = share(batches(step % 4, config), 0, 1, 1024)
            parallel.clear()
            sums = Sums()
            for number, part in enumerate(parts, start=1):
                sums.add(parallel.backward(part, 1.0, last=number == len(parts)))
            parallel.finish(sums.weight, 1.0)
            optimizers.step(1.0)
            parallel.publish()
            found.append(sums.loss)
    parallel.close()
    return found


def main() -> None:
    settings = json.loads(sys.argv[1])
    on_gpu = settings["device"] == "cuda"
    if on_gpu:
        torch.cuda.set_device(0)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    cases = [(torch.float32, False), (torch.bfloat16, False)]
    cases += [(torch.float32, True), (torch.bfloat16, True)] if on_gpu else []
    for dtype, compile in cases:
        local: list[float] = []
        for mode in ("local", "ddp", "fsdp"):
            begun = time.perf_counter()
            said: dict[str, Any] = {"world": mode, "dtype": str(dtype)[6:], "compile": compile}
            try:
                found = losses(mode, settings, dtype, compile)
                local = local or found
                apart = max(abs(a - b) / abs(b) for a, b in zip(found, local, strict=True))
                said |= {"relative_apart": apart, "losses": [found[0], found[-1]]}
            except Exception as error:  # what fails does not cost the rest
                said["error"] = f"{type(error).__name__}: {error}"[:600]
            took = time.perf_counter() - begun
            print(json.dumps(said | {"seconds": round(took, 1)}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
