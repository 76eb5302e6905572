"""Near-duplicates, verified, end to end: Chatwright and datatrove on the same files.

    python benchmarks/_curate_dedup.py [--documents 5000] [--repeats 3] [--scaling 5000,...,100000]

Both read the same JSONL with two processes, find near-duplicates and write what is left; each runs
in a process of its own, whose whole time counts. Pages are 4 kB pieces of the books in
`CHATWRIGHT_DATA`, four fifths with words replaced until they are unlike each other, one fifth
near-duplicates with a known number of edits. Called by `benchmarks/curate.py` (`dedup`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WORKERS = 2
PIECE = 4000  # characters
SHARD = 500  # rows
THRESHOLD = 0.7
MEMORY = 512 << 20
SETTINGS: dict[str, Any] = {"documents": False, "near": {"threshold": THRESHOLD}}
SCALING = (5_000, 10_000, 25_000, 50_000, 100_000)
PLOT = ROOT / "docs" / "images" / "dedup_scaling.png"


# ----------------------------------------------------------------- the documents


def data_folder() -> Path:
    folder = os.environ.get("CHATWRIGHT_DATA")
    if not folder:
        raise SystemExit("CHATWRIGHT_DATA must name the folder with pretrain/books_en.jsonl.gz")
    return Path(folder)


def pieces() -> list[str]:
    """All 4 kB pieces of the English books, in a fixed order."""
    out: list[str] = []
    with gzip.open(
        data_folder() / "pretrain" / "books_en.jsonl.gz", "rt", encoding="utf-8"
    ) as file:
        for line in file:
            text = json.loads(line)["text"]
            out += [text[at : at + PIECE] for at in range(0, len(text) - PIECE, PIECE)]
    random.Random(1).shuffle(out)
    return out


def corpus(documents: int) -> list[dict[str, Any]]:
    """`id`, `text`, `of`: the row that it is a near-duplicate of, and `edits`, how many words."""
    source = pieces()
    rng = random.Random(documents)
    rows: list[dict[str, Any]] = []
    originals = documents * 4 // 5
    vocabulary = sorted({word for text in source[:200] for word in text.split(" ")})
    for number in range(originals):
        words = source[number % len(source)].split(" ")
        if number >= len(source):  # used before: every third word is another one
            for at in range(rng.randrange(3), len(words), 3):
                words[at] = rng.choice(vocabulary)
        rows.append({"id": f"d{number}", "text": " ".join(words), "of": None, "edits": 0})
    for number in range(originals, documents):
        of = rng.randrange(originals)
        words = rows[of]["text"].split(" ")
        edits = rng.randrange(1, 40)
        for _ in range(edits):
            at = rng.randrange(len(words))
            kind = rng.randrange(3)
            if kind == 0:
                words[at] = rng.choice(vocabulary)
            elif kind == 1:
                words.insert(at, rng.choice(vocabulary))
            else:
                del words[at]
        rows.append({"id": f"d{number}", "text": " ".join(words), "of": f"d{of}", "edits": edits})
    rng.shuffle(rows)
    return rows


def write_inputs(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """One file per process, as datatrove gives each of its tasks whole files."""
    folder.mkdir(parents=True)
    half = -(-len(rows) // WORKERS)
    for number in range(WORKERS):
        with (folder / f"{number:05d}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows[number * half : (number + 1) * half]:
                file.write(json.dumps({"id": row["id"], "text": row["text"]}) + "\n")


# ----------------------------------------------------------------- Chatwright


def _shards(folder: Path) -> list[tuple[Path, int, int]]:
    """File, byte offset and first position of each shard."""
    out = []
    position = 0
    for path in sorted(folder.glob("*.jsonl")):
        offset = 0
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number % SHARD == 0:
                    out.append((path, offset, position))
                offset += len(line)
                position += 1
    return out


def _read(path: Path, offset: int) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        file.seek(offset)
        return [json.loads(line) for line in islice(file, SHARD)]


def _keys(work: tuple[Path, int, int, Path]) -> Path:
    import pyarrow.parquet as pq

    from chatwright.curate.dedup import DedupRow, DedupSettings, dedup_keys

    path, offset, position, out = work
    rows = [
        DedupRow(position + n, row["id"], f"file:{row['id']}", row["text"], words=len(row["text"]))
        for n, row in enumerate(_read(path, offset))
    ]
    pq.write_table(dedup_keys(rows, DedupSettings(**SETTINGS)), out, compression="zstd")
    return out


def _kept(work: tuple[int, Path, int, int, Any, Path]) -> int:
    number, path, offset, position, found, out = work
    verdicts = found.of(number)
    gone = {p for p, verdict in verdicts.items() if verdict.drop}
    kept = [row for n, row in enumerate(_read(path, offset)) if position + n not in gone]
    with out.open("w", encoding="utf-8") as file:
        for row in kept:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(kept)


def _peak_mib() -> float:
    """Of this process. (`ru_maxrss` would count what it had before it became this program.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def run_ours(folder: Path, out: Path) -> None:
    """Keys in processes, join, rows in processes; prints seconds and memory as JSON."""
    # Before the pool is made: its processes are forks, and have then imported all of it.
    import pyarrow.parquet  # noqa: F401

    from chatwright.curate.dedup import DedupSettings, dedup_keys, join

    assert dedup_keys
    out.mkdir(parents=True)
    shards = _shards(folder)
    began = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as pool:
        work = [
            (path, offset, position, out / f"keys-{n:05d}.parquet")
            for n, (path, offset, position) in enumerate(shards)
        ]
        keys = list(pool.map(_keys, work))
        keyed = time.perf_counter()
        found = join(keys, DedupSettings(**SETTINGS), scratch=out, memory=MEMORY, threads=WORKERS)
        joined = time.perf_counter()
        kept = sum(
            pool.map(
                _kept,
                [(n, *shard, found, out / f"kept-{n:05d}.jsonl") for n, shard in enumerate(shards)],
            )
        )
    mine = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "keys": keyed - began,
                "join": joined - keyed,
                "rows": time.perf_counter() - joined,
                "kept": kept,
                "cpu": sum(used.ru_utime + used.ru_stime for used in (mine, workers)),
                "peak_join_mib": _peak_mib(),
                "peak_worker_mib": workers.ru_maxrss / 1024,
            }
        )
    )


