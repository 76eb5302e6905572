"""Multiple-choice benchmarks: Chatwright beside lm-evaluation-harness, the same items and weights.

    script/bench evaluate [--limit N] [--precision bfloat16|float32] [--rounds 2] [--batch 16]

Both score ARC-Easy, 500 items of HellaSwag and PIQA with the same prompts (written out by our
renderer and read by a task file of theirs), in the same precision, on the same threads. Each round
runs ours, then theirs where it is the first, so that a machine that slows down slows both. Needs
CHATWRIGHT_DATA. The peer gets an environment of its own below `.bench/`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import ROOT, machine, must, report

PEER = "lm-eval[hf]==0.4.13"
TASKS = {"arc_easy": None, "hellaswag": 500, "piqa": None}
MODEL = "smollm2-135m-instruct"

# Run by the peer's own Python: one task at a time, so that each has its own seconds.
DRIVER = """
import json, sys, time
import torch
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

settings = json.loads(sys.argv[1])
torch.set_num_threads(settings["threads"])
model = HFLM(pretrained=settings["model"], dtype=settings["precision"], device="cpu",
             batch_size=settings["batch"])
manager = TaskManager(include_path=settings["tasks"], include_defaults=False)
out = {}
for name in settings["names"]:
    started = time.monotonic()
    found = lm_eval.simple_evaluate(model=model, tasks=[name], task_manager=manager,
                                    log_samples=True, bootstrap_iters=0)
    seconds = time.monotonic() - started
    samples = sorted(found["samples"][name], key=lambda s: s["doc_id"])
    # A choice's logged answer is (log-likelihood, greedy), some versions with one more list around.
    plain = lambda r: r[0] if isinstance(r[0], (list, tuple)) else r
    out[name] = {
        "seconds": seconds,
        "logprobs": [[float(plain(r)[0]) for r in s["filtered_resps"]] for s in samples],
        "acc": found["results"][name]["acc,none"],
        "acc_norm": found["results"][name]["acc_norm,none"],
    }
with open(settings["out"], "w") as file:
    json.dump(out, file)
"""
YAML = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
target_delimiter: " "
metric_list:
  - {{metric: acc}}
  - {{metric: acc_norm}}
"""


def peer_python() -> Path:
    """An environment that holds the peer; made once."""
    folder = ROOT / ".bench" / "lm-eval"
    python = folder / "bin" / "python"
    there = python.exists() and not subprocess.call([python, "-c", "import lm_eval"])
    if not there:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "torch", PEER],
            check=True,
        )
    return python


def load_tasks(limit: int | None) -> dict[str, Any]:
    from chatwright.evaluate.tasks import load_task, read_task_file, task_files

    tasks = {}
    for name, most in TASKS.items():
        path = task_files()[name]
        count = min(most or limit or 10**9, limit or 10**9) if (most or limit) else None
        tasks[name] = load_task(path, read_task_file(path), limit=count)
    return tasks


def ours(tasks: dict[str, Any], model_path: Path, precision: str) -> dict[str, Any]:
    """Our side, with nothing cached."""
    import torch

    from chatwright.evaluate.answers import AnswerCache
    from chatwright.evaluate.kinds import KINDS, Bench
    from chatwright.generate import Engine
    from chatwright.model import load_model
    from chatwright.progress import Silent

    model, tokenizer = load_model(model_path, dtype=getattr(torch, precision))
    out = {}
    with Engine(model, tokenizer) as engine, AnswerCache(None) as cache:
        for name, task in tasks.items():
            bench = Bench("ours", f"bench {time.monotonic()}", engine, cache, Silent())
            started = time.monotonic()
            said = KINDS["choice"].run(bench, task)
            scored = KINDS["choice"].score(task, said.answers)
            seconds = time.monotonic() - started
            out[name] = {
                "seconds": seconds,
                "logprobs": [scored.lines[i.id]["logprobs"] for i in task.items],
                "acc": statistics.mean(v[0] for v in scored.values["acc"].values()),
                "acc_norm": statistics.mean(v[0] for v in scored.values["acc_norm"].values()),
            }
    return out


