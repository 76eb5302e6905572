"""Training beside TRL and `transformers`: the same weights, rows, numbers and threads.

    script/bench train [--part lora pretrain overhead scratch] [--rounds 2] [--quick]

- `lora`: fine-tuning of SmolLM2-135M-Instruct by adapters (rank 16 on all linear layers, eight
  conversations of at most 512 tokens a step, bfloat16) beside TRL's `SFTTrainer` with PEFT at its
  defaults, from the same adapter and with the same order of rows, so that losses can be compared
  step by step; and TRL once without recomputation in the backward pass.
- `pretrain`: a Llama of ten million parameters from random weights beside `Trainer`, in bfloat16
  (autocast there, float32 masters here) and in float32.
- `overhead`: what of a run's time goes into data, logging and checkpoints; the same fine-tuning
  with rows packed, as `train` does it when nothing is said.
- `scratch`: bits per byte after nine minutes of training (`_train_scratch.py`).

Tokens a second count what is predicted from, never padding, and leave out the first steps, for
whose shapes the libraries compile code. Every figure comes from a fresh process, ours and the
peer's in turn, each first in every other round; a ratio is the median of the rounds' own ratios.
Memory is the peak of the whole process, MB of 10^6 bytes. Needs CHATWRIGHT_DATA. The peers get an
environment of their own below `.bench/`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import _train_data as data
from _machine import ROOT, machine, must, report

HERE = Path(__file__).parent
PARTS = ("lora", "pretrain", "overhead", "scratch")
PEER = ["trl==1.16.0", "transformers==5.23.0", "peft==0.21.2"]
MB = 1e6
Runs = list[tuple[dict[str, Any], dict[str, Any]]]


def peer_python() -> Path:
    """An environment that holds the peers; made once."""
    folder = ROOT / ".bench" / "trl"
    python = folder / "bin" / "python"
    if not python.exists() or subprocess.call([python, "-c", "import trl, peft"]):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pins = ["-c", ROOT / "constraints.txt"]
        subprocess.run([python, "-m", "pip", "install", "-q", *pins, "torch", *PEER], check=True)
    return python


class Bench:
    """Starts the processes that measure."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.quick, self.folder = args.quick, folder
        self.rounds = 1 if args.quick else args.rounds
        self.threads, self.scratch_peer = args.threads, not args.no_scratch_peer
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
        self.environment = {
            **kept,
            "OMP_NUM_THREADS": str(args.threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONWARNINGS": "ignore",
        }

    def ours(self, part: str, **settings: Any) -> dict[str, Any]:
        return self._run(Path(sys.executable), "_train_ours.py", part, settings)

    def theirs(self, part: str, **settings: Any) -> dict[str, Any]:
        return self._run(peer_python(), "_train_hf.py", part, settings)

    def _run(
        self, python: Path, script: str, part: str, settings: dict[str, Any]
    ) -> dict[str, Any]:
        said = f"{script} {part} { {k: v for k, v in settings.items() if k != 'folder'} }"
        started = time.monotonic()
        done = subprocess.run(
            [python, HERE / script, part, json.dumps(settings | {"threads": self.threads})],
            stdout=subprocess.PIPE,
            check=False,
            text=True,
            env=self.environment,
            cwd=HERE,
        )
        if done.returncode:
            raise SystemExit(f"{said} failed with status {done.returncode}")
        print(f"  {said}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def pairs(
        self, ours: Callable[[], dict[str, Any]], theirs: Callable[[], dict[str, Any]]
    ) -> Runs:
        """Both sides in every round, each first in every other one."""
        found = []
        for number in range(self.rounds):
            if number % 2:
                peer = theirs()
                found.append((ours(), peer))
            else:
                own = ours()
                found.append((own, theirs()))
        return found


def compared(runs: Runs, warm: int) -> tuple[dict[str, Any], float, float]:
    """Speeds, memory and losses of both sides; times as fast; our share of their memory.

    Speeds are of the steps after the first `warm` that both sides took.
    """
    figures: dict[str, Any] = {}
    steps = min(len(run["step_seconds"]) for pair in runs for run in pair)

    def speed(run: dict[str, Any]) -> float:
        part = slice(warm, steps)
        return float(sum(run["step_tokens"][part]) / sum(run["step_seconds"][part]))

    for name, side in (("ours", 0), ("theirs", 1)):
        found = [run[side] for run in runs]
        figures[name] = {
            "tokens_per_second": round(median(map(speed, found)), 1),
            "rounds": [round(speed(f), 1) for f in found],
            "all_steps": round(median(f["tokens_per_second"] for f in found), 1),
            "step_seconds": [round(s, 2) for s in found[0]["step_seconds"]],
            "peak_rss_mb": round(median(f["peak_rss"] for f in found) / MB),
            "losses": [round(loss, 4) for loss in found[0]["losses"]],
        }
    figures["losses"] = agreement(runs[0][0]["losses"], runs[0][1]["losses"])
    faster = median(speed(a) / speed(b) for a, b in runs)
    memory = median(a["peak_rss"] / b["peak_rss"] for a, b in runs)
    return figures, round(faster, 2), round(memory, 3)


def agreement(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """How far the losses of the steps that both took are apart."""
    both = list(zip(ours, theirs, strict=False))
    return {
        "steps": len(both),
        "first_step_apart": round(abs(both[0][0] - both[0][1]), 4),
        "largest_apart": round(max(abs(a - b) for a, b in both), 4),
        "mean_ours": round(sum(a for a, _ in both) / len(both), 4),
        "mean_theirs": round(sum(b for _, b in both) / len(both), 4),
    }


def measure_lora(bench: Bench, figures: dict[str, Any], ratios: dict[str, Any]) -> None:
    """Beside TRL; it takes some thirty seconds a step, so few steps. We take its steps and more."""
    folder = bench.folder / "lora"
    theirs, own, warm = (2, 2, 1) if bench.quick else (3, 8, 1)
    figures["lora_data"] = data.lora(folder, own)
    common = {"folder": str(folder), "warm": warm, "steps": own}
    runs = bench.pairs(
        lambda: bench.ours("lora", **common),
        lambda: bench.theirs(
            "lora", **common, stop_after=theirs, precision="bf16", checkpointing=True
        ),
    )
    figures["lora"], ratios["lora_tokens_per_second"], ratios["lora_memory"] = compared(runs, warm)
    if bench.quick:
        return
    # Recomputation saves it memory and costs it time: its quicker setting, once.
    found = bench.theirs("lora", **common, stop_after=2, precision="bf16", checkpointing=False)
    speed, rss = round(found["tokens_per_second"], 1), round(found["peak_rss"] / MB)
    figures["lora_theirs_without_recomputation"] = {"tokens_per_second": speed, "peak_rss_mb": rss}
    quick = figures["lora"]["ours"]["tokens_per_second"] / speed
    ratios["lora_tokens_per_second_without_recomputation"] = round(quick, 2)


def measure_pretrain(bench: Bench, figures: dict[str, Any], ratios: dict[str, Any]) -> None:
    """Beside `Trainer`, in both precisions."""
    folder = bench.folder / "pretrain"
    steps, warm = (4, 1) if bench.quick else (14, 4)
    figures["pretrain_data"] = data.pretrain(folder, steps)
    for precision in ("bf16", "fp32"):
        common = {"folder": str(folder), "warm": warm, "steps": steps, "precision": precision}
        runs = bench.pairs(
            lambda c=common: bench.ours("pretrain", **c),  # type: ignore[misc]
            lambda c=common: bench.theirs("pretrain", **c, stop_after=steps),  # type: ignore[misc]
        )
        name = f"pretrain_{precision}"
        figures[name], ratios[name], ratios[f"{name}_memory"] = compared(runs, warm)
    best = [
        max(figures[f"pretrain_{p}"][side]["tokens_per_second"] for p in ("bf16", "fp32"))
        for side in ("ours", "theirs")
    ]
    ratios["pretrain_best_to_best"] = round(best[0] / best[1], 2)


def measure_overhead(bench: Bench, figures: dict[str, Any], ratios: dict[str, Any]) -> None:
    """A run long enough for a checkpoint at the default interval of a minute."""
    folder = bench.folder / "lora"
    if not (folder / "model").exists():
        data.lora(folder, 1)
    found = bench.ours("overhead", folder=str(folder), steps=2 if bench.quick else 9)
    figures["overhead"] = {k: round(v, 4) for k, v in found.items()}


def measure(
    bench: Bench, parts: list[str], figures: dict[str, Any], ratios: dict[str, Any]
) -> None:
    if "lora" in parts:
        measure_lora(bench, figures, ratios)
    if "pretrain" in parts:
        measure_pretrain(bench, figures, ratios)
    if "overhead" in parts:
        measure_overhead(bench, figures, ratios)
    if "scratch" in parts:
        import _train_scratch

        figures["scratch"] = _train_scratch.measure(
            threads=bench.threads, quick=bench.quick, beside=bench.scratch_peer
        )


def demands(figures: dict[str, Any], ratios: dict[str, Any]) -> list[dict[str, Any]]:
    """The issue's musts, as far as they were measured."""
    bounds = [
        ("LoRA: times TRL's tokens a second", "lora_tokens_per_second", ">= 3"),
        ("LoRA: share of TRL's memory", "lora_memory", "<= 0.334"),
        ("pretraining in bfloat16: times Trainer's tokens a second", "pretrain_bf16", ">= 1.5"),
        ("pretraining, the best of each: times Trainer's", "pretrain_best_to_best", ">= 1.5"),
    ]
    musts = [must(name, ratios[key], bound) for name, key, bound in bounds if key in ratios]
    if "lora" in figures:
        apart = figures["lora"]["losses"]["largest_apart"]
        musts.append(must("LoRA: losses apart, nats per token", apart, "<= 0.02"))
    if "pretrain_fp32" in figures:
        apart = figures["pretrain_fp32"]["losses"]["largest_apart"]
        musts.append(must("pretraining in float32: losses apart", apart, "<= 0.01"))
    if "overhead" in figures:
        share = figures["overhead"]["share"]
        musts.append(must("share of time not spent in the model", share, "<= 0.03"))
    if "scratch" in figures:
        found = figures["scratch"]["ours"]
        musts.append(must("from scratch: bits per byte", found["bits_per_byte"], "<= 1.85"))
        musts.append(must("from scratch: seconds of training", found["seconds"], "<= 540"))
    return musts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--no-scratch-peer", action="store_true", help="nine minutes less: without the peer"
    )
    parser.add_argument("--json-to", type=Path, help="write the last line to this file too")
    args = parser.parse_args()
    about = machine() | {"threads": args.threads}
    figures: dict[str, Any] = {"peers": PEER}
    ratios: dict[str, Any] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(args, Path(temporary))
        figures["rounds"] = bench.rounds
        measure(bench, args.part, figures, ratios)
    figures["seconds"] = round(time.monotonic() - started)
    about["load_after"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    musts = [] if args.quick else demands(figures, ratios)
    if args.json_to is not None:
        line = {"machine": about, "figures": figures, "ratios": ratios, "musts": musts}
        args.json_to.write_text(json.dumps({"bench": "train"} | line, indent=1) + "\n")
    report("train", about, figures, ratios, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
