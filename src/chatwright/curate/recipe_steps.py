"""From what a recipe says to the steps of a curation, in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.curate import lists, privacy
from chatwright.curate.candidate import Step
from chatwright.curate.lang.step import make_step as language_step
from chatwright.curate.learned.step import make_step as learned_step
from chatwright.curate.learned.stored import DESCRIPTION
from chatwright.curate.measuring.step import QualityStep
from chatwright.curate.normal.step import make_step as normal_step
from chatwright.curate.page import Extract, NotEmpty
from chatwright.curate.quality import Preset
from chatwright.curate.rules import Stages
from chatwright.curate.safety.step import make_step as safety_step
from chatwright.records import file_digest
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from chatwright.curate.stages import CurateSettings


def make_stages(
    settings: CurateSettings,
    preset: Preset,
    find: Callable[[str], Path],
    *,
    of_pages: bool = True,
) -> tuple[Stages, Stages]:
    """The steps for every row, and those for a row that lost what others say as well.

    `find` gives the folder of a learned model. Models, lists and keys are read once here, so that
    what is missing stops the run before it begins: raises `UsageError` and `ModelError`.
    `of_pages`: rows are documents; a conversation is no HTML, and its lines are somebody's turns.
    """
    quality = QualityStep(preset, edit_lines=of_pages)
    # Each with whether it goes over a conversation's messages one by one.
    order: list[tuple[Step | None, bool]] = [
        (NotEmpty(), False),
        (normal_step(settings.normalise), True),
        (NotEmpty(), False),
        (language_step(settings.language_rules), False),
        (quality, False),
        (learned_step(settings.learned, find), False),
        (safety_step(settings.safety), False),
        (privacy.make_step(settings.privacy), True),
        (NotEmpty(), False),
    ]
    chosen = [(step, by_message) for step, by_message in order if step is not None]
    edits = frozenset(n for n, (_, by_message) in enumerate(chosen) if by_message)
    how = settings.extract if of_pages else "none"
    extract = Extract(how, settings.extractor, settings.page_seconds)
    first = [step for step in (lists.make_step(settings.lists), extract) if step is not None]
    steps = tuple(step for step, _ in chosen)
    return Stages(tuple(first), steps, edits), Stages((), (NotEmpty(), quality))


def external(settings: CurateSettings, workspace: Workspace) -> list[Any]:
    """What the result depends on and the settings do not hold: lists, learned models, a key.

    A model that another stage makes is a parent, and known by its fingerprint.
    """
    places = [
        place / DESCRIPTION
        for rule in settings.learned
        for place in (workspace.models / rule.model, Path(rule.model))
    ]
    return [
        lists.external(settings.lists),
        [file_digest(place) for place in places if place.is_file()],
        privacy.key_check(settings.privacy),
    ]
