"""The peers of `train.py`: TRL's `SFTTrainer` with PEFT, and `Trainer`, in their environment.

`python _train_hf.py PART SETTINGS`, with PART `lora` (TRL) or `pretrain` (transformers). Both take
the rows in the file's order; everything that is not named here is at its default. The last line
printed is JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _train_data import ROWS_PER_STEP


def arguments(settings: dict[str, Any], scratch: str, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": scratch,
        "per_device_train_batch_size": ROWS_PER_STEP,
        "max_steps": settings["steps"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
        "bf16": settings["precision"] == "bf16",
        **more,
    }


def rows(settings: dict[str, Any]) -> tuple[Any, list[int]]:
    """The data set, and how many tokens of each row are predicted from."""
    from datasets import Dataset

    found = json.loads((Path(settings["folder"]) / "rows.json").read_text())
    return Dataset.from_list(found), [len(row["input_ids"]) - 1 for row in found]


def clock(stop_after: int) -> Any:
    """A callback that notes when each step begins and ends, and its loss, and stops early."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.losses: list[float] = []
            self.processor: list[float] = []
            self.begun = self.busy = 0.0

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun, self.busy = time.perf_counter(), time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            self.seconds.append(time.perf_counter() - self.begun)
            self.processor.append(time.process_time() - self.busy)
            control.should_training_stop = state.global_step >= stop_after
            return control

        def on_log(self, *args: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    return Clock()


def lora(settings: dict[str, Any], scratch: str) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder = Path(settings["folder"])
    # In bfloat16 as it is stored, its default; autocast does the rest.
    dtype = "auto" if settings["precision"] == "bf16" else "float32"
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
    # The same fresh adapter as ours, so that the losses can be compared step by step.
    model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    more = {"gradient_checkpointing": settings["checkpointing"]}
    config = SFTConfig(**arguments(settings, scratch, max_length=512, learning_rate=5e-4, **more))
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=rows(settings)[0],
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )


def pretrain(settings: dict[str, Any], scratch: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    folder = Path(settings["folder"])
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    config = TrainingArguments(**arguments(settings, scratch, learning_rate=1e-3))
    return Trainer(model=model, args=config, train_dataset=rows(settings)[0])


def main() -> None:
    part, settings = sys.argv[1], json.loads(sys.argv[2])
    import torch

    torch.set_num_threads(settings["threads"])
    # The schedule is for `steps` steps; the run ends before.
    warm = settings["warm"]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = {"lora": lora, "pretrain": pretrain}[part](settings, scratch)
        watched = clock(settings["stop_after"])
        trainer.add_callback(watched)
        trainer.train()
    lengths = rows(settings)[1]
    tokens = [
        sum(lengths[i * ROWS_PER_STEP : (i + 1) * ROWS_PER_STEP])
        for i in range(len(watched.seconds))
    ]
    found = {
        "tokens_per_second": sum(tokens[warm:]) / (sum(watched.seconds[warm:]) or float("inf")),
        "step_tokens": tokens,
        "step_seconds": watched.seconds,
        "processor_seconds": watched.processor,
        "losses": watched.losses,
        "tokens": sum(tokens),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
