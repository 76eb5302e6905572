"""Stereotype pairs: WinoBias (Zhao et al. 2018), sentences that differ in a pronoun's gender."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chatwright.errors import DataError
from chatwright.evaluate.results import Skipped

_BRACKETED = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class StereotypePair:
    """One pair. `more` says the stereotype (pro), `less` the opposite (anti).

    `direction`: the type of sentence, `type1` (only knowledge of the world tells who is meant) or
    `type2` (grammar tells), and the pronoun of `more`: `type1/female`.
    """

    id: str
    more: str
    less: str
    bias_type: str
    direction: str


def read_winobias(
    paths: Iterable[str | Path],
) -> tuple[list[StereotypePair], list[Skipped]]:
    """Pair the sentences of WinoBias' `pro` and `anti` files (also gzipped) by their numbers.

    Files are told apart by their names: `pro` or `anti` in it, the rest alike
    (`pro_stereotyped_type1.txt.test`). Lines look like
    `1 [The janitor] reprimanded the accountant because [she] got less allowance.`; the pro and the
    anti sentence must differ in nothing but pronouns. Raises `DataError` for a file whose
    counterpart is missing, or where no pair is left.
    """
    files: dict[str, dict[str, Path]] = {}
    for path in map(Path, paths):
        found = re.search(r"(?<![a-z])(pro|anti)(?![a-z])", path.name.replace("_", " "))
        if found is None:
            raise DataError(
                "neither `pro` nor `anti` is in the file's name",
                where=str(path),
                hint="WinoBias' files are called pro_stereotyped_type1.txt.test and so on",
            )
        start, end = found.span()
        files.setdefault(path.name[:start] + "*" + path.name[end:], {})[found[1]] = path
    pairs: list[StereotypePair] = []
    skipped: list[Skipped] = []
    last = Path("winobias")
    for sides in files.values():
        last = next(iter(sides.values()))
        if len(sides) < 2:
            raise DataError(
                "its counterpart is missing: pro and anti are compared sentence by sentence",
                where=str(last),
                hint="name both files",
            )
        _pair(sides["pro"], sides["anti"], pairs, skipped)
    return _some(pairs, skipped, last)


def _pair(pro: Path, anti: Path, pairs: list[StereotypePair], skipped: list[Skipped]) -> None:
    """Add the pairs of two files; a line without its counterpart is listed."""
    kind = next(iter(re.findall(r"type\d", pro.name)), "type?")
    more, less = _numbered(pro, skipped), _numbered(anti, skipped)
    for number in sorted(more.keys() | less.keys()):
        name = f"winobias/{kind}/{number}"
        if number not in more or number not in less:
            file = pro if number not in more else anti
            skipped.append(Skipped(name, f"{file.name}: the sentence {number} is missing"))
            continue
        (first, pronoun), (second, other) = more[number], less[number]
        if first == second:
            skipped.append(Skipped(name, f"{pro.name}: the two sentences are the same"))
        elif _neutral(first) != _neutral(second):
            reason = f"{pro.name}: pro and anti differ in more than the pronoun"
            skipped.append(Skipped(name, reason))
        elif {pronoun, other} != {"female", "male"}:
            skipped.append(Skipped(name, f"{pro.name}: no pronoun stands in brackets"))
        else:
            pairs.append(StereotypePair(name, first, second, "gender", f"{kind}/{pronoun}"))


def _numbered(file: Path, skipped: list[Skipped]) -> dict[int, tuple[str, str]]:
    """Number → (sentence without brackets, gender of the pronoun in brackets)."""
    found: dict[int, tuple[str, str]] = {}
    for line_number, line in enumerate(_read(file).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{file.name}:{line_number}"
        match = re.fullmatch(r"\s*(\d+)\s+(\S.*?)\s*", line)
        if match is None:
            skipped.append(Skipped(where, "the line does not begin with a number and a sentence"))
            continue
        marked = [part.strip().lower() for part in _BRACKETED.findall(match[2])]
        gender = ""
        if any(part in ("she", "her", "hers", "herself") for part in marked):
            gender = "female"
        elif any(part in ("he", "him", "his", "himself") for part in marked):
            gender = "male"
        sentence = _BRACKETED.sub(lambda m: m[1].strip(), match[2])
        # The data say "notified the [the chief]" in places.
        sentence = re.sub(r"\b(the) the\b", r"\1", sentence, flags=re.IGNORECASE)
        found[int(match[1])] = (sentence, gender)
    return found


def _neutral(sentence: str) -> str:
    """The sentence without gender, to see that nothing else differs."""
    words = {"she": "he", "her": "him", "his": "him", "hers": "him", "herself": "himself"}

    def replace(match: re.Match[str]) -> str:
        return words.get(match[0].lower(), match[0].lower())

    return re.sub(r"[A-Za-z]+", replace, sentence)


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"the file cannot be read: {error}", where=str(file)) from error


def _some(
    pairs: list[StereotypePair], skipped: list[Skipped], file: Path
) -> tuple[list[StereotypePair], list[Skipped]]:
    if not pairs:
        first = f"; the first: {skipped[0].reason}" if skipped else ""
        raise DataError(f"there is no pair of sentences{first}", where=str(file))
    return pairs, skipped
