"""What a recipe can ask of this room."""

from __future__ import annotations

from typing import Any, ClassVar

from chatwright.compress.settings import CompressSettings
from chatwright.errors import RecipeError, UsageError
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace


class CompressStageSettings(CompressSettings, StageSettings):
    """The settings of `kind: compress`: those of `chatwright compress`, and the model.

    `model`, `data` and `calibration` may be other stages; the recipe's seed is used.
    """

    references: ClassVar[tuple[str, ...]] = ("model", "data", "calibration")

    model: str


def run_compress(settings: CompressStageSettings, context: StageContext) -> None:
    """Make the smaller checkpoint at `context.output`."""
    from chatwright.compress.run import compress_stage

    plain = settings.model_dump(exclude={"model"}) | {"seed": context.seed}
    for name in ("data", "calibration"):
        if plain[name] in context.inputs:
            plain[name] = str(context.inputs[plain[name]])
    try:
        options = CompressSettings.checked(**plain)
    except UsageError as error:
        raise RecipeError(error.message, where=context.stage, hint=error.hint) from error
    compress_stage(settings, options, context)


def _outside(settings: CompressStageSettings, workspace: Workspace) -> Any:
    """What the result depends on beside the settings: a text file's content."""
    from pathlib import Path

    from chatwright.records import file_digest

    named = settings.calibration
    path = Path(named) if named is not None else None
    return file_digest(path) if path is not None and path.is_file() else None


STAGES = [
    StageKind("compress", CompressStageSettings, run_compress, "models", external=_outside),
]
