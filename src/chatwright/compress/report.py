"""The table before and after, the same as JSON, and a compressed model's card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from chatwright.compress.settings import QUANTISING, CompressSettings, option, said
from chatwright.version import __version__

if TYPE_CHECKING:
    from chatwright.compress.measure import Measured
    from chatwright.evaluate import Evaluation

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class Report:
    """What compression changed. `tasks` is the evaluation of both, where tasks were asked for."""

    reference: str
    path: str
    settings: CompressSettings
    facts: Mapping[str, Any]
    before: Measured | None = None
    after: Measured | None = None
    text: str | None = None
    tasks: Evaluation | None = None

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Figure, before, after, change; empty where nothing was measured."""
        one, two = self.before, self.after
        rows: list[tuple[str, str, str, str]] = []
        if one is not None and two is not None:
            tokens = f" on {one.tokens:,} tokens" if one.tokens else ""
            rows = [
                ("weights on disk", *_compared(one.file_bytes, two.file_bytes, _bytes)),
                ("numbers stored", *_compared(one.parameters, two.parameters, _count)),
                ("zeros in projections", f"{one.zeros:.1%}", f"{two.zeros:.1%}", ""),
                ("weights in PyTorch", *_compared(one.weight_bytes, two.weight_bytes, _bytes)),
                ("memory while answering", *_compared(one.peak_bytes, two.peak_bytes, _bytes)),
                (
                    "tokens a second",
                    *_compared(one.tokens_per_second, two.tokens_per_second, _tenth),
                ),
                (f"perplexity{tokens}", *_compared(one.perplexity, two.perplexity, _figure)),
            ]
        return rows + self._task_rows()

    def _task_rows(self) -> list[tuple[str, str, str, str]]:
        if self.tasks is None:
            return []
        scores = {model.name: model.metrics for model in self.tasks.models}
        verdicts = {c.metric: c for c in self.tasks.comparisons}
        rows = []
        for task in self.tasks.tasks:
            metric = self.tasks.metric(task.primary)
            values = [scores[label].get(metric.name) for label in (BEFORE, AFTER)]
            if any(v is None for v in values):
                continue
            share = metric.unit == "share"
            cells = [f"{v.value:.1%}" if share else _figure(v.value) for v in values if v]
            found = verdicts.get(metric.name)
            change = f"{found.verdict} (n = {task.items})" if found else f"n = {task.items}"
            rows.append((metric.title, cells[0], cells[1], change))
        return rows

    @property
    def notes(self) -> list[str]:
        """Why a figure is missing."""
        told = [
            f"{label}: {note}"
            for label, measured in ((BEFORE, self.before), (AFTER, self.after))
            if measured is not None
            for note in measured.notes
        ]
        if self.before is not None and self.text is None:
            told.append("perplexity was not measured: name a text with --text")
        elif self.text is not None:
            told.append(f"perplexity on {self.text}")
        return told

    def markdown(self) -> str:
        """The table for a card."""
        lines = ["| | before | after | change |", "|---|---|---|---|"]
        lines += [
            f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in self.rows()
        ]
        return "\n".join([*lines, "", *(f"{note[:1].upper()}{note[1:]}." for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Everything, for a program to read."""
        return {
            "model": self.reference,
            "path": self.path,
            "settings": dict(said(self.settings)),
            "facts": dict(self.facts),
            BEFORE: _plain(self.before),
            AFTER: _plain(self.after),
            "text": self.text,
            "tasks": None if self.tasks is None else self.tasks.to_json(),
        }


def model_card(reference: str, settings: CompressSettings, facts: Mapping[str, Any]) -> str:
    """`README.md` of a compressed checkpoint: what it was made from, and how."""
    options = " ".join(
        option(name) if value is True else f"{option(name)} {value}"
        for name, value in said(settings).items()
    )
    library = "gguf" if settings.method in QUANTISING else "transformers"
    if settings.method in ("low-rank", "share") and not settings.dense:
        library = "chatwright"
    return "\n".join(
        [
            "---",
            f"library_name: {library}",
            "tags: [chatwright, compressed]",
            f"base_model: {reference}",
            "---",
            "",
            f"# {reference}, compressed: {settings.method}",
            "",
            f"Made by Chatwright {__version__} from `{reference}`, whose licence holds for this "
            f"one too: `chatwright compress {reference} … {options}`.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
            "`lineage.json` names the parent and its fingerprint.",
            "",
        ]
    )


def _compared(one: Any, two: Any, show: Any) -> tuple[str, str, str]:
    if one is None or two is None:
        cells = ["not measured" if value is None else show(value) for value in (one, two)]
        return cells[0], cells[1], ""
    change = f"× {two / one:.2f}" if one and math.isfinite(two / one) else ""
    return show(one), show(two), change


def _bytes(value: float) -> str:
    return f"{value / 2**20:,.1f} MiB"


def _count(value: float) -> str:
    return f"{value:,}"


def _tenth(value: float) -> str:
    return f"{value:,.1f}"


def _figure(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 1e6 else f"{value:.3g}"


def _plain(measured: Measured | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(measured).items()
    }