def theirs(
    tasks: dict[str, Any], folder: Path, model: Path, precision: str, batch: int, threads: int
) -> dict[str, Any]:
    python = peer_python()
    for name, task in tasks.items():
        lines = []
        for item in task.items:
            answers = [answer for _, answer in item.options]
            assert answers == [f" {choice}" for choice in item.choices]
            lines.append(
                json.dumps(
                    {
                        "context": item.options[0][0],
                        "choices": list(item.choices),
                        "gold": item.gold,
                    }
                )
            )
        file = folder / f"{name}.jsonl"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / f"{name}.yaml").write_text(YAML.format(name=f"bench_{name}", file=file))
    out = folder / "theirs.json"
    settings = {
        "model": str(model),
        "precision": precision,
        "batch": batch,
        "threads": threads,
        "tasks": str(folder),
        "names": [f"bench_{name}" for name in tasks],
        "out": str(out),
    }
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    subprocess.run(
        [python, "-c", DRIVER, json.dumps(settings)], check=True, env=environment, cwd=folder
    )
    found = json.loads(out.read_text())
    return {name: found[f"bench_{name}"] for name in tasks}


def best(logprobs: list[list[float]]) -> list[int]:
    return [max(range(len(row)), key=row.__getitem__) for row in logprobs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="at most so many items of each task")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--rounds", type=int, default=2, help="runs of our side; the median counts")
    parser.add_argument("--batch", type=int, default=16, help="the peer's batch size")
    args = parser.parse_args()
    if not os.environ.get("CHATWRIGHT_DATA"):
        parser.error("set CHATWRIGHT_DATA to the folder of public data sets")
    import torch

    from chatwright.model import load_model, save_model

    about = machine() | {"threads": torch.get_num_threads()}
    tasks = load_tasks(args.limit)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, tokenizer = load_model(MODEL, dtype=getattr(torch, args.precision))
        save_model(model, tokenizer, folder / "model")
        del model
        rounds = [ours(tasks, folder / "model", args.precision)]
        peer = theirs(tasks, folder, folder / "model", args.precision, args.batch, about["threads"])
        rounds += [ours(tasks, folder / "model", args.precision) for _ in range(args.rounds - 1)]
    figures: dict[str, Any] = {"precision": args.precision, "peer": PEER, "peer_batch": args.batch}
    ratios: dict[str, Any] = {}
    agreed = items = 0
    totals = [0.0, 0.0]
    for name, task in tasks.items():
        seconds = statistics.median(r[name]["seconds"] for r in rounds)
        one, other = rounds[0][name], peer[name]
        same = [a == b for a, b in zip(best(one["logprobs"]), best(other["logprobs"]), strict=True)]
        gaps = [
            abs(a - b)
            for x, y in zip(one["logprobs"], other["logprobs"], strict=True)
            for a, b in zip(x, y, strict=True)
        ]
        figures[name] = {
            "items": len(task.items),
            "ours_items_per_second": round(len(task.items) / seconds, 2),
            "theirs_items_per_second": round(len(task.items) / other["seconds"], 2),
            "same_choice": round(sum(same) / len(same), 5),
            "different_items": [i.where for i, s in zip(task.items, same, strict=True) if not s],
            "median_logprob_gap": round(statistics.median(gaps), 5),
            "largest_logprob_gap": round(max(gaps), 4),
            **{
                f"{who}_{metric}": round(side[metric], 4)
                for who, side in (("ours", one), ("theirs", other))
                for metric in ("acc", "acc_norm")
            },
        }
        ratios[name] = round(other["seconds"] / seconds, 2)
        agreed += sum(same)
        items += len(same)
        totals[0] += seconds
        totals[1] += other["seconds"]
    ratios["all"] = round(totals[1] / totals[0], 2)
    ratios["rounds"] = [round(sum(t["seconds"] for t in r.values()), 1) for r in rounds]
    figures["seconds"] = {"ours": round(totals[0], 1), "theirs": round(totals[1], 1)}
    musts = [
        must("times as fast as lm-evaluation-harness", ratios["all"], ">= 2"),
        must("share of items with the same choice", round(agreed / items, 5), ">= 0.995"),
    ]
    report("evaluate", about, figures, ratios, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
