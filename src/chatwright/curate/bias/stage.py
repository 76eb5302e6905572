"""The recipe stage `bias`: an audit of a dataset as a folder of figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from chatwright.curate.bias.audit import BiasAudit, audit
from chatwright.curate.bias.count import REPLICATES
from chatwright.curate.bias.lexicon import LANGUAGES, Code, lexicons
from chatwright.curate.bias.show import as_svg, as_text
from chatwright.progress import Progress
from chatwright.records import Dataset, atomic_folder, disk_errors, file_digest
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace

FILE = "bias.json"


class BiasSettings(StageSettings):
    """Settings of `kind: bias`: who is named in `input`, how often, and with what.

    `lists` names YAML files of word lists by language, in place of ours. `seed`: default the
    recipe's.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    lists: dict[Code, str] = Field(default_factory=dict)
    replicates: int = Field(default=REPLICATES, ge=20, le=10_000)
    seed: int | None = None


def audit_dataset(
    dataset: Dataset,
    progress: Progress,
    *,
    lists: Mapping[Code, str] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> BiasAudit:
    """`audit` of a dataset's rows, with a bar."""
    with progress.task("bias", total=len(dataset)) as task:

        def rows() -> Any:
            for row in dataset.rows:
                yield row
                task.advance()

        return audit(rows(), lists=lexicons(LANGUAGES, lists), seed=seed, replicates=replicates)


def run_bias(settings: BiasSettings, context: StageContext) -> None:
    """`bias.json`, `bias.txt` and a picture for each language in which something was found."""
    dataset = Dataset.open(context.dataset_path(settings.input))
    found = audit_dataset(
        dataset,
        context.progress,
        lists=dict(settings.lists),
        seed=context.seed if settings.seed is None else settings.seed,
        replicates=settings.replicates,
    )
    about = context.lineage(settings, dataset=settings.input, audit=found.to_json())
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")
        (folder / "bias.txt").write_text(as_text(found), encoding="utf-8")
        for language in LANGUAGES:
            picture = as_svg(found, language)
            if picture:
                (folder / f"bias-{language}.svg").write_text(picture, encoding="utf-8")


def _digests(settings: BiasSettings, workspace: Workspace) -> Any:
    """Word lists of one's own enter the fingerprint."""
    from pathlib import Path

    paths = {code: Path(path) for code, path in settings.lists.items()}
    return {code: file_digest(path) if path.is_file() else None for code, path in paths.items()}


BIAS = StageKind("bias", BiasSettings, run_bias, "runs", external=_digests)
