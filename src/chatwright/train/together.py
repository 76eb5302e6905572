"""A recipe under torchrun: the main process builds, the others come in where all are needed.

The main process alone decides what is to do, holds the lock and runs the stages. For a stage that
all run (`StageKind.together`) it leaves an order in the run's store; the others wait for orders,
for as long as the stages before take.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatwright.records import Parent
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.train.world import MainFailed, World, alone, peers_named
from chatwright.workspace import Workspace

Run = Callable[[StageKind, StageSettings, StageContext], None]
_END, _FAILED = "end", "failed"


@contextmanager
def leading(world: World) -> Iterator[Run]:
    """For the main process: within, the function given runs stages, with the others where needed.

    With one process it only calls the stage. Leaving sends the others home.
    """

    def run(kind: StageKind, settings: StageSettings, context: StageContext) -> None:
        if world.size == 1:
            kind.run(settings, context)
        elif not kind.together:
            with alone():
                kind.run(settings, context)
        else:
            world.publish(_next(world), json.dumps(_order(context)))
            _run(world, kind, settings, context)

    try:
        yield run
    except BaseException:
        if world.size > 1:
            world.publish(_next(world), json.dumps({"do": _FAILED}))
        raise
    if world.size > 1:
        world.publish(_next(world), json.dumps({"do": _END}))


def follow(
    world: World,
    workspace: Workspace,
    find: Callable[[str], tuple[StageKind, StageSettings]],
) -> None:
    """For the other processes: run what the main one orders, until it is done.

    `find` gives the kind and settings of a stage of the recipe. Raises `MainFailed` where the main
    process failed.
    """
    while True:
        order: dict[str, Any] = json.loads(world.read(_next(world)))
        if order["do"] == _END:
            return
        if order["do"] == _FAILED:
            # Torchrun names the process that ends first as the cause: not this one.
            time.sleep(5)
            raise MainFailed(1)
        kind, settings = find(order["stage"])
        context = StageContext(
            recipe=order["recipe"],
            stage=order["stage"],
            seed=order["seed"],
            output=Path(order["output"]),
            scratch=Path(order["scratch"]),
            fingerprint=order["fingerprint"],
            workspace=workspace,
            inputs={name: Path(path) for name, path in order["inputs"].items()},
            parents=[Parent(**parent) for parent in order["parents"]],
        )
        _run(world, kind, settings, context)


def _run(world: World, kind: StageKind, settings: StageSettings, context: StageContext) -> None:
    with peers_named(world):
        world.check_shared(context.scratch)
        kind.run(settings, context)


def _order(context: StageContext) -> dict[str, Any]:
    return {
        "do": "run",
        "recipe": context.recipe,
        "stage": context.stage,
        "seed": context.seed,
        "output": str(context.output.absolute()),
        "scratch": str(context.scratch.absolute()),
        "fingerprint": context.fingerprint,
        "inputs": {name: str(path.absolute()) for name, path in context.inputs.items()},
        "parents": [asdict(parent) for parent in context.parents],
    }


def _next(world: World) -> str:
    return f"order/{world.next_number()}"
