"""All quality rules together beside datatrove's four filters: the same documents, one run.

    .venv/bin/python benchmarks/_curate_quality.py [--processes 1] [--rounds 3] [--documents 1000]

Documents of 4,000 characters, cut from English books and news articles. datatrove:
Gopher repetition, Gopher quality, C4 and FineWeb in the order of its FineWeb example, a document
leaving at the first filter that drops it. Ours: the presets `gopher`, `c4` and `fineweb` at once,
lines taken out and every measure taken of every document, whatever drops it. Each round starts
fresh processes for both, the one first and the other first in turn; models and dictionaries are
read before the clock starts. The ratio is the median of the rounds' own; beside it is that of the
processors' time, which other work on the machine changes less.

Beside it: how often single verdicts agree, on these documents, on broken ones made from them, and
on Chinese ones under FineWeb-2's rules. Needs CHATWRIGHT_DATA. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _datatrove_env import datatrove_python, versions
from _machine import machine, must, report

SIZE = 4_000
FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")

THEIRS = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
from datatrove.data import Document
from datatrove.pipeline.filters import (C4QualityFilter, FineWebQualityFilter, GopherQualityFilter,
                                        GopherRepetitionFilter)
from loguru import logger
logger.remove()
asked = json.load(open(sys.argv[1]))
texts = asked["texts"]
if asked["language"] == "zh":
    zh = asked["zh"]
    filters = {
        "gopher_repetition": GopherRepetitionFilter(
            language="cmn_Hani", dup_para_frac=0, dup_line_char_frac=0, dup_para_char_frac=0,
            dup_line_frac=0.287, top_n_grams=zh["top"], dup_n_grams=zh["duplicate"]),
        "fineweb": FineWebQualityFilter(language="cmn_Hani", short_line_thr=999,
            char_duplicates_ratio=0.1, line_punct_thr=0.106, new_line_ratio=0.178),
        "gopher_quality": GopherQualityFilter(language="cmn_Hani", max_avg_word_length=5,
            min_avg_word_length=1, stop_words=zh["stop"], max_non_alpha_words_ratio=0.735,
            min_stop_words=2),
    }
else:
    filters = {"gopher_repetition": GopherRepetitionFilter(),
               "gopher_quality": GopherQualityFilter(), "c4": C4QualityFilter(),
               "fineweb": FineWebQualityFilter()}

def verdict(name, text):
    document = Document(text=text, id="0")
    try:
        found = filters[name].filter(document)
    except ZeroDivisionError:  # a text without a word
        found = False, "error"
    return (None if found is True else found[1] if isinstance(found, tuple) else name,
            document.text)

for name in filters:
    verdict(name, "A first text, so that what is loaded lazily is there. " * 30)
out = {}
if asked["all"]:
    out["verdicts"] = {name: [verdict(name, t)[0] for t in texts] for name in filters}
else:
    started, cpu = time.perf_counter(), time.process_time()
    kept = 0
    for text in texts:
        for name in filters:
            failed, text = verdict(name, text)
            if failed is not None:
                break
        else:
            kept += 1
    out = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu,
           "kept": kept}
json.dump(out, sys.stdout)
"""
OURS = """
import json, sys, time
from chatwright.curate.candidate import Candidate
from chatwright.curate.language import Language
from chatwright.curate.measuring.step import make_step
from chatwright.records import Document
asked = json.load(open(sys.argv[1]))
step = make_step(["gopher", "c4", "fineweb"])
def rows(texts):
    return [Candidate(Document(str(i), t, "u", "s"), "s", t, language=Language("en", 1.0))
            for i, t in enumerate(texts)]
step(rows(["A first text, so that what is loaded lazily is there \u2013 \u6211\u4eec. " * 30]))
batch = rows(asked["texts"])
started, cpu = time.perf_counter(), time.process_time()
for start in range(0, len(batch), 256):
    step(batch[start:start + 256])
out = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
json.dump({**out, "kept": sum(not c.dropped for c in batch)}, sys.stdout)
"""


def data() -> Path:
    return Path(os.environ["CHATWRIGHT_DATA"])


def english(count: int) -> list[str]:
    """Documents of `SIZE` characters, in turn from books and from news as long as there is any."""
    sources = [_books(), _news()]
    texts: list[str] = []
    for at in range(count):
        text = next(sources[at % 2], None) or next(sources[0], None)
        if text is None:
            break
        texts.append(text)
    return texts


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from lines


