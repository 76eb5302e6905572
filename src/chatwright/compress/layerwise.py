"""Calibration data walked through a model one layer at a time.

What a layer is given depends on the layers before it. A method that changes layer after layer must
therefore see each one's inputs as the changed layers before it make them (as GPTQ and Wanda do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.errors import DataError
from chatwright.model.transformer import Block, Transformer
from chatwright.progress import Progress, Silent

Watch = Callable[[Tensor], object]
"""Takes one row's inputs to a module: [tokens, features] in the model's type."""


class _Caught(Exception):  # noqa: N818 - not an error: the first layer's inputs are known
    pass


@dataclass(slots=True)
class BlockRun:
    """One layer and what each calibration row gives it."""

    index: int
    block: Block
    _states: list[Tensor]
    _arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(repr=False)

    def observe(self, watches: Mapping[nn.Module, Watch]) -> list[Tensor]:
        """Run every row through the layer as it is now; each module's inputs go to its watch.

        Returns the layer's outputs, [1, tokens, width] a row.
        """

        def hook(watch: Watch) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
                watch(args[0].reshape(-1, args[0].shape[-1]))  # its result would replace the input

            return look

        hooks = [m.register_forward_pre_hook(hook(watch)) for m, watch in watches.items()]
        try:
            with torch.no_grad():
                return [
                    self.block(x, *args, **named)
                    for x, (args, named) in zip(self._states, self._arguments, strict=True)
                ]
        finally:
            for handle in hooks:
                handle.remove()

    @property
    def inputs(self) -> list[Tensor]:
        """The layer's inputs, [1, tokens, width] a row."""
        return self._states


def walk_blocks(
    model: Transformer, rows: Sequence[Sequence[int]], progress: Progress | None = None
) -> Iterator[BlockRun]:
    """Each layer in order; once the caller goes on, the rows have passed through what it left.

    `rows` are token ids, each row no longer than the model's context. `progress` is told of each
    layer. Raises `DataError` without rows.
    """
    if not rows or not all(len(row) for row in rows):
        raise DataError("there is no calibration text", hint="give some with --calibration")
    model.eval()
    states: list[Tensor] = []
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def catch(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(args[0].detach())
        arguments.append((args[1:], named))
        raise _Caught

    handle = model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for row in rows:
            try:
                with torch.no_grad():
                    model.hidden(torch.tensor([list(row)], device=model.device))
            except _Caught:
                pass
    finally:
        handle.remove()
    with (progress or Silent()).task("layers", len(model.layers)) as task:
        for index, block in enumerate(model.layers):
            assert isinstance(block, Block)
            run = BlockRun(index, block, states, arguments)
            yield run
            task.advance()
            if index + 1 < len(model.layers):
                states = run.observe({})


def linears(block: nn.Module) -> dict[str, nn.Linear]:
    """The projections of a layer by name (`self_attn.q_proj`, …)."""
    return {name: m for name, m in block.named_modules() if isinstance(m, nn.Linear)}


def calibration_rows(
    encode: Callable[[str], Sequence[int]], texts: Sequence[str], *, count: int, length: int
) -> list[list[int]]:
    """At most `count` rows of `length` tokens: the texts end to end, evenly spread over them.

    Texts shorter than one row in all make one shorter row.
    """
    tokens: list[int] = []
    for text in texts:
        tokens += encode(text)
    whole = len(tokens) // length
    if whole == 0:
        return [tokens] if tokens else []
    taken = min(count, whole)
    starts = [i * whole // taken * length for i in range(taken)]
    return [tokens[start : start + length] for start in starts]
