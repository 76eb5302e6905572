"""Extraction beside trafilatura and resiliparse: the article benchmark's pages, F1 and pages/s.

    .venv/bin/python benchmarks/_curate_extract.py [--rounds 3] [--quick]

Zyte's article-extraction benchmark: 181 news pages and the article text of each. The scorer is the
benchmark's own `evaluate.py` written anew: shingles of four words, as often as each occurs;
precision and recall a page, their means over the pages, F1 of the means. Markdown's marks are
taken out first. `held_out` are the pages at odd positions by sorted id, which nobody looked at
while the extractor was made; `all` are all.

All in one process: in a round every extractor goes over all pages (as bytes), another one first
each time. Pages/s are per core: pages over the sum of each page's least processor time, so that
what else the machine does counts little. Needs CHATWRIGHT_DATA. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any

from _machine import machine, must, report

Extract = Callable[[bytes], str | None]
OURS, PEER = "chatwright", "trafilatura alone"
F1_MUST = 0.95
SPEED_MUST, SPEED_AIM = 1.5, 5.0

_WORD = re.compile(r"\w+")
_MARKS = re.compile(r"[*`#>|]")


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words; a shorter text is one run."""
    words = _WORD.findall(text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3)) if words)


def precision_and_recall(found: str, wanted: str) -> tuple[float, float]:
    """Of one page; both are 1 where neither text has a word."""
    got, truth = shingles(found), shingles(wanted)
    common = (got & truth).total()
    extra, missed = got.total() - common, truth.total() - common
    if not extra and not missed:
        return 1.0, 1.0
    precision = common / (common + extra) if common + extra else 0.0
    recall = common / (common + missed) if common + missed else 1.0
    return precision, recall


@dataclass(frozen=True, slots=True)
class Page:
    name: str
    html: bytes
    article: str


def read_pages(folder: Path) -> list[Page]:
    """The benchmark's pages by sorted id."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    return [
        Page(
            name,
            gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()),
            truth[name]["articleBody"],
        )
        for name in sorted(truth)
    ]


def extractors() -> dict[str, Extract]:
    """What is compared: ours by each of its extractors, and the libraries alone."""
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    from chatwright.curate.article.source import decode
    from chatwright.curate.extract import extract_text

    return {
        OURS: extract_text,
        "chatwright, extractor trafilatura": lambda h: extract_text(h, extractor="trafilatura"),
        "chatwright, extractor resiliparse": lambda h: extract_text(h, extractor="resiliparse"),
        PEER: trafilatura.extract,
        "trafilatura alone, fast": lambda html: trafilatura.extract(
            html, fast=True, include_comments=False
        ),
        # The call that datatrove's Trafilatura extractor makes.
        "trafilatura alone, as datatrove": lambda html: trafilatura.extract(
            decode(html), favor_precision=True, include_comments=False, deduplicate=True
        ),
        "resiliparse alone": lambda html: extract_plain_text(
            decode(html), main_content=True, list_bullets=False
        ),
    }


def f1(scores: list[tuple[float, float]]) -> dict[str, float]:
    precision, recall = mean(p for p, _ in scores), mean(r for _, r in scores)
    value = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "f1": round(value, 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
    }


def run(folder: Path, *, rounds: int = 3, quick: bool = False) -> dict[str, Any]:
    """`figures`, `ratios` and `musts` in the shape of `_machine.report`."""
    pages = read_pages(folder)[:: 6 if quick else 1]
    compared = extractors()
    found: dict[str, list[str]] = {name: [] for name in compared}
    best: dict[str, list[float]] = {name: [inf] * len(pages) for name in compared}
    for extract in compared.values():
        extract(pages[0].html)  # imports and compiled patterns
    names = list(compared)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            extract, mine = compared[name], best[name]
            for number, page in enumerate(pages):
                start = time.process_time()
                text = extract(page.html)
                mine[number] = min(mine[number], time.process_time() - start)
                if turn == 0:  # later, a library that remembers texts gives less
                    found[name].append(text or "")
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    seconds = {name: sum(times) for name, times in best.items()}
    figures: dict[str, Any] = {}
    for name in compared:
        scores = [
            precision_and_recall(_MARKS.sub("", text), page.article)
            for text, page in zip(found[name], pages, strict=True)
        ]
        figures[name] = {
            "pages_per_second": round(len(pages) / seconds[name], 1),
            "all": f1(scores),
            "held_out": f1(scores[1::2]),
            "developed_on": f1(scores[0::2]),
        }
    ratios = {
        f"pages/s, {OURS} over {name}": round(seconds[name] / seconds[OURS], 2)
        for name in compared
        if name != OURS
    }
    speed = ratios[f"pages/s, {OURS} over {PEER}"]
    return {
        "figures": figures,
        "ratios": ratios,
        "musts": [
            must("extraction F1 on the article benchmark", figures[OURS]["all"]["f1"], ">= 0.95"),
            must("extraction pages/s over trafilatura", speed, f">= {SPEED_MUST}"),
        ],
        "aims": [must("extraction pages/s over trafilatura", speed, f">= {SPEED_AIM}")],
    }


def show(result: dict[str, Any]) -> None:
    for name, figure in result["figures"].items():
        speed, every, held_out = (
            figure["pages_per_second"],
            figure["all"]["f1"],
            figure["held_out"]["f1"],
        )
        print(f"{name:36} {speed:7.1f} pages/s   F1 all {every:.4f}   held out {held_out:.4f}")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="every sixth page, one round")
    args = parser.parse_args()
    data = os.environ.get("CHATWRIGHT_DATA")
    if not data:
        print("CHATWRIGHT_DATA is not set: no pages to measure on", file=sys.stderr)
        return 2
    about = machine()
    folder = Path(data) / "web" / "article-extraction"
    result = run(folder, rounds=1 if args.quick else args.rounds, quick=args.quick)
    show(result)
    report("curate-extract", about, result["figures"], result["ratios"], result["musts"])
    return 0 if all(m["holds"] for m in result["musts"]) else 1


if __name__ == "__main__":
    sys.exit(main())
