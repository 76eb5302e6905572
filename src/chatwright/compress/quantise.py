"""A model's matrices as small integers, in the blocks that llama.cpp and our engine run.

The integers are chosen by rounding to nearest, with AWQ (`awq.py`) or with GPTQ (`gptq.py`); the
grids that they lie on are ggml's (`grids.py`), so what comes out is a GGUF file like any other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chatwright.compress.awq import Inputs, fold_scales
from chatwright.compress.calibration import calibration_texts
from chatwright.compress.gptq import gptq
from chatwright.compress.grids import BLOCK, BlockKind, Grid, output_error, round_to_nearest
from chatwright.compress.layerwise import BlockRun, calibration_rows, linears, walk_blocks
from chatwright.errors import ModelError, UsageError
from chatwright.model.compact import densify
from chatwright.model.gguf_write import Kind, write_gguf
from chatwright.model.lora import lora_parameters
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress, Silent
from chatwright.records import atomic_folder, disk_errors
from chatwright.tokenizer import Tokenizer

Method = Literal["int8", "int4"]
Calibrate = Literal["none", "awq", "gptq"]
Granularity = Literal["channel", "group"]

# Calibration text that is used at most: rows of so many tokens. GPTQ's paper takes 128 of 2,048.
ROWS, ROW_LENGTH = 64, 256
# Matrices that see the same inputs, by the one that is watched.
_WATCHED = {
    "self_attn.q_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised model.

    `model` holds the numbers that the blocks stand for, float32 (with AWQ also what moved into its
    norms), so it answers as the file will. `blocks` are the matrices by parameter name: kind and
    bytes, uint8 [rows, bytes]. `settings` say how they were made. `errors`, on calibration text:
    for each matrix its outputs' squared error as a part of their square, 0 for none.
    """

    model: Transformer
    tokenizer: Tokenizer
    settings: dict[str, Any]
    blocks: dict[str, tuple[Kind, Tensor]]
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What the weights take, quantised or not."""
        others = (p for n, p in self.model.named_parameters() if n not in self.blocks)
        return sum(data.numel() for _, data in self.blocks.values()) + 4 * sum(
            p.numel() for p in others
        )

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        lineage: Mapping[str, Any] | None = None,
        card: str | None = None,
        general: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write `folder` whole or not at all; what stood there is replaced.

        `model.gguf`, which llama.cpp runs and `load_model` opens (by the folder too);
        `config.json` and the tokenizer's files, for programs that look at these;
        `lineage.json` with the settings added under `quantisation`; `README.md` from `card`.
        `general` are further metadata of the file (`general.license`, …).
        """
        target = Path(folder)
        own = {"general.name": target.name, **(general or {})}
        if lineage is not None and isinstance(lineage.get("fingerprint"), str):
            own["chatwright.fingerprint"] = lineage["fingerprint"]
        kinds = [kind for name, (kind, _) in self.blocks.items() if name.startswith("layers.")]
        with disk_errors(target), atomic_folder(target) as partial:
            write_gguf(
                self.model,
                self.tokenizer,
                partial / "model.gguf",
                kinds[0] if kinds else "F16",
                blocks=self.blocks,
                general=own,
            )
            self.tokenizer.save(partial)
            config = json.dumps(self.model.config.to_hf(), indent=2) + "\n"
            (partial / "config.json").write_text(config, encoding="utf-8")
            said = {**(lineage or {}), "quantisation": self.settings}
            text = json.dumps(said, indent=2, ensure_ascii=False, default=str) + "\n"
            (partial / "lineage.json").write_text(text, encoding="utf-8")
            if card is not None:
                (partial / "README.md").write_text(card, encoding="utf-8")
        return target


