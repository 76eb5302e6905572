"""Near-duplicates against the plain definition: exact Jaccard over all pairs of planted pages."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from dedup_corpus import (
    MIB,
    as_text,
    deduplicate,
    edited,
    make_words,
    plain_jaccard,
    plain_shingles,
    planted,
    rows_of,
    verdicts,
    write_shards,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.dedup import (
    DedupRow,
    DedupSettings,
    LineSettings,
    NearSettings,
    Verdict,
    join,
)
from chatwright.curate.dedup.folding import CHARACTER, TOKEN, folded
from chatwright.curate.dedup.minhash import band_keys, chance, choose_bands, signatures
from chatwright.curate.dedup.shingles import (
    _AT_ONCE,
    jaccard,
    shingle_set,
    shingles,
    tokens,
)
from chatwright.curate.quality import RepeatedParagraphs

NEAR = DedupSettings(documents=False, near=NearSettings(survivor="first"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_precision_and_recall_against_every_pair(language: str, tmp_path: Path) -> None:
    texts = planted(language, seed=3)
    found = deduplicate(rows_of(texts), NEAR, tmp_path)
    sets = [plain_shingles(text) for text in texts]
    number = {f"id-{n}": n for n in range(len(texts))}
    gone = {p: v.drop for p, v in found.items() if v.drop}
    assert len(gone) > 60
    for position, note in gone.items():
        other = number[note.other_id or ""]
        exact = plain_jaccard(sets[position], sets[other])
        assert exact >= 0.7
        assert note.value == pytest.approx(exact, abs=1e-12)
        assert other not in gone  # what stays for it does stay
    alike = missed = at_all = missed_at_all = 0
    for a, b in combinations(range(len(texts)), 2):
        value = plain_jaccard(sets[a], sets[b])
        both_stay = a not in gone and b not in gone
        at_all += value >= 0.7
        missed_at_all += value >= 0.7 and both_stay
        alike += value >= 0.8
        missed += value >= 0.8 and both_stay
    assert at_all > alike > 60
    assert missed <= 0.03 * alike
    assert missed_at_all <= 0.1 * at_all  # the bands find 93 % at the threshold itself
    merged = {p: v.merged for p, v in found.items() if v.merged}
    assert sum(merged.values()) == len(gone)
    assert {number[note.other_id or ""] for note in gone.values()} == set(merged)


def test_one_threshold_means_the_same_change_in_both_languages() -> None:
    """Every twentieth word replaced: the same Jaccard index for English and for Chinese."""
    means = {}
    for language in ("en", "zh"):
        rng = random.Random(5)
        values = []
        for _ in range(40):
            before = make_words(rng, language, 400)
            after = list(before)
            for at in range(0, 400, 20):
                after[at] = make_words(rng, language, 1)[0]
            pair = [shingle_set(as_text(w, language), 5) for w in (before, after)]
            values.append(jaccard(*pair))
        means[language] = float(np.mean(values))
    assert means["zh"] == pytest.approx(means["en"], abs=0.04)


_TEXT = st.text(
    alphabet=st.sampled_from(
        "ab AB\n._-9\u00e9\u00df\u4f1a\u8bdd\u3042\ud55c\u0130\uff21\u3002\U0001f600\U00020000"
    ),
    max_size=40,
)


def flat(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(array) for array in arrays])
    return np.concatenate(arrays), np.concatenate(([0], lengths.cumsum()))


def check_tokens(texts: Sequence[str]) -> None:
    """Equal words have equal numbers, others others, and each text has its own, in order."""
    words = [TOKEN.findall(unicodedata.normalize("NFKC", t).casefold()) for t in texts]
    found, offsets = tokens(texts)
    assert np.diff(offsets).tolist() == [len(w) for w in words]
    every = [word for some in words for word in some]
    number = dict(zip(every, found.tolist(), strict=True))
    assert [number[word] for word in every] == found.tolist()
    assert len(set(number.values())) == len(number)
    for word, value in number.items():
        assert value & 1 == (CHARACTER.match(word) is not None)


@given(st.lists(_TEXT, min_size=1, max_size=5))
def test_tokens_are_what_the_expression_finds(texts: list[str]) -> None:
    check_tokens(texts)


def test_every_character_is_a_token_as_the_expression_has_it() -> None:
    for first, last in [
        (0, 0x3400),
        (0x3400, 0x3500),
        (0xA000, 0xD800),
        (0xF800, 0x10100),
        (0x1F580, 0x1F680),
    ]:
        check_tokens(["".join(f"x{chr(n)}y " for n in range(first, last))])


def test_the_table_folds_every_character_as_the_standard_does() -> None:
    for point in range(0x250, 0x10000):
        if 0xD800 <= point < 0xE000:
            continue
        text = f"x{chr(point)}y "
        plain = unicodedata.normalize("NFKC", text).casefold()
        assert TOKEN.findall(folded(text * 20)) == TOKEN.findall(plain) * 20


def test_long_texts_have_the_tokens_of_their_parts() -> None:
    part = as_text(make_words(random.Random(1), "en", 5000), "en") + " "
    long = part * 8
    assert len(long) > 2 * _AT_ONCE
    found, offsets = tokens(["one", long, part, "\u4f1a" * 200_000, "w" * 300_000])
    assert np.diff(offsets)[[0, 3, 4]].tolist() == [1, 200_000, -(-300_000 // _AT_ONCE)]
    ours, parts = (found[offsets[n] : offsets[n + 1]] for n in (1, 2))
    assert np.array_equal(ours, np.tile(parts, 8))


@given(st.lists(_TEXT, min_size=1, max_size=6), st.integers(1, 3))
def test_shingles_of_many_documents_are_those_of_each(texts: list[str], ngram: int) -> None:
    texts = [text.replace("\U00020000", "") for text in texts]  # the plain one knows no rare Han
    plain = [plain_shingles(text, ngram) for text in texts]
    values, offsets = shingles(*tokens(texts), ngram)
    sets = [np.unique(values[a:b]) for a, b in pairwise(offsets)]
    assert [len(s) for s in sets] == [len(s) for s in plain]
    for a, b in combinations(range(len(texts)), 2):
        assert jaccard(sets[a], sets[b]) == pytest.approx(plain_jaccard(plain[a], plain[b]))


def test_signatures_estimate_jaccard_as_well_as_datasketch_does() -> None:
    datasketch = pytest.importorskip("datasketch")
    rng = np.random.default_rng(1)
    errors: dict[str, list[float]] = {"ours": [], "theirs": []}
    for share in np.linspace(0.1, 0.95, 18):
        common = round(500 * share)
        union = rng.integers(0, 2**63, 1000 - common, dtype=np.uint64)
        one, other = union[:500], union[500 - common :]
        exact = common / len(union)
        ours = signatures(*flat([one, other]), 256, seed=1)
        errors["ours"].append(float(np.mean(ours[0] == ours[1])) - exact)
        made = []
        for values in (one, other):
            sketch = datasketch.MinHash(256, seed=1)
            sketch.update_batch([int(v).to_bytes(8, "little") for v in values])
            made.append(sketch)
        errors["theirs"].append(made[0].jaccard(made[1]) - exact)
    spread = {name: float(np.sqrt(np.mean(np.square(e)))) for name, e in errors.items()}
    assert spread["ours"] < 0.045  # sqrt(s (1 - s) / 256) is 0.031 at most
    assert spread["ours"] < 1.6 * spread["theirs"]
    assert abs(np.mean(errors["ours"])) < 0.02


def test_bands_find_as_many_pairs_as_the_curve_says() -> None:
    rng = np.random.default_rng(2)
    bands, per_band = choose_bands(0.7, 128)
    assert (bands, per_band) == (21, 6)
    assert chance(0.8, bands, per_band) > 0.995
    for size in (40, 400):
        for share in (0.55, 0.8, 0.9):
            common = round(size * share)
            pairs = []
            for _ in range(300):
                union = rng.integers(0, 2**63, 2 * size - common, dtype=np.uint64)
                pairs += [union[:size], union[size - common :]]
            keys = band_keys(signatures(*flat(pairs), 128, seed=1), bands, per_band)
            met = float(np.mean((keys[::2] == keys[1::2]).any(axis=1)))
            assert met == pytest.approx(
                chance(common / (2 * size - common), bands, per_band), abs=0.1
            )


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_chosen_bands_miss_little_a_third_of_the_way_up(threshold: float) -> None:
    bands, per_band = choose_bands(threshold, 128)
    assert bands * per_band <= 128
    assert chance(threshold + (1 - threshold) / 3, bands, per_band) >= 0.995


def test_a_page_that_is_repeated_and_edited_stays_linear(tmp_path: Path) -> None:
    """All 1,500 rows share most buckets: comparing each with each would be a million pairs."""
    rng = random.Random(7)
    page = make_words(rng, "en", 60)
    texts = [as_text(edited(rng, page, "en", 1), "en") for _ in range(1500)]
    said: list[str] = []
    rows = rows_of(texts)
    keys = write_shards([rows], NEAR, tmp_path)
    found = verdicts(join(keys, NEAR, scratch=tmp_path, memory=256 * MIB, report=said.append), 1)
    compared = int(said[-1].split("; ")[1].split(" ")[0].replace(",", ""))
    assert compared < 12 * len(texts)
    sets = [plain_shingles(text) for text in texts]
    gone = {p: v.drop for p, v in found.items() if v.drop}
    assert len(gone) > 1400
    for position, note in gone.items():
        other = int((note.other_id or "").removeprefix("id-"))
        assert plain_jaccard(sets[position], sets[other]) >= 0.7
    stay = [n for n in range(len(texts)) if n not in gone]
    for a, b in combinations(stay, 2):
        assert plain_jaccard(sets[a], sets[b]) < 0.8


def test_a_chain_is_not_dropped_for_a_row_that_is_unlike_it(tmp_path: Path) -> None:
    """Each step of a chain is a near-duplicate of the next, and its ends share nothing."""
    rng = random.Random(8)
    long = make_words(rng, "en", 500)
    texts = [as_text(long[n : n + 200], "en") for n in range(0, 300, 20)]
    found = deduplicate(rows_of(texts), NEAR, tmp_path)
    sets = [plain_shingles(text) for text in texts]
    gone = {p for p, v in found.items() if v.drop}
    assert 0 < len(gone) < len(texts) - 3
    for position in gone:
        note = found[position].drop
        assert note is not None
        other = int((note.other_id or "").removeprefix("id-"))
        assert plain_jaccard(sets[position], sets[other]) >= 0.7


@pytest.mark.parametrize(
    ("survivor", "expected"), [("first", 0), ("longest", 2), ("newest", 1), ("best", 3)]
)
def test_the_survivor_is_the_one_that_was_asked_for(
    survivor: str, expected: int, tmp_path: Path
) -> None:
    from datetime import UTC, datetime

    text = as_text(make_words(random.Random(9), "en", 300), "en")
    days = [3, 20, None, 5]
    rows = [
        DedupRow(
            n,
            f"id-{n}",
            f"https://a.test/{n}",
            f"{text} number {n}",
            words=[5, 5, 9, 5][n],
            collected_at=None if day is None else datetime(2026, 1, day, tzinfo=UTC),
            score=[0.1, None, 0.2, 0.9][n],
        )
        for n, day in enumerate(days)
    ]
    chosen = DedupSettings(near={"survivor": survivor})  # type: ignore[arg-type]
    found = deduplicate(rows, chosen, tmp_path)
    drops = {p: v.drop for p, v in found.items() if v.drop}
    assert set(drops) == {0, 1, 2, 3} - {expected}
    assert {note.other_id for note in drops.values()} == {f"id-{expected}"}
    assert {note.detail for note in drops.values()} == {f"the {survivor} of 4 stays"}
    assert {note.bound for note in drops.values()} == {"below 0.7"}
    assert found[expected].merged == 3


def test_short_and_empty_rows(tmp_path: Path) -> None:
    texts = [
        "",
        "!!!",
        "\ud800",
        "one two",
        "One, two!",
        "one three",
        "\u4f1a\u8bdd",
        "\u4f1a\u8bdd\u3002",
    ]
    found = deduplicate(rows_of(texts), NEAR, tmp_path / "all")
    assert {p for p, v in found.items() if v.drop} == {4, 7}
    least = DedupSettings(documents=False, near=NearSettings(least=2, survivor="first"))
    found = deduplicate(rows_of(texts), least, tmp_path / "two")
    assert {p for p, v in found.items() if v.drop} == {4}


PAGES = rows_of(planted("en", seed=11, originals=8) + planted("zh", seed=12, originals=8))
EVERY = DedupSettings(
    near=NearSettings(survivor="longest"),
    paragraphs=RepeatedParagraphs(least=40),
    lines=LineSettings(pages=3, least=20),
)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Verdict]:
    return deduplicate(PAGES, EVERY, tmp_path_factory.mktemp("together"))


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_shards_their_order_threads_and_memory_change_nothing(
    together: dict[int, Verdict], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    assert {v.drop.rule for v in together.values() if v.drop} == {"near-duplicate"}
    assert any(v.paragraphs for v in together.values()) and any(v.lines for v in together.values())
    folder = tmp_path_factory.mktemp("apart")
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, len(PAGES) - 1), max_size=6))), len(PAGES)]
    shards = data.draw(st.permutations([PAGES[a:b] for a, b in pairwise(cuts)]))
    keys = write_shards(shards, EVERY, folder)
    found = join(
        keys,
        EVERY,
        scratch=folder,
        memory=data.draw(st.sampled_from([1, 256 * MIB])),
        threads=data.draw(st.sampled_from([1, 3])),
    )
    assert verdicts(found, len(shards)) == together