# ----------------------------------------------------------------- datatrove

DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter

if __name__ == "__main__":
    folder, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    config = MinhashConfig()

    def run(pipeline, tasks, name):
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=f"{out}/logs/{name}"
        ).run()

    reader = lambda: JsonlReader(folder, glob_pattern="*.jsonl")
    run([reader(), MinhashDedupSignature(f"{out}/sig", config=config)], workers, "1")
    run([MinhashDedupBuckets(f"{out}/sig", f"{out}/buckets", config=config)],
        config.num_buckets, "2")
    run([MinhashDedupCluster(f"{out}/buckets", f"{out}/ids", config=config)], 1, "3")
    run([reader(), MinhashDedupFilter(f"{out}/ids"), JsonlWriter(f"{out}/kept", compression=None)],
        workers, "4")
"""


# ----------------------------------------------------------------- side by side


def _environment() -> dict[str, str]:
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return os.environ | one | {"TOKENIZERS_PARALLELISM": "false"}


def _timed(command: Sequence[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(
        list(command), env=_environment(), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    return seconds, done.stdout


def ours(folder: Path, out: Path) -> tuple[float, dict[str, Any]]:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "--ours", str(folder), str(out)]
    seconds, printed = _timed(command)
    return seconds, json.loads(printed.splitlines()[-1])


def datatrove(folder: Path, out: Path, python: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    script = out / "peer.py"
    script.write_text(DATATROVE, encoding="utf-8")
    return _timed([str(python), str(script), str(folder), str(out), str(WORKERS)])[0]


def kept_ids(folder: Path, pattern: str) -> set[str]:
    return {
        json.loads(line)["id"]
        for path in folder.glob(pattern)
        for line in path.open(encoding="utf-8")
    }


def quality(rows: Sequence[dict[str, Any]], kept: set[str]) -> dict[str, Any]:
    """Planted pairs by their exact Jaccard index: how many have lost a row, and wrong drops.

    `wrong`: rows that went although nothing of their family (an original and its edited copies)
    is as similar as the threshold.
    """
    from chatwright.curate.dedup.shingles import jaccard, shingle_set

    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["of"] or row["id"], []).append(row)
    found = {"0.7": [0, 0], "0.8": [0, 0]}
    wrong = 0
    for family in families.values():
        sets = {row["id"]: shingle_set(row["text"], 5) for row in family} if len(family) > 1 else {}
        best: dict[str, float] = {}
        for a, b in combinations(sets, 2):
            value = jaccard(sets[a], sets[b])
            best[a], best[b] = max(best.get(a, 0), value), max(best.get(b, 0), value)
            for bound, counts in found.items():
                if value >= float(bound):
                    counts[0] += 1
                    counts[1] += a not in kept or b not in kept
        wrong += sum(row["id"] not in kept and best.get(row["id"], 0) < THRESHOLD for row in family)
    return {
        "dropped": len(rows) - len(kept),
        "wrong": wrong,
        **{f"recall_{bound}": hit / max(total, 1) for bound, (total, hit) in found.items()},
    }


def dedup(
    documents: int = 5000, repeats: int = 3, scaling: Sequence[int] = ()
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Figures, ratios and demands, as `_machine.report` takes them."""
    from _datatrove_env import datatrove_python, versions
    from _machine import must

    python = datatrove_python()
    with tempfile.TemporaryDirectory(prefix="dedup-", dir=os.environ.get("TMPDIR")) as name:
        work = Path(name)
        rows = corpus(documents)
        write_inputs(rows, work / "in")
        mine, theirs, parts = [], [], []
        for turn in range(repeats):
            seconds, about = ours(work / "in", work / "ours")
            mine.append(seconds)
            parts.append(about)
            theirs.append(datatrove(work / "in", work / "datatrove", python))
            print(f"{turn}: {mine[-1]:.2f} s, datatrove {theirs[-1]:.2f} s", file=sys.stderr)
        our_quality = quality(rows, kept_ids(work / "ours", "kept-*.jsonl"))
        their_quality = quality(rows, kept_ids(work / "datatrove" / "kept", "*.jsonl"))
    seconds, peer = statistics.median(mine), statistics.median(theirs)
    figures: dict[str, Any] = {
        "dedup": {
            "documents": documents,
            "processes": WORKERS,
            "versions": versions("datatrove", "spacy"),
            "chatwright": {
                "seconds": mine,
                "documents_per_second": documents / seconds,
                **{k: statistics.median(p[k] for p in parts) for k in parts[0]},
                **our_quality,
            },
            "datatrove": {
                "seconds": theirs,
                "documents_per_second": documents / peer,
                **their_quality,
            },
        }
    }
    ratios = {"dedup_over_datatrove": peer / seconds}
    musts = [
        must("near-dedup, verified, over datatrove", peer / seconds, ">= 5"),
        must("rows dropped that are like no other", our_quality["wrong"], "<= 0"),
        must("pairs of 0.8 that lose a row", our_quality["recall_0.8"], ">= 0.97"),
    ]
    if scaling:
        points = scale(scaling)
        figures["dedup_scaling"] = points
        each = [point["cpu"] / point["documents"] for point in points]
        ratios["dedup_cpu_per_document_last_over_first"] = each[-1] / each[0]
        musts.append(must("dedup CPU per document, most over fewest", each[-1] / each[0], "<= 1.3"))
    return figures, ratios, musts