def quantise_model(
    model: Transformer,
    tokenizer: Tokenizer,
    method: Method,
    *,
    calibrate: Calibrate = "none",
    group: int = 32,
    granularity: Granularity = "group",
    symmetric: bool = False,
    calibration: Sequence[str] = (),
    embedding: Literal["int8", "same"] = "int8",
    damping: float = 0.01,
    order: bool = False,
    progress: Progress | None = None,
) -> Quantised:
    """`model` with its matrices rounded to `method`; the model handed in stays as it is.

    int8 becomes Q8_0 blocks; int4 becomes Q4_1 (a scale and an offset for each `group`), with
    `symmetric` Q4_0 (a scale). Blocks hold 32 numbers: a larger group is several blocks with one
    scale, and with `granularity` "channel" a row has one scale.

    `calibrate` chooses the integers: "none" rounds to nearest; "awq" and "gptq" look at what the
    matrices see on `calibration` texts (the built-in sample where there are none), layer after
    layer, each behind the quantised ones before it. `damping` and `order` are GPTQ's.

    Embedding and head stay at 8 bits in an int4 model unless `embedding` is "same": the head
    decides every token directly, no later layer makes good for its errors, and in a small model
    with a large vocabulary the tied embedding is both.

    Raises `UsageError` for settings that make no sense, `ModelError` for weights that do not fit.
    """
    grid = _grid(method, group, granularity, symmetric)
    for value, known in ((calibrate, ("none", "awq", "gptq")), (embedding, ("int8", "same"))):
        if value not in known:
            raise UsageError(f"there is no {value!r} here", hint=f"one of {', '.join(known)}")
    if lora_parameters(model):
        raise ModelError("the model has LoRA adapters that are not merged", hint="merge them first")
    work = densify(model).float().cpu().eval()
    work.requires_grad_(False)
    settings: dict[str, Any] = {
        "method": method,
        "calibrate": calibrate,
        "type": grid.kind,
        "granularity": granularity,
        "group": grid.group,
        "symmetric": not grid.offset,
        "embedding": embedding,
    }
    made = Quantised(work, tokenizer, settings, {})
    progress = progress or Silent()
    rows: list[list[int]] = []
    if calibrate != "none":
        rows = _rows(work, tokenizer, calibration)
        settings["calibration"] = "given texts" if calibration else "built-in sample"
        settings |= {"calibration_rows": len(rows), "calibration_tokens": sum(map(len, rows))}
    if calibrate == "gptq":
        settings |= {"damping": damping, "order": order}
    with torch.no_grad(), progress.task("quantise", work.config.n_layers) as bar:
        for run in walk_blocks(work, rows) if calibrate != "none" else ():
            _quantise_calibrated(made, run, grid)
            bar.advance()
        for index, block in enumerate(work.layers if calibrate == "none" else ()):
            for name, linear in linears(block).items():
                _store(made, f"layers.{index}.{name}.weight", linear, grid)
            bar.advance()
        outer = grid if method == "int8" or embedding == "same" else Grid("Q8_0")
        _store(made, "embed_tokens.weight", work.embed_tokens, outer)
        if work.lm_head is not None:
            _store(made, "lm_head.weight", work.lm_head, outer)
    return made


def _grid(method: str, group: int, granularity: str, symmetric: bool) -> Grid:
    if method not in ("int8", "int4"):
        raise UsageError(f"there is no method {method!r}", hint="int8 or int4")
    if granularity not in ("channel", "group"):
        raise UsageError(f"granularity is channel or group, not {granularity!r}")
    if isinstance(group, bool) or not isinstance(group, int) or group < BLOCK or group % BLOCK:
        raise UsageError(f"a group is a multiple of {BLOCK} inputs, not {group!r}", where="group")
    kind: BlockKind = "Q8_0" if method == "int8" else "Q4_0" if symmetric else "Q4_1"
    return Grid(kind, None if granularity == "channel" else group)


def _quantise_calibrated(made: Quantised, run: BlockRun, grid: Grid) -> None:
    """Round one layer's matrices, knowing what they see behind the layers rounded before."""
    seen = _observe(run)
    if made.settings["calibrate"] == "awq":
        fold_scales(run.block, seen, grid)
    for watched, users in _WATCHED.items():
        for name in users:
            key = f"layers.{run.index}.{name}.weight"
            _store(made, key, run.block.get_submodule(name), grid, seen[watched].moment)


def _store(
    made: Quantised, key: str, module: nn.Module, grid: Grid, moment: Tensor | None = None
) -> None:
    """Round a module's matrix, keep its blocks, and put into it what they stand for."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if weight.shape[1] % BLOCK:  # no whole blocks: stored as float16
        weight.copy_(weight.half().float())
        return
    settings = made.settings
    if moment is not None and settings["calibrate"] == "gptq":
        damping, order = settings["damping"], settings["order"]
        rounded = gptq(weight, moment, grid, damping=damping, order=order)
    else:
        rounded = round_to_nearest(weight, grid, moment)
    try:
        made.blocks[key] = (rounded.kind, rounded.blocks())
    except ValueError as error:
        raise ModelError(str(error), where=key, hint="the weights are broken") from error
    values = rounded.values()
    if moment is not None:
        whole, lost = output_error(weight, moment), output_error(values - weight, moment)
        made.errors[key] = lost / whole if whole > 0 else 0.0
    weight.copy_(values)


def _rows(model: Transformer, tokenizer: Tokenizer, calibration: Sequence[str]) -> list[list[int]]:
    texts = calibration or calibration_texts(None)
    length = min(ROW_LENGTH, model.config.context)
    return calibration_rows(tokenizer.encode, texts, count=ROWS, length=length)


class _Sum:
    """Adds up, row by row, what a matrix sees."""

    def __init__(self) -> None:
        self.count = 0
        self.moment: Tensor | float = 0.0
        self.size: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        """`x` is [tokens, features]."""
        self.count += len(x)
        self.moment = self.moment + (x.T @ x).double()
        self.size = self.size + x.abs().sum(dim=0, dtype=torch.float64)

    def inputs(self) -> Inputs:
        assert isinstance(self.moment, Tensor) and isinstance(self.size, Tensor)
        return Inputs((self.moment / self.count).float(), (self.size / self.count).float())


def _observe(run: BlockRun) -> dict[str, Inputs]:
    """What a layer's matrices see, by the one of `_WATCHED`."""
    sums = {name: _Sum() for name in _WATCHED}
    run.observe({run.block.get_submodule(name): one.add for name, one in sums.items()})
    return {name: one.inputs() for name, one in sums.items()}
