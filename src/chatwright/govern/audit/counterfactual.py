"""Counterfactual generation: the same prompt about another group, and what the model makes of it.

After Sheng et al. 2019 ("The Woman Worked as a Babysitter"), Huang et al. 2020 ("Reducing Sentiment
Bias … via Counterfactual Evaluation") and Dhamala et al. 2021 (BOLD). Prompts lie in
`templates/*.yaml`. Every group of an axis gets the same prompts with the same seeds, so that rows
are matched; only what the model adds is scored, never the prompt, whose group words a classifier
may itself be biased about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from chatwright.errors import UsageError
from chatwright.evaluate.journal import Journal
from chatwright.evaluate.statistics import bootstrap
from chatwright.govern.audit.permutation import group_gap, holm
from chatwright.govern.audit.results import Bias, GroupGap, TemplateGap
from chatwright.progress import Task

if TYPE_CHECKING:
    from chatwright.generate import Engine

LANGUAGES = ("en", "zh")
Scorer = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt about one group; `repetition` counts the seeds that it is continued with."""

    language: str
    axis: str
    template: str
    group: str
    repetition: int
    text: str

    @property
    def id(self) -> str:
        parts = (self.language, self.axis, self.template, self.group, str(self.repetition))
        return "/".join(parts)

    def seed(self, seed: int) -> int:
        """Of the sampler: the same for every group of the axis."""
        name = f"{seed}:{self.language}/{self.axis}/{self.template}/{self.repetition}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")


@cache
def _templates(language: str) -> dict[str, Mapping[str, object]]:
    from ruamel.yaml import YAML

    if language not in LANGUAGES:
        raise UsageError(
            f"there are no bias prompts in {language!r}",
            where="bias_languages",
            hint=f"there are prompts in {', '.join(LANGUAGES)}",
        )
    file = resources.files("chatwright.govern.audit") / "templates" / f"{language}.yaml"
    return dict(YAML(typ="safe").load(file.read_text(encoding="utf-8")))


def prompts(languages: Sequence[str], repetitions: int) -> list[Prompt]:
    """Every prompt of every group, axis after axis. Raises `UsageError` for another language."""
    found = []
    for language in languages:
        raw = _templates(language)
        for axis, groups in raw["axes"].items():
            for template, text in raw["prompts"].items():
                for group, words in groups.items():  # type: ignore[attr-defined]
                    name = words["group"]
                    filled = str(text).format(
                        group=name,
                        Group=name[0].upper() + name[1:],
                        pronoun=words.get("pronoun", raw["pronoun"]),
                    )
                    found += [
                        Prompt(language, axis, template, group, number, filled)
                        for number in range(repetitions)
                    ]
    return found


def continue_all(
    engine: Engine,
    asked: Sequence[Prompt],
    *,
    seed: int,
    max_tokens: int,
    model: str,
    journal: Journal,
    task: Task,
) -> dict[str, str]:
    """What the model writes on after each prompt (id → text), sampled at temperature 1.

    Plain text and no chat: an assistant asked about a group answers in set phrases, and the
    associations that this is about show in what is thought likely.
    """
    from chatwright.generate.params import SamplingParams

    found: dict[str, str] = {}
    requests = []
    try:
        for prompt in asked:
            known = journal.get(model, "bias", prompt.id)
            if known is not None:
                found[prompt.id] = known["text"]
                task.advance()
                continue
            params = SamplingParams(
                temperature=1.0, top_p=0.95, max_tokens=max_tokens, seed=prompt.seed(seed)
            )
            requests.append((prompt, engine.submit(engine.tokenizer.encode(prompt.text), params)))
        for prompt, request in requests:
            text = request.result().text
            journal.add(model, "bias", {prompt.id: {"text": text}})
            found[prompt.id] = text
            task.advance()
    finally:
        for _, request in requests:
            request.cancel()
    return found


def measure(
    asked: Sequence[Prompt],
    said: Mapping[str, str],
    scorers: Mapping[str, Scorer],
    *,
    seed: int = 0,
) -> Bias:
    """The gap between groups for each measure, axis and language, with its test.

    An empty continuation says nothing about anybody and scores 0.
    """
    gaps: list[GroupGap] = []
    keys = list(dict.fromkeys((p.language, p.axis) for p in asked))
    for language, axis in keys:
        inside = [p for p in asked if (p.language, p.axis) == (language, axis)]
        groups = list(dict.fromkeys(p.group for p in inside))
        blocks = list(dict.fromkeys((p.template, p.repetition) for p in inside))
        place = {(p.template, p.repetition, p.group): said[p.id] for p in inside}
        for measure_name, score in scorers.items():
            values = np.array(
                [
                    [score(t) if (t := place[(*block, g)]).strip() else 0.0 for g in groups]
                    for block in blocks
                ]
            )
            found = group_gap(values, seed=seed)
            gaps.append(
                GroupGap(
                    language=language,
                    axis=axis,
                    measure=measure_name,
                    groups={
                        group: bootstrap(values[:, column], seed=seed)
                        for column, group in enumerate(groups)
                    },
                    gap=found.estimate,
                    chance=found.chance,
                    p_value=found.p_value,
                    adjusted=1.0,
                    templates=_by_template(values, [t for t, _ in blocks], groups),
                )
            )
    for gap, adjusted in zip(gaps, holm([g.p_value for g in gaps]), strict=True):
        gap.adjusted = adjusted
    empty = sum(not text.strip() for text in said.values())
    return Bias(generations=len(said), empty=empty, gaps=gaps)


def _by_template(
    values: np.ndarray, templates: Sequence[str], groups: Sequence[str]
) -> list[TemplateGap]:
    """Each prompt by itself: where does the difference come from? The largest first."""
    found = []
    for template in dict.fromkeys(templates):
        rows = [i for i, name in enumerate(templates) if name == template]
        means = values[rows].mean(axis=0)
        top, bottom = int(means.argmax()), int(means.argmin())
        gap = round(float(means[top] - means[bottom]), 6)
        found.append(TemplateGap(template, groups[top], groups[bottom], gap))
    return sorted(found, key=lambda t: (-t.gap, t.template))


def default_scorers() -> dict[str, Scorer]:
    """Sentiment (−1 … 1) and toxicity (0 … 1) by the classifiers of the curation room."""
    from chatwright.curate.textmodels import sentiment, toxicity

    return {"sentiment": sentiment, "toxicity": toxicity}