def _books() -> Iterator[str]:
    for line in _lines(data() / "pretrain" / "books_en.jsonl.gz"):
        # datatrove takes the returns of DOS line ends for text, and drops such pages.
        text = json.loads(line)["text"].replace("\r\n", "\n")
        for start in range(20_000, min(len(text), 60_000) - SIZE, SIZE):
            yield text[start : start + SIZE]


def _news() -> Iterator[str]:
    folder = data() / "web" / "article-extraction"
    found = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    text = "\n".join(item["articleBody"] for item in found.values())
    for start in range(0, len(text) - SIZE, SIZE):
        yield text[start : start + SIZE]


def chinese(count: int) -> list[str]:
    """Chinese documents without Markdown, of `SIZE` / 3 characters: as many bytes."""
    texts = []
    for line in _lines(data() / "pretrain" / "mixed_zh.jsonl.gz"):
        text = json.loads(line)["text"][: SIZE // 3]
        if len(text) == SIZE // 3 and not any(mark in text for mark in "`$|#*"):
            texts.append(text)
    step = max(1, len(texts) // count)
    return texts[::step][:count]


def broken(texts: list[str], seed: int = 5) -> list[str]:
    """What goes wrong with pages, done to good ones: lists, repetition, cut lines, no words."""
    rng = random.Random(seed)
    out = []
    for at, text in enumerate(texts):
        lines = [line for line in text.split("\n") if line.strip()]
        words = text.split()
        kind = at % 8
        if kind == 0:
            lines += rng.choices(lines, k=max(1, len(lines) // 2))
        elif kind == 1:
            lines = ["- " + " ".join(words[i : i + 5]) for i in range(0, len(words), 5)]
        elif kind == 2:
            lines = [line.rstrip(".!?\u3002") + "..." for line in lines]
        elif kind == 3:
            lines = [text[:300]] * 6 + lines[:2]
        elif kind == 4:
            lines = [line[:25] for line in lines] + [" ".join(words[:60])]
        elif kind == 5:
            lines = [" ".join("".join(rng.choices("0123456789#", k=4)) for _ in words)]
        elif kind == 6:
            lines = [" ".join(words[:40])]
        else:
            lines = [f"{line} {{x}}" if n == 2 else line for n, line in enumerate(lines)]
        out.append("\n".join(lines))
    return out


class Runner:
    """Starts the processes that measure, each with its share of the documents."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder, self.processes = folder, processes
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    def theirs(self, texts: list[str], **asked: Any) -> list[dict[str, Any]]:
        return self._run(datatrove_python(), THEIRS, texts, asked)

    def ours(self, texts: list[str], **asked: Any) -> list[dict[str, Any]]:
        return self._run(Path(sys.executable), OURS, texts, asked)

    def _run(
        self, python: Path, script: str, texts: list[str], asked: dict[str, Any]
    ) -> list[dict[str, Any]]:
        started = []
        for part in range(self.processes):
            file = self.folder / f"asked{part}.json"
            share = texts[part :: self.processes]
            value = {"language": "en", "all": False, **asked, "texts": share}
            file.write_text(json.dumps(value), encoding="utf-8")
            started.append(
                subprocess.Popen(
                    [python, "-c", script, str(file)],
                    stdout=subprocess.PIPE,
                    env=self.environment,
                )
            )
        found = []
        for process in started:
            out, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"{python} ended with {process.returncode}")
            found.append(json.loads(out))
        return found


def per_second(found: list[dict[str, Any]], documents: int) -> float:
    """All processes' documents by the time of the slowest."""
    return documents / max(part["seconds"] for part in found)


def our_verdicts(texts: list[str], language: str) -> dict[str, list[bool]]:
    """Whether each of datatrove's filters, as our tables have it, drops each text."""
    from chatwright.curate.measures import REPETITION, measure_many
    from chatwright.curate.measuring.lines import remove_lines
    from chatwright.curate.quality import failures, load_preset

    repeats = {*REPETITION, "duplicate_line_ratio", "duplicate_line_character_ratio"}
    repeats |= {"duplicate_paragraph_ratio", "duplicate_paragraph_character_ratio"}
    own = {"terminal_line_ratio", "short_line_ratio", "new_line_ratio"}
    own |= {"duplicate_line_character_ratio"}
    found = measure_many(texts)

    def fails(preset: str, names: set[str] | None, inside: bool) -> list[bool]:
        rules = load_preset(preset)
        return [
            any(names is None or (f.rule in names) is inside for f in failures(m, rules, language))
            for m in found
        ]

    if language == "zh":
        apart = repeats - {"duplicate_line_character_ratio"}
        return {
            "gopher_repetition": fails("fineweb2-zh", apart, True),
            "gopher_quality": fails("fineweb2-zh", apart | own, False),
            "fineweb": fails("fineweb2-zh", own, True),
        }
    c4 = load_preset("c4")
    lines = c4.line_rules(language)
    assert lines is not None
    left = measure_many([remove_lines(text, lines).text for text in texts])
    return {
        "gopher_repetition": fails("gopher", repeats, True),
        "gopher_quality": fails("gopher", repeats, False),
        "c4": [bool(failures(m, c4, language)) for m in left],
        "fineweb": fails("fineweb", own, True),
    }


def agreement(runner: Runner, texts: list[str], language: str) -> dict[str, Any]:
    """For each filter: equal verdicts, and what either drops alone, with datatrove's reasons."""
    from chatwright.curate.measuring.words import CHINESE_STOP
    from chatwright.curate.quality import load_preset

    bounds = load_preset("fineweb2-zh").bounds("zh")
    zh = {
        "top": [[n, bounds[f"top_{n}_gram_ratio"].max] for n in (2, 3, 4)],
        "duplicate": [[n, bounds[f"duplicate_{n}_gram_ratio"].max] for n in range(5, 11)],
        "stop": CHINESE_STOP,
    }
    (found,) = runner.theirs(texts, language=language, all=True, zh=zh)
    ours = our_verdicts(texts, language)
    out: dict[str, Any] = {"documents": len(texts)}
    for name, theirs in found["verdicts"].items():
        pairs = list(zip(ours[name], theirs, strict=True))
        only = Counter(reason for mine, reason in pairs if reason and not mine)
        out[name] = {
            "same": round(sum(mine is bool(reason) for mine, reason in pairs) / len(pairs), 4),
            "both_drop": sum(mine and bool(reason) for mine, reason in pairs),
            "only_ours": sum(mine and not reason for mine, reason in pairs),
            "only_theirs": dict(only.most_common()),
        }
    return out


def measure(
    processes: int = 1, rounds: int = 3, documents: int = 1_000, verdicts: int = 240
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Figures, ratios and demands (`_machine.must`) of the quality rules."""
    texts = english(documents)
    speeds: list[tuple[float, float]] = []
    cpu: list[float] = []
    kept: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        runner = Runner(Path(temporary), processes)
        for number in range(rounds):
            both, used = {}, {}
            for who in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
                found = getattr(runner, who)(texts)
                both[who] = per_second(found, len(texts))
                used[who] = sum(part["cpu"] for part in found)
                kept[who] = sum(part["kept"] for part in found)
            speeds.append((both["ours"], both["theirs"]))
            cpu.append(used["theirs"] / used["ours"])
        single = Runner(Path(temporary), 1)
        good = english(verdicts)
        agreed = {
            "en": agreement(single, good, "en"),
            "en_broken": agreement(single, broken(good), "en"),
            "zh": agreement(single, chinese(verdicts // 2), "zh"),
            "zh_broken": agreement(single, broken(chinese(verdicts // 2)), "zh"),
        }
    ratio = round(statistics.median(ours / theirs for ours, theirs in speeds), 1)
    figures = {
        "documents": len(texts),
        "processes": processes,
        "peer": versions("datatrove", "spacy"),
        "ours_documents_per_second": round(statistics.median(o for o, _ in speeds), 1),
        "theirs_documents_per_second": round(statistics.median(t for _, t in speeds), 1),
        "rounds": [[round(o, 1), round(t, 1)] for o, t in speeds],
        "kept": kept,
        "verdicts": agreed,
    }
    musts = [must("quality rules, times datatrove's four filters", ratio, ">= 10")]
    return figures, {"quality": ratio, "quality_cpu": round(statistics.median(cpu), 1)}, musts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--verdicts", type=int, default=240, help="documents whose verdicts count")
    args = parser.parse_args()
    if not os.environ.get("CHATWRIGHT_DATA"):
        parser.error("set CHATWRIGHT_DATA to the folder of public data sets")
    about = machine()
    figures, ratios, musts = measure(args.processes, args.rounds, args.documents, args.verdicts)
    report("curate-quality", about, figures, ratios, musts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
