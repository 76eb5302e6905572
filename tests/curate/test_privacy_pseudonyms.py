"""Pseudonyms: one for a value, in its form, and of a kind that is nobody's."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.curate.privacy import redact
from chatwright.curate.privacy.numbers import id_check, luhn, mod97
from chatwright.curate.privacy.pseudonyms import Pseudonyms

KEY = b"a key of thirty-two bytes, no less"


def one(text: str, key: bytes = KEY) -> str:
    (span,) = redact(text, mode="pseudonym", key=key).spans
    return span.replacement


def test_the_same_value_stays_one_in_any_spelling_and_another_key_gives_another() -> None:
    spellings = ["电话13812345678", "+86 138-1234-5678", "手机 138 1234 5678"]
    numbers = {re.sub(r"\D", "", one(text))[-11:] for text in spellings}
    assert len(numbers) == 1
    assert one("Bob@X.com") == one("mail bob@x.com")
    assert one("bob@x.com") != one("bob@x.com", b"another key of thirty-two bytes!")
    assert one("bob@x.com") != one("rob@x.com")
    assert one("call (212) 555-0142")[-8:] == one("call +1 212-555-0142")[-8:]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("13812345678是我的电话", r"12\d{9}"),
        ("+86 138-1234-5678", r"\+86 12\d-\d{4}-\d{4}"),
        ("call (415) 555-2671", r"\([2-9]\d\d\) 555-01\d\d"),
        ("call 415.555.2671 x12", r"[2-9]\d\d\.555\.01\d\d x\d\d"),
        ("bob@x.com", r"[a-z]+\.[a-z2-9]{6}@example\.com"),
        ("4111 1111 1111 1111", r"9999 \d{4} \d{4} \d{4}"),
        ("123-45-6789", r"9\d\d-00-\d{4}"),
        ("00:1a:2b:3c:4d:5e", r"02(:[0-9a-f]{2}){5}"),
        ("护照E12345678", r"X\d{8}"),
        ("京A12345", r"\wI\d{5}"),
        ("QQ 12345678", r"0\d{7}"),
        ("GB82 WEST 1234 5698 7654 32", r"XX\d\d [A-Z]{4} \d{4} \d{4} \d{4} \d\d"),
    ],
)
def test_each_keeps_its_form(text: str, form: str) -> None:
    assert re.fullmatch(form, one(text))


def test_numbers_pass_their_checksums_and_belong_to_nobody() -> None:
    card = one("4111111111111111")
    assert luhn(card)
    assert card.startswith("9999")
    identity = one("身份证11010519491231002X")
    assert identity.startswith("99")
    assert id_check(identity[:17]) == identity[17]
    assert mod97(one("DE89370400440532013000")) == 1
    assert ip_address(one("10.1.2.3")) in ip_network("240.0.0.0/4")
    assert ip_address(one("2a00:1450:4001:81b::200e")) in ip_network("2001:db8::/32")


@given(st.integers(2_000_000_000, 9_999_999_999))
def test_no_number_with_a_country_code_is_in_service(digits: int) -> None:
    for text in (f"+44 7{digits % 10**9:09}", f"+49 151{digits % 10**8:08}"):
        for span in redact(text, mode="pseudonym", key=KEY).spans:
            made = phonenumbers.parse(span.replacement, None)
            assert not phonenumbers.is_valid_number(made)
            assert span.replacement[:3] == text[:3]


def test_names_go_part_by_part() -> None:
    names = Pseudonyms(KEY)
    whole = names.of("name", "Ada Lovelace", "Ada Lovelace")
    assert whole.split()[1] == names.of("name", "Lovelace", "Lovelace")
    assert names.of("name", "LOVELACE", "LOVELACE") == whole.split()[1].upper()
    assert len(names.of("name", "王小明", "王小明")) == 3
    assert names.of("name", "王小明", "王小明")[0] == names.of("name", "王", "王")
    assert len(names.of("name", "欧阳娜娜", "欧阳娜娜")) == 3


def test_few_values_share_a_pseudonym() -> None:
    made = {one(f"user{i}@x.com") for i in range(3000)}
    assert len(made) == 3000
    assert len({one(f"10.{i % 250}.{i // 250}.77") for i in range(3000)}) == 3000
