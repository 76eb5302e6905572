"""Made pages with planted duplicates, joined as a curation does, and a plain oracle of Jaccard."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from chatwright.curate.dedup import (
    DedupRow,
    DedupSettings,
    JoinResult,
    Verdict,
    apply_verdict,
    dedup_keys,
    join,
)

MIB = 1 << 20
_TOKEN = re.compile(
    r"[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff]|[^\W_\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff]+"
)


def rows_of(texts: Sequence[str], uris: Sequence[str] | None = None) -> list[DedupRow]:
    """Rows in order; `words` is the number of characters."""
    return [
        DedupRow(n, f"id-{n}", uris[n] if uris else f"https://site.test/{n}", text, words=len(text))
        for n, text in enumerate(texts)
    ]


def write_shards(
    shards: Sequence[Sequence[DedupRow]], settings: DedupSettings, folder: Path
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, rows in enumerate(shards):
        paths.append(folder / f"keys-{number:04d}.parquet")
        pq.write_table(dedup_keys(rows, settings), paths[-1])
    return paths


def verdicts(found: JoinResult, shards: int) -> dict[int, Verdict]:
    return {p: v for n in range(shards) for p, v in found.of(n).items()}


def deduplicate(
    rows: Sequence[DedupRow], settings: DedupSettings, folder: Path, **more: object
) -> dict[int, Verdict]:
    """All of it, with the rows in one shard."""
    keys = write_shards([rows], settings, folder)
    return verdicts(join(keys, settings, scratch=folder, memory=256 * MIB, **more), 1)  # type: ignore[arg-type]


def left(rows: Sequence[DedupRow], found: dict[int, Verdict]) -> list[str | None]:
    """The rows' texts afterwards; None for those that went."""
    out: list[str | None] = []
    for row in rows:
        verdict = found.get(row.position, Verdict())
        out.append(None if verdict.drop else apply_verdict(row.text, verdict)[0])
    return out


def plain_shingles(text: str, ngram: int = 5) -> set[tuple[str, ...]]:
    """The definition, word for word: runs of tokens worth `8 * ngram`, or the whole if shorter."""
    words = _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
    found = set()
    for start in range(len(words)):
        worth = 0
        for end in range(start, len(words)):
            one = words[end]
            worth += 5 if "\u3040" <= one < "\ua000" and len(one) == 1 else 8
            if worth >= 8 * ngram:
                found.add(tuple(words[start : end + 1]))
                break
    return found or ({tuple(words)} if words else set())


def plain_jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    either = len(one | other)
    return len(one & other) / either if either else 0.0


def make_words(rng: random.Random, language: str, count: int) -> list[str]:
    """Words of one or two characters, or of letters, in a distribution like that of speech."""
    if language == "zh":
        common = [chr(0x4E00 + 7 * n) for n in range(700)]
        words = [a + b for a, b in pairwise(common)] + common[:60]
    else:
        parts = ["ka", "lo", "mi", "ter", "son", "ve", "dra", "qui", "pel", "nor", "ash", "ub"]
        words = [a + b + c for a in parts for b in parts for c in ["", "s", "ing", "ed"]]
    weights = [1 / (n + 3) for n in range(len(words))]
    return rng.choices(words, weights, k=count)


def as_text(words: Sequence[str], language: str) -> str:
    """Sentences of nine words."""
    gap, stop = ("", "\u3002") if language == "zh" else (" ", ". ")
    return stop.join(gap.join(words[n : n + 9]) for n in range(0, len(words), 9)) + stop.strip()


def edited(rng: random.Random, words: Sequence[str], language: str, changes: int) -> list[str]:
    """The words with some inserted, deleted or swapped, singly or in runs of up to four."""
    out = list(words)
    for _ in range(changes):
        kind = rng.choice(["insert", "delete", "swap", "replace"])
        at = rng.randrange(max(1, len(out) - 8))
        run = rng.randint(1, 4)
        if kind == "insert":
            out[at:at] = make_words(rng, language, run)
        elif kind == "delete":
            del out[at : at + run]
        elif kind == "replace":
            out[at : at + run] = make_words(rng, language, run)
        else:
            out[at : at + 2 * run] = out[at + run : at + 2 * run] + out[at : at + run]
    return out


def planted(language: str, seed: int, originals: int = 70) -> list[str]:
    """Pages with planted near-duplicates, template pages, and translations of their boilerplate."""
    rng = random.Random(seed)
    other = "en" if language == "zh" else "zh"
    texts: list[str] = []
    for _ in range(originals):
        words = make_words(rng, language, rng.randint(30, 400))
        texts.append(as_text(words, language))
        for _ in range(rng.choice([0, 0, 1, 2, 4])):
            changes = rng.randint(1, 2 + len(words) // 40)
            texts.append(as_text(edited(rng, words, language, changes), language))
    for share in (0.3, 0.6, 0.75, 0.9):  # the same frame around different contents
        frame = make_words(rng, language, 200)
        translated = as_text(make_words(rng, other, 200), other)
        own = round(200 * (1 - share) / share)
        for _ in range(8):
            content = as_text(make_words(rng, language, own), language)
            texts.append(as_text(frame, language) + "\n\n" + content)
            texts.append(translated + "\n\n" + content)
    rng.shuffle(texts)
    return texts