def scale(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The same at several sizes, and the picture of it."""
    points = []
    for documents in sizes:
        with tempfile.TemporaryDirectory(prefix="dedup-", dir=os.environ.get("TMPDIR")) as name:
            write_inputs(corpus(documents), Path(name) / "in")
            seconds, about = ours(Path(name) / "in", Path(name) / "ours")
        points.append({"documents": documents, "seconds": seconds, **about})
        print(f"{documents:,} documents: {seconds:.1f} s {about}", file=sys.stderr)
    plot(points)
    return points


def plot(points: Sequence[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    sizes = [point["documents"] / 1000 for point in points]
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=120)
    axes.plot(sizes, [p["cpu"] for p in points], "o-", color="#2563eb", label="all of it")
    end = points[-1]["cpu"]
    axes.plot([0, sizes[-1]], [0, end], "--", color="#6b7280", linewidth=1, label="proportional")
    axes.set_xlabel("documents of 4 kB, thousands")
    axes.set_ylabel("CPU seconds, all processes")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT)
    pyplot.close(figure)


def main() -> None:
    from _machine import machine, report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scaling", default=",".join(map(str, SCALING)), help="sizes, or nothing")
    given = parser.parse_args()
    if given.ours:
        run_ours(*given.ours)
        return
    about = machine()
    sizes = [int(size) for size in given.scaling.split(",") if size]
    report("curate_dedup", about, *dedup(given.documents, given.repeats, sizes))


if __name__ == "__main__":
    main()
