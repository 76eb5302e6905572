"""The model card of a trained checkpoint: facts that the run itself knows, nothing invented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatwright.records import Dataset
from chatwright.stage import StageContext
from chatwright.version import __version__

if TYPE_CHECKING:
    from chatwright.train.api import TrainResult
    from chatwright.train.stages import TrainStage

_OBJECTIVES = {
    "pretrain": "next-token prediction on documents",
    "sft": "supervised fine-tuning on conversations, loss on the assistant's tokens only",
    "reward": "a reward model: pairs of answers under the Bradley-Terry model",
    "dpo": "direct preference optimisation on pairs of answers",
    "ppo": "proximal policy optimisation on answers that the model made",
    "grpo": "group relative policy optimisation on answers that the model made",
    "distil": "distillation: the answers and probabilities of a teacher",
}
_ON_PAIRS = ("reward", "dpo")


def model_card(settings: TrainStage, context: StageContext, result: TrainResult) -> str:
    """`README.md` with the metadata block that the Hugging Face hub reads."""
    config, numbers = result.model.config, result.numbers
    base = settings.model if isinstance(settings.model, str) else None
    datasets = [(p, Dataset.open(context.dataset_path(p.data))) for p in settings.mixture]
    licenses: dict[str, int] = {}
    languages: dict[str, int] = {}
    rows = []
    for part, dataset in datasets:
        rows.append(f"| {part.data} | {len(dataset)} | {part.weight:g} | `{dataset.fingerprint}` |")
        table = dataset.table(["license", "language"])
        for column, counts in (("license", licenses), ("language", languages)):
            for value in table[column].to_pylist():
                counts[value or "unknown"] = counts.get(value or "unknown", 0) + 1
    dropped = sum(entry.action == "drop" for entry in result.ledger)
    cut = sum(entry.action == "edit" for entry in result.ledger)
    facts = {
        "objective": _OBJECTIVES[settings.objective],
        "starts from": f"`{base}`" if base else "random weights",
        "parameters": f"{config.n_parameters:,}",
        "shape": f"{config.n_layers} layers, width {config.width}, {config.n_heads} heads, "
        f"vocabulary {config.vocab_size:,}, context {config.context:,}",
        "adapters": (
            f"LoRA rank {settings.lora.rank}, alpha {settings.lora.alpha:g}, merged "
            "(alone in `adapter/`)"
            if settings.lora
            else "none: all weights were trained"
        ),
        "steps": _steps(settings, result),
        "tokens": _tokens(settings, result),
        "learning rate": f"{numbers.learning_rate:g} at its peak, schedule {settings.schedule}",
        "precision": str(numbers.dtype).removeprefix("torch."),
        "seed": str(context.seed),
        "training loss": _losses(result),
        "validation loss": (
            "not measured" if result.validation_loss is None else f"{result.validation_loss:.4f}"
        ),
        "rows left out": f"{dropped} (and {cut} cut); reasons in `ledger/`"
        if result.ledger
        else "none",
    }
    meta = ["---", "library_name: transformers", "tags: [chatwright]"]
    if base:
        meta.append(f"base_model: {base}")
    meta.append("---")
    return "\n".join(
        [
            *meta,
            "",
            f"# {context.recipe}/{context.stage}",
            "",
            f"Made by Chatwright {__version__}; every fact below was recorded by the training run.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
            "## Data",
            "",
            "| dataset | rows | weight | fingerprint |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Licences of the rows: {_counts(licenses)}. Languages: {_counts(languages)}.",
            "",
            "`lineage.json` names the parents, `metrics.jsonl` holds every step.",
            "",
        ]
    )


def _steps(settings: TrainStage, result: TrainResult) -> str:
    """How many, and what one of them takes."""
    numbers, steps = result.numbers, f"{result.steps:,}"
    if settings.objective in _ON_PAIRS:
        return f"{steps}, of about {result.supervised_tokens / max(1, result.steps):.0f} pairs each"
    if settings.objective in ("ppo", "grpo"):
        rl = settings.ppo if settings.objective == "ppo" else settings.grpo
        return (
            f"{steps}; {rl.prompts * rl.answers} answers are learnt from in "
            f"{rl.steps_per_iteration} steps"
        )
    return f"{steps} of at most {numbers.batch_tokens:,} tokens"


def _tokens(settings: TrainStage, result: TrainResult) -> str:
    if settings.objective in _ON_PAIRS:
        return f"{result.tokens:,} in {result.supervised_tokens:,} pairs"
    return f"{result.tokens:,}, of which {result.supervised_tokens:,} carried loss"


def _losses(result: TrainResult) -> str:
    losses = [float(line["loss"]) for line in result.metrics]
    few = max(1, len(losses) // 20)
    first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
    return f"{first:.4f} over the first {few} steps, {last:.4f} over the last {few}"


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
