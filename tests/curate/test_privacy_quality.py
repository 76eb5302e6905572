"""Precision and recall per type, on generated texts and on the public set, and the checksums."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from chatwright.curate.privacy import Redactor
from chatwright.curate.privacy.kinds import PATTERN_TYPES
from chatwright.curate.privacy.numbers import IBAN_LENGTHS, id_check, luhn, mod97
from chatwright.curate.privacy.scoring import Score, score
from chatwright.curate.privacy.synthetic import Labelled, labelled_texts

PUBLIC = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "bank_card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
    "IP_ADDRESS": "ip",
}


def test_scores_count_as_by_hand() -> None:
    labels = [(0, 10, "email"), (20, 30, "email"), (40, 44, "ip")]
    findings = [(0, 10, "email"), (19, 30, "email"), (50, 60, "email"), (40, 44, "mac")]
    scores = score([(labels, findings)], ["email", "ip", "mac", "phone"])
    assert scores["email"] == Score(labels=2, findings=3, matched=2, exact=1)
    assert scores["email"].precision == pytest.approx(2 / 3)
    assert (scores["ip"].recall, scores["ip"].precision) == (0.0, 1.0)
    assert (scores["mac"].recall, scores["mac"].precision) == (1.0, 0.0)
    assert (scores["phone"].recall, scores["phone"].precision) == (1.0, 1.0)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_patterned_types_on_generated_texts(language: str) -> None:
    redactor = Redactor()
    texts: list[Labelled] = labelled_texts(20_26, 1200, language)
    pairs = [
        (one.spans, [(f.start, f.end, f.type) for f in redactor.find(one.text, language)])
        for one in texts
    ]
    for name, one in score(pairs, PATTERN_TYPES).items():
        if one.labels:
            assert one.labels > 50, name
            assert one.exact / one.labels >= 0.95, name
        assert one.precision >= 0.95, name


def test_generated_texts_are_the_same_for_a_seed_and_labelled_where_they_say() -> None:
    texts = labelled_texts(5, 50, "en")
    assert texts == labelled_texts(5, 50, "en")
    assert texts != labelled_texts(6, 50, "en")
    for one in texts:
        for start, end, kind in one.spans:
            if kind == "email":
                assert one.text[start:end].count("@") == 1


def test_patterned_types_on_the_public_set() -> None:
    folder = os.environ.get("CHATWRIGHT_DATA")
    if not folder:
        pytest.skip("CHATWRIGHT_DATA is not set")
    rows = json.loads(gzip.decompress(Path(folder, "pii/presidio_synth_v2.json.gz").read_bytes()))
    redactor = Redactor()
    pairs = []
    for row in rows:
        labels = [
            (s["start_position"], s["end_position"], PUBLIC.get(s["entity_type"], ""))
            for s in row["spans"]
        ]
        found = [(f.start, f.end, f.type) for f in redactor.find(row["full_text"], "en")]
        pairs.append((labels, found))
    for name, one in score(pairs, list(PUBLIC.values())).items():
        assert one.labels >= 14, name
        assert one.recall >= 0.95, name
        assert one.precision >= 0.95, name


# --- checksums against numbers that their issuers print as examples, and all single errors --------


@pytest.mark.parametrize(
    "number", ["4111111111111111", "5555555555554444", "378282246310005", "6011111111111117"]
)
def test_luhn_finds_every_single_wrong_digit(number: str) -> None:
    assert luhn(number)
    for at, c in enumerate(number):
        for other in "0123456789".replace(c, ""):
            assert not luhn(number[:at] + other + number[at + 1 :])


def test_the_id_check_of_the_standards_example_and_of_every_changed_digit() -> None:
    number = "11010519491231002"
    assert id_check(number) == "X"
    for at, c in enumerate(number):
        for other in "0123456789".replace(c, ""):
            assert id_check(number[:at] + other + number[at + 1 :]) != "X"


@pytest.mark.parametrize(
    "iban",
    ["GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606"],
)
def test_mod97_of_the_registrys_examples(iban: str) -> None:
    assert mod97(iban) == 1
    assert IBAN_LENGTHS[iban[:2]] == len(iban)
    assert mod97(iban[:-1] + ("1" if iban[-1] != "1" else "2")) != 1
