"""The labelled and the ordinary texts that the toxicity models are trained and tested on."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO, cast

from chatwright.curate.textmodels.prepare import PART_LENGTH, prepare, split_parts
from chatwright.errors import DataError

Kind = Literal["labelled", "ordinary"]
_ORDINARY = 6_000  # parts of ordinary text for each language: a quarter of the labelled
_PER_DOCUMENT = 40


@dataclass(frozen=True, slots=True)
class Example:
    """A text, whether people called it offensive, where it is from, and its part 0…9 by hash."""

    text: str
    offensive: bool
    kind: Kind
    bucket: int


def bucket(text: str, language: str) -> int:
    """0…9 by the hash of the prepared text: reposts of one text fall into one bucket."""
    digest = hashlib.blake2b(prepare(text, language).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A gzip file's text; `DataError` names it when it is missing or broken."""
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield cast(TextIO, file)
    except FileNotFoundError:
        raise DataError(
            "a training set is missing",
            where=str(path),
            hint="name the folder of the public data sets with --data or CHATWRIGHT_DATA",
        ) from None
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise DataError(f"this cannot be read: {error}", where=str(path)) from error


def _rows(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    with _opened(path) as file:
        reader = csv.DictReader(file)
        missing = set(needed) - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"columns are missing: {', '.join(sorted(missing))}", where=str(path))
        yield from reader


def davidson(data: Path) -> Iterator[Example]:
    """English tweets; hate and offensive (class 0, 1) against neither (2). Davidson et al. 2017."""
    for row in _rows(data / "classify" / "davidson_en.csv.gz", ["class", "tweet"]):
        yield Example(row["tweet"], row["class"] != "2", "labelled", bucket(row["tweet"], "en"))


def cold(data: Path, split: Literal["train", "dev"]) -> Iterator[Example]:
    """Chinese comments on region, race and gender. Deng et al. 2022 (arXiv:2201.06025)."""
    for row in _rows(data / "classify" / f"cold_zh_{split}.csv.gz", ["label", "TEXT"]):
        yield Example(row["TEXT"], row["label"] == "1", "labelled", bucket(row["TEXT"], "zh"))


def _documents(data: Path, language: str) -> Iterator[str]:
    with _opened(data / "sft" / f"alpaca_{language}_demo.json.gz") as file:
        for row in json.load(file):
            yield f"{row['instruction']}\n{row['output']}"
    name = "books_en" if language == "en" else "mixed_zh"
    with _opened(data / "pretrain" / f"{name}.jsonl.gz") as file:
        for line in file:
            row = json.loads(line)
            # Share-alike texts stay out of what is trained.
            if language == "en" or row.get("license") in ("MIT", "Apache-2.0"):
                yield row["text"][20_000:40_000] if language == "en" else row["text"][:20_000]


def ordinary(data: Path, language: str, most: int = _ORDINARY) -> list[Example]:
    """Parts of assistants' answers, books and documentation, taken to be inoffensive.

    Nobody labelled them; they teach what text is like that is not from a quarrel.
    """
    found: list[Example] = []
    for document in _documents(data, language):
        # Long parts and short ones in turn: an answer may be a single "Yes."
        short = len(found) % 2 == 1
        parts = split_parts(document, language, PART_LENGTH[language] // 6 if short else None)
        step = max(1, len(parts) // _PER_DOCUMENT)
        found.extend(
            Example(part, False, "ordinary", bucket(part, language)) for part in parts[::step]
        )
    found.sort(key=lambda e: hashlib.blake2b(e.text.encode("utf-8", "replace")).digest())
    return found[:most]


def held_out_prose(data: Path, language: str) -> list[Example]:
    """Parts of encyclopedic text from places that nothing was trained on; false alarms only."""
    found: list[Example] = []
    if language == "en":
        with _opened(data / "pretrain" / "wikitext2_test.txt.gz") as file:
            text = file.read().replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".")
            documents = [line for line in text.splitlines() if len(line) > 40]
    else:
        with _opened(data / "pretrain" / "mixed_zh.jsonl.gz") as file:
            rows = (json.loads(line) for line in file)
            documents = [r["text"][:3_000] for r in rows if r.get("license") == "CC-BY-SA-4.0"]
    for document in documents:
        found.extend(
            Example(part, False, "ordinary", bucket(part, language))
            for part in split_parts(document, language)
        )
    return found
