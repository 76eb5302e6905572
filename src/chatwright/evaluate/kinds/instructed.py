"""Tasks whose answers a program can check, instruction by instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatwright.evaluate.instructions import follow, instruction_prompt
from chatwright.evaluate.kinds.base import Bench, Said, Scored, choose_metrics, values_of
from chatwright.evaluate.kinds.generated import answer_lines, ask
from chatwright.evaluate.results import Metric
from chatwright.evaluate.tasks.schema import Task, TaskSpec

_METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "prompt_strict",
            "every instruction, strict",
            "higher",
            "share",
            "prompts all of whose instructions the answer follows",
        ),
        Metric(
            "instruction_strict",
            "each instruction, strict",
            "higher",
            "share",
            "instructions that the answers follow",
        ),
        Metric(
            "prompt_loose",
            "every instruction, loose",
            "higher",
            "share",
            "as strict, where the answer may be framed by a sentence or by asterisks",
        ),
        Metric(
            "instruction_loose",
            "each instruction, loose",
            "higher",
            "share",
            "as strict, where the answer may be framed by a sentence or by asterisks",
        ),
    )
}


class InstructionsKind:
    """Instruction following in the manner of IFEval (Zhou et al. 2023, arXiv:2311.07911)."""

    def metrics(self, spec: TaskSpec) -> list[Metric]:
        return choose_metrics(spec, _METRICS, tuple(_METRICS))

    def run(self, bench: Bench, task: Task) -> Said:
        return ask(bench, task)

    def score(self, task: Task, answers: Mapping[str, dict[str, Any]]) -> Scored:
        items = [item for item in task.items if item.id in answers]
        held = {
            item.id: follow(
                instruction_prompt({"key": item.id, **item.fields}, item.where),
                answers[item.id]["texts"][0],
            )
            for item in items
        }
        columns = {
            "prompt_strict": lambda f: (float(all(f.strict)), 1.0),
            "prompt_loose": lambda f: (float(all(f.loose)), 1.0),
            "instruction_strict": lambda f: (float(sum(f.strict)), float(len(f.strict))),
            "instruction_loose": lambda f: (float(sum(f.loose)), float(len(f.loose))),
        }
        values = {
            metric.name: values_of(items, lambda i, n=metric.name: columns[n](held[i.id]))  # type: ignore[misc]
            for metric in self.metrics(task.spec)
        }
        lines = answer_lines(items, answers)
        for item in items:
            names = item.fields["instruction_id_list"]
            lines[item.id]["followed"] = dict(zip(names, held[item.id].strict, strict=True))
        return Scored(values, lines)
