"""What a recipe's stage is: typed settings in, one result on disk out.

Rooms describe their stages with these types (`collect/stages.py`, `train/stages.py`, …);
`build.py` decides which to run, in what order, and where the results go.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from chatwright.progress import Progress, Silent
from chatwright.records import DatasetWriter, Parent, Row, write_dataset
from chatwright.version import __version__
from chatwright.workspace import Workspace

OutputKind = Literal["datasets", "models", "assistants", "runs"]


class Settings(BaseModel):
    """Base of everything that a recipe may say: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StageSettings(Settings):
    """Settings of one stage. `references` names the fields that hold other stages' names.

    Such a field holds a string, a list of strings, a mapping to strings or None. A string that is
    not a stage of the recipe stays what it is (a model alias, a dataset of the workspace); the
    runner resolves it.
    """

    references: ClassVar[tuple[str, ...]] = ()

    def referenced(self) -> list[str]:
        names: list[str] = []
        for name in self.references:
            value = getattr(self, name)
            if isinstance(value, str):
                names.append(value)
            elif isinstance(value, (list, tuple)):
                names.extend(value)
            elif isinstance(value, dict):
                names.extend(value.values())
        return names


@dataclass(slots=True)
class StageContext:
    """Where a stage reads and writes.

    `output` must appear whole or not at all (`records.atomic`). `scratch` survives interruption:
    training state and logs live there. `inputs` maps each referenced stage to its result.
    """

    recipe: str
    stage: str
    seed: int
    output: Path
    scratch: Path
    fingerprint: str
    workspace: Workspace
    inputs: dict[str, Path] = field(default_factory=dict)
    parents: list[Parent] = field(default_factory=list)
    progress: Progress = field(default_factory=Silent)

    def dataset_path(self, name: str) -> Path:
        """The dataset that a setting names: another stage's result, or one of the workspace."""
        return self.inputs[name] if name in self.inputs else self.workspace.dataset(name)

    def write_rows(
        self, row_type: type[Row], settings: StageSettings
    ) -> AbstractContextManager[DatasetWriter]:
        """The writer of the dataset that this stage is for (`records.write_dataset`)."""
        return write_dataset(
            self.output,
            row_type,
            stage=self.stage,
            fingerprint=self.fingerprint,
            settings=settings.model_dump(mode="json"),
            parents=self.parents,
        )

    def lineage(self, settings: StageSettings, **more: Any) -> dict[str, Any]:
        """What `lineage.json` of a result says: what it is, and what made it from what."""
        return {
            "fingerprint": self.fingerprint,
            "stage": self.stage,
            "recipe": self.recipe,
            "parents": [asdict(parent) for parent in self.parents],
            "settings": settings.model_dump(mode="json"),
            "seed": self.seed,
            "chatwright": __version__,
            **more,
        }


@dataclass(frozen=True, slots=True)
class StageKind:
    """One kind of stage that a recipe can name.

    `run(settings, context)` makes the result at `context.output`. `external(settings, workspace)`
    returns what else the result depends on and the settings do not hold (digests of local files,
    the resolved revision of a hub data set); it enters the fingerprint. `revision` is raised when
    the code changes what the same settings give. `together`: started by torchrun, all processes run
    the stage; otherwise the main one does, and the others wait.
    """

    kind: str
    settings: type[StageSettings]
    run: Callable[[Any, StageContext], None]
    output: OutputKind
    revision: int = 1
    external: Callable[[Any, Workspace], Any] | None = None
    together: bool = False
