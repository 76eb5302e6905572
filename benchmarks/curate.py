"""Curation beside its peers: quality rules, near-duplicates, extraction, the whole pipeline.

    script/bench curate [--part quality dedup extract pipeline] [--quick]

Each part is a module of its own that says what it compares (`_curate_quality.py` and so on) and
runs the peer in an environment of its own below `.bench/`. Same documents, same processes, in turn.
`--quick` takes few documents and one round: it shows that everything works, and not how fast it is,
for starting takes longest. Needs CHATWRIGHT_DATA. The last line is JSON; the exit status is 1 where
a demand does not hold, unless `--quick`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _machine import machine, report

Found = tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]


def quality(quick: bool) -> Found:
    from _curate_quality import measure

    if quick:
        return measure(processes=2, rounds=1, documents=80, verdicts=24)
    return measure(processes=2)


def dedup(quick: bool) -> Found:
    from _curate_dedup import SCALING
    from _curate_dedup import dedup as compare

    return compare(600, 1) if quick else compare(scaling=SCALING)


def extract(quick: bool) -> Found:
    from _curate_extract import run

    folder = Path(os.environ["CHATWRIGHT_DATA"]) / "web" / "article-extraction"
    result = run(folder, rounds=1 if quick else 3, quick=quick)
    return result["figures"], result["ratios"], result["musts"]


def pipeline(quick: bool) -> Found:
    from _curate_pipeline import pipeline as compare

    return compare(120, 1) if quick else compare()


PARTS: dict[str, Callable[[bool], Found]] = {
    "quality": quality,
    "dedup": dedup,
    "extract": extract,
    "pipeline": pipeline,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few documents, one round")
    args = parser.parse_args()
    if not os.environ.get("CHATWRIGHT_DATA"):
        parser.error("set CHATWRIGHT_DATA to the folder of public data sets")
    about = machine() | {"quick": args.quick}
    figures: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    musts: list[dict[str, Any]] = []
    for part in dict.fromkeys(args.part):
        print(f"{part} ...", file=sys.stderr, flush=True)
        found, compared, demands = PARTS[part](args.quick)
        figures[part] = found
        ratios |= compared
        musts += demands
        for demand in demands:
            word = "holds" if demand["holds"] else "FAILS"
            print(f"  {word}: {demand['name']}: {demand['value']} ({demand['bound']})")
    report("curate", about, figures, ratios, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
