"""Training and the engine on a GPU: tokens a second, MFU, and whether the numbers are right.

    script/bench train_gpu [--part tests speed engine world] [--depth 12 20] [--compare] [--quick]

- `tests`: `tests/train/test_gpu.py` and the engine's runner on the GPU (losses of a CPU, packed as
  alone, exact resuming, every objective).
- `speed`: `pretrain` by `train`'s own loop at each depth of the dial (vocabulary 32,768, rows of
  2,048 tokens, bfloat16), with steps of half a million tokens and with the dial's own; with
  `--compare` also other attentions, losses, micro-batches and without `torch.compile`.
- `engine`: the engine beside `transformers`' `generate`, a random model of SmolLM2-135M's shape.
- `world`: DDP and FSDP2 in a world of one under NCCL beside one process.

Each part is a process of its own with a time limit (`--limit` seconds): what fails or hangs does
not cost the others. `--device cpu` tries the parts out. The last line is JSON; without a GPU it
says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from _machine import ROOT, machine, must, report

HERE = Path(__file__).parent
PARTS = ("tests", "speed", "engine", "world")
HALF_A_MILLION = 1 << 19


def ways(depths: list[int], compare: bool, quick: bool) -> list[dict[str, Any]]:
    """What `_gpu_train.py` measures, most wanted first."""
    found: list[dict[str, Any]] = []
    for depth in depths:
        if quick:
            found.append({"depth": depth, "batch": 2 * 4096, "micro": 4096, "seconds": 0.5})
            continue
        if compare:
            # Steps of four micro-batches: the optimizer weighs more than it would in training.
            small: dict[str, Any] = {"depth": depth, "batch": 1 << 17, "seconds": 2.0}
            found += [
                small | {"compile": False, "attention": "flash", "loss": "plain"},
                small | {"attention": "flash", "loss": "plain"},
                small | {"loss": "plain"},
                small | {"loss": "fused"},
                small | {"loss": "fused", "dynamic": None},
                small | {"loss": "fused", "at_once": 1 << 28},
                small | {"loss": "fused", "micro": 1 << 14},
                small | {"loss": "fused", "deterministic": True},
            ]
        found += [
            {"depth": depth, "batch": HALF_A_MILLION, "warm": 1},
            {"depth": depth, "batch": HALF_A_MILLION, "warm": 1, "micro": 1 << 16},
            {"depth": depth, "seconds": 2.0},
        ]
    return found


class Part:
    """A process whose lines that begin with `{` are results; the others are shown as they come."""

    def __init__(self, name: str, command: list[Any], limit: float) -> None:
        self.name, self.lines, self.problem = name, [], ""  # type: ignore[var-annotated]
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"},
        )
        clock = threading.Timer(limit, process.kill)
        clock.start()
        assert process.stdout is not None
        self.tail: list[str] = []
        for text in process.stdout:
            print(f"{name}: {text.rstrip()}", flush=True)
            self.tail = [*self.tail[-9:], text.rstrip()]
            if text.startswith("{"):
                self.lines.append(json.loads(text))
        status = process.wait()
        clock.cancel()
        self.seconds = round(time.monotonic() - begun, 1)
        if status:
            over = time.monotonic() - begun >= limit
            self.problem = f"ended after {limit:.0f} s" if over else f"status {status}"

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = {"seconds": self.seconds, "results": self.lines}
        if self.problem:
            found |= {"problem": self.problem, "tail": self.tail}
        return found


def command(part: str, args: argparse.Namespace) -> list[Any]:
    settings: dict[str, Any] = {"device": args.device, "quick": args.quick}
    if part == "tests":
        tests = ["tests/train/test_gpu.py", "tests/generate/test_torch_runner.py"]
        chosen = ["-k", "gpu"]
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *tests]
    if part == "speed":
        depths = [2] if args.quick else args.depth
        small = args.quick
        settings |= {
            "vocab_size": 1024 if small else 32_768,
            "length": 256 if small else 2048,
            "tokens": 100_000 if small else 3 << 20,
            "seconds": 8.0,
            "ways": ways(depths, args.compare, args.quick),
        }
        return [sys.executable, HERE / "_gpu_train.py", json.dumps(settings)]
    if part == "engine":
        new = 8 if args.quick else 128
        settings |= {"prompt": 128, "new": new, "runs": 2, "streams": [1, 4 if args.quick else 32]}
        return [sys.executable, HERE / "_gpu_engine.py", json.dumps(settings)]
    settings["steps"] = 3 if args.quick else 10
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 1]
    return [*run, HERE / "_gpu_world.py", json.dumps(settings)]


def demands(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The issue's aim: the best of the half-million steps of each depth."""
    best: dict[int, float] = {}
    for line in figures.get("speed", {}).get("results", []):
        if line.get("batch") == HALF_A_MILLION and "mfu" in line:
            best[line["depth"]] = max(best.get(line["depth"], 0.0), line["mfu"])
    return [must(f"depth {depth}: MFU in bfloat16", mfu, ">= 0.45") for depth, mfu in best.items()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--depth", nargs="+", type=int, default=[12, 20])
    parser.add_argument("--compare", action="store_true", help="other ways of computing too")
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--limit", type=float, default=600, help="seconds of one part, at most")
    args = parser.parse_args()
    import torch

    about = machine() | {"torch": torch.__version__, "gpu": None}
    if args.device == "cuda":
        if not torch.cuda.is_available():
            print("could not run: no GPU here")
            report("train_gpu", about, {"could_not_run": "no GPU here"}, {}, [])
            return 0
        about["gpu"] = torch.cuda.get_device_name()
        about["cuda"] = torch.version.cuda
    figures: dict[str, Any] = {}
    for part in args.part:
        figures[part] = Part(part, command(part, args), args.limit).figures()
    report("train_gpu", about, figures, {}, [] if args.quick else demands(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
