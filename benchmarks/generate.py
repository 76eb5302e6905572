"""The engine beside llama.cpp and `transformers`: the same weights, threads and minutes.

    script/bench generate [--quick] [--only PART…] [--rounds 3] [--json-to FILE]

All read one GGUF file (SmolLM2-135M-Instruct, Q4_1; `transformers` its numbers in bfloat16). Every
figure is measured in a fresh process, ours and the peer's in turn, each first in every other round,
so that a machine that slows down slows both; a ratio is the median of the rounds' own ratios. Ours
goes through the engine (submitted, scheduled, decoded to text), llama.cpp's is `llama_decode`
alone, with the quickest of its settings, found beforehand. Memory is MB of 10^6 bytes. The peer
gets an environment of its own below `.bench/`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from _llama import PEER, peer_python
from _machine import ROOT, machine, must, report

MODEL = "smollm2-135m-instruct"
HERE = Path(__file__).parent
PARTS = (
    "prefill", "decode", "transformers", "ttft", "load", "memory", "prefix", "lookup", "variants",
)  # fmt: skip
STREAMS = (1, 2, 4, 8, 16, 32)
PROMPT, NEW, LONG = 128, 64, 4000
MB = 1e6
QUESTION = "What is the capital of France?"
# As the chat template writes it, for the peer that has no template here.
CHAT = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
VARIANTS = (
    {"weights": "auto", "kv_dtype": "int8"},
    {"weights": "int8", "kv_dtype": "auto"},
    {"weights": "bfloat16", "kv_dtype": "auto"},
    {"weights": "float32", "kv_dtype": "auto"},
)


class Bench:
    """Starts the processes that measure, and remembers what they said."""

    def __init__(self, args: argparse.Namespace, gguf: Path, python: Path | None) -> None:
        self.quick, self.threads = args.quick, args.threads
        self.rounds = 1 if args.quick else args.rounds
        self.prefill, self.prompt = (48, 16) if args.quick else (512, PROMPT)
        self.new, self.runs = (12, 1) if args.quick else (NEW, 5)
        self.streams = (1, 4) if args.quick else STREAMS
        self.common: dict[str, Any] = {"gguf": str(gguf), "threads": args.threads}
        self.peer = python
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
        self.environment = {
            **kept,
            "OMP_NUM_THREADS": str(args.threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def ours(self, part: str, **settings: Any) -> dict[str, Any]:
        return self.run(Path(sys.executable), "_generate_ours.py", part, settings)

    def llama(self, part: str, **settings: Any) -> dict[str, Any]:
        assert self.peer is not None
        return self.run(self.peer, "_llama.py", part, settings)

    def transformers(self, part: str, **settings: Any) -> dict[str, Any]:
        return self.run(Path(sys.executable), "_generate_transformers.py", part, settings)

    def run(self, python: Path, script: str, part: str, settings: dict[str, Any]) -> dict[str, Any]:
        """What the process prints last; with it the seconds to its first line, or its memory."""
        said = f"{script} {part} { {k: v for k, v in settings.items() if k != 'folder'} }"
        print(f"  {said}", file=sys.stderr, flush=True)
        watched = part == "memory"
        started = time.perf_counter()
        process = subprocess.Popen(
            [python, HERE / script, part, json.dumps(self.common | settings)],
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=HERE,
        )
        peaks: dict[str, int] = {}
        watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
        if watched:
            watcher.start()
        assert process.stdout is not None
        first, last = 0.0, ""
        for line in process.stdout:
            first = first or time.perf_counter() - started
            last = line
        if process.wait():
            raise SystemExit(f"{said} failed with status {process.returncode}")
        if watched:
            watcher.join()
        found: dict[str, Any] = json.loads(last)
        if part == "load":
            found["process_seconds"] = first
        return found | ({"sampled": peaks} if watched else {})


def _watch(process: subprocess.Popen[str], peaks: dict[str, int]) -> None:
    """The most memory that the process has while it runs, a few times a second."""
    import psutil

    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            info = watched.memory_full_info()
        except psutil.Error:
            return
        for name in ("rss", "uss", "pss"):
            if hasattr(info, name):
                peaks[name] = max(peaks.get(name, 0), getattr(info, name))
        time.sleep(0.15)


def pairs(bench: Bench, first: Any, second: Any) -> list[tuple[Any, Any]]:
    """Both sides in every round, each first in every other one."""
    found = []
    for number in range(bench.rounds):
        if number % 2:
            theirs = second()
            found.append((first(), theirs))
        else:
            ours = first()
            found.append((ours, second()))
    return found


def speeds(found: list[tuple[Any, Any]]) -> tuple[dict[str, Any], float]:
    """Medians of tokens a second, all rounds, and the median of the rounds' ratios."""
    key = "tokens_per_second"
    ours, theirs = [a[key] for a, _ in found], [b[key] for _, b in found]
    figures: dict[str, Any] = {
        "ours": round(median(ours), 1),
        "theirs": round(median(theirs), 1),
        "rounds": [[round(a, 1), round(b, 1)] for a, b in zip(ours, theirs, strict=True)],
    }
    if "runner_tokens_per_second" in found[0][0]:
        raw = median(a["runner_tokens_per_second"] for a, _ in found)
        figures["ours_bare_runner"] = round(raw, 1)
    return figures, round(median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def measure(bench: Bench, parts: list[str], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures and ratios by name."""
    figures: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    streams = bench.streams
    best: dict[str, Any] = {}
    if {"prefill", "decode", "memory"} & set(parts):
        probed = [n for n in streams if n in (1, 4, 8, 16)]
        best = bench.llama(
            "probe",
            streams=probed,
            tokens=bench.prefill,
            prompt=bench.prompt,
            new=4 if bench.quick else 24,
        )
        figures["llama_settings"] = best

    def settings_of(n: int) -> dict[str, Any]:
        nearest = min(
            (k for k in best if k.startswith("decode")), key=lambda k: abs(int(k[6:]) - n)
        )
        return dict(best[nearest])

    if "prefill" in parts:
        found = pairs(
            bench,
            lambda: bench.ours("prefill", tokens=bench.prefill, runs=bench.runs),
            lambda: bench.llama(
                "prefill", tokens=bench.prefill, runs=bench.runs, **best["prefill"]
            ),
        )
        figures["prefill_512"], ratios["prefill_512"] = speeds(found)
    if "decode" in parts:
        for n in streams:
            common = {"streams": n, "prompt": bench.prompt, "new": bench.new}
            found = pairs(
                bench,
                lambda c=common: bench.ours("decode", **c),
                lambda c=common, n=n: bench.llama("decode", **c, **settings_of(n)),
            )
            figures[f"decode_{n}"], ratios[f"decode_{n}"] = speeds(found)
    if "transformers" in parts:
        beside_transformers(bench, folder, figures, ratios)
    if "ttft" in parts:
        trials, length = (3, 1000) if bench.quick else (40, LONG)
        found_ttft = bench.ours("ttft", long=length, short=20, trials=trials)
        figures["first_token_beside_prefill"] = found_ttft | {"long": length}
    if "load" in parts:
        figures["load"], ratios["load"] = loading(bench)
    if "memory" in parts:
        figures["memory"] = remembering(bench, settings_of(8))
    if "prefix" in parts:
        shared = 300 if bench.quick else 1000
        found_prefix = bench.ours("prefix", shared=shared, runs=2 if bench.quick else 5)
        figures["prefix_reuse"] = found_prefix | {"shared": shared}
        ratios["prefix_reuse"] = round(found_prefix["first"] / found_prefix["second"], 1)
    if "lookup" in parts:
        found_lookup = bench.ours(
            "lookup", guesses=8, new=24 if bench.quick else 90, runs=bench.runs
        )
        figures["lookup"] = found_lookup
        ratios["lookup"] = round(
            found_lookup["lookup_tokens_per_second"] / found_lookup["plain_tokens_per_second"], 2
        )
    if "variants" in parts:
        figures["variants"] = variants(bench)
    return figures, ratios


def beside_transformers(
    bench: Bench,
    folder: Path,
    figures: dict[str, Any],
    ratios: dict[str, Any],
) -> None:
    """Prefill, and decoding of one and of eight streams, beside `transformers` in bfloat16."""
    hf = {"folder": str(folder / "model")}
    bench.transformers("export", **hf)
    streams = (1,) if bench.quick else (1, 8)
    best = bench.transformers(
        "probe", **hf, streams=streams, tokens=bench.prefill, prompt=bench.prompt, new=4
    )
    figures["transformers_settings"] = best
    prefill = {"tokens": bench.prefill, "runs": bench.runs}
    found = pairs(
        bench,
        lambda: bench.ours("prefill", **prefill),
        lambda: bench.transformers("prefill", **hf, **prefill, **best["prefill"]),
    )
    figures["transformers_prefill_512"], ratios["transformers_prefill_512"] = speeds(found)
    for n in streams:
        common = {"streams": n, "prompt": bench.prompt, "new": bench.new}
        found = pairs(
            bench,
            lambda c=common: bench.ours("decode", **c),
            lambda c=common, n=n: bench.transformers("decode", **hf, **c, **best[f"decode{n}"]),
        )
        name = f"transformers_decode_{n}"
        figures[name], ratios[name] = speeds(found)


def loading(bench: Bench) -> tuple[dict[str, Any], float]:
    """Seconds from the start of a process to its first token, the file in the page cache."""
    Path(bench.common["gguf"]).read_bytes()
    bench.ours("load", text=QUESTION)  # what Python compiles is written once
    bench.llama("load", text=CHAT)
    found = []
    for _ in range(1 if bench.quick else 3):
        found += pairs(
            bench,
            lambda: bench.ours("load", text=QUESTION),
            lambda: bench.llama("load", text=CHAT),
        )
    ours = [a["process_seconds"] for a, _ in found]
    theirs = [b["process_seconds"] for _, b in found]
    figures = {
        "page_cache": "warm",
        "ours": round(median(ours), 3),
        "ours_worst": round(max(ours), 3),
        "theirs": round(median(theirs), 3),
        **{
            f"ours_{name}": round(median(a[name] for a, _ in found), 3)
            for name in ("import", "load", "first_token")
        },
    }
    return figures, round(median(b / a for a, b in zip(ours, theirs, strict=True)), 2)


def remembering(bench: Bench, peer_settings: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of a process that serves eight streams of 1,024 tokens each, prompts included."""
    streams, length, new = (2, 96, 8) if bench.quick else (8, 960, 64)
    common = {"streams": streams, "prompt": length, "new": new}
    out: dict[str, Any] = {"streams": streams, "tokens_each": length + new}
    sides = [
        (f"ours_kv_{kv}", lambda kv=kv: bench.ours("memory", **common, kv_dtype=kv))
        for kv in ("bfloat16", "int8")
    ]
    sides.append(("llama", lambda: bench.llama("memory", **common, **peer_settings)))
    for name, run in sides:
        found = run()
        out[name] = {
            "peak_rss_mb": round(found["peak_rss"] / MB, 1),
            **{f"peak_{k}_mb": round(v / MB, 1) for k, v in found["sampled"].items() if k != "rss"},
        }
        if "blocks" in found:
            blocks = found["blocks"]
            out[name]["kv_mb"] = round(blocks["touched"] * blocks["bytes"] / MB, 1)
            out[name]["weights_mb"] = round(found["runner"]["weight_bytes"] / MB, 1)
    return out


def variants(bench: Bench) -> list[dict[str, Any]]:
    """Other types of weights and cache, ours alone; the first line is the one measured above."""
    out = []
    for kinds in ({"weights": "auto", "kv_dtype": "auto"}, *VARIANTS):
        line: dict[str, Any] = dict(kinds)
        found = bench.ours("prefill", tokens=bench.prefill, runs=bench.runs, **kinds)
        line["prefill_512"] = round(found["tokens_per_second"], 1)
        for n in (1,) if bench.quick else (1, 8, 16):
            found = bench.ours("decode", streams=n, prompt=bench.prompt, new=bench.new, **kinds)
            line[f"decode_{n}"] = round(found["tokens_per_second"], 1)
        out.append(line)
    return out


def demands(figures: dict[str, Any], ratios: dict[str, Any]) -> list[dict[str, Any]]:
    """The issue's musts, as far as they were measured."""
    bounds = [
        ("prefill, 512 tokens: times llama.cpp", "prefill_512", ">= 3"),
        ("decode, 1 stream: times llama.cpp", "decode_1", ">= 1.2"),
        ("decode, 8 streams: times llama.cpp", "decode_8", ">= 2"),
        ("decode, 16 streams: times llama.cpp", "decode_16", ">= 2.5"),
        ("decode, 1 stream: times transformers", "transformers_decode_1", ">= 6"),
        ("decode, 8 streams: times transformers", "transformers_decode_8", ">= 4"),
    ]
    musts = [must(name, ratios[key], bound) for name, key, bound in bounds if key in ratios]
    if "first_token_beside_prefill" in figures:
        value = round(figures["first_token_beside_prefill"]["p95"], 3)
        musts.append(must("first token beside a 4,000-token prefill, p95 seconds", value, "<= 0.5"))
    if "load" in figures:
        musts.append(must("load to first token, seconds", figures["load"]["ours"], "<= 2"))
    if "memory" in figures:
        value = figures["memory"]["ours_kv_bfloat16"]["peak_rss_mb"]
        musts.append(must("process memory, 8 streams of 1,024 tokens, MB", value, "<= 700"))
    return musts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="whether it runs, not how fast")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json-to", type=Path, help="write the last line to this file too")
    parser.add_argument(
        "--plot",
        type=Path,
        default=ROOT / "docs" / "images" / "generate-throughput.png",
        help="where the plot goes when decoding is measured in full",
    )
    args = parser.parse_args()
    from chatwright.model.references import resolve

    parts = args.only or list(PARTS)
    about = machine() | {"threads": args.threads}
    needed = {"prefill", "decode", "load", "memory"} & set(parts)
    bench = Bench(args, resolve(MODEL), peer_python() if needed else None)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        figures, ratios = measure(bench, parts, Path(temporary))
    figures["peer"] = PEER
    figures["rounds"] = bench.rounds
    figures["seconds"] = round(time.monotonic() - started)
    about["load_after"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if "decode" in parts and not bench.quick:
        from _generate_plot import throughput

        throughput(figures, args.plot, about["cpu"], args.threads)
    musts = [] if bench.quick else demands(figures, ratios)
    if args.json_to is not None:
        line = {"machine": about, "figures": figures, "ratios": ratios, "musts": musts}
        args.json_to.write_text(json.dumps({"bench": "generate"} | line, indent=1) + "\n")
    report("generate", about, figures, ratios, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
