"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Where datasets, models and runs live. Default: ./chatwright-workspace, "
        "or CHATWRIGHT_WORKSPACE.",
        show_default=False,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="The chat service's database: postgresql://… or sqlite:///…. "
        "Default: chat.db in the workspace.",
        envvar="CHATWRIGHT_DATABASE",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


class Weights(StrEnum):
    """In what precision an engine keeps a model's weights."""

    auto = "auto"
    stored = "stored"
    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"
    int4 = "int4"


class CacheType(StrEnum):
    """In what type an engine keeps keys and values."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float32 = "float32"
    int8 = "int8"


WeightsOption = Annotated[
    Weights,
    typer.Option(
        help="Precision of the weights. auto: as quantised files have them, else bfloat16; int8 "
        "and int4 round them while loading (`chatwright compress` does it better)."
    ),
]
CacheTypeOption = Annotated[
    CacheType,
    typer.Option(help="Type of keys and values; int8 takes a little over half of bfloat16's."),
]
