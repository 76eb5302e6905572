"""`redact`: what is found, where exactly, and how quickly."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.curate.privacy import Found, Redactor, redact
from chatwright.curate.privacy.kinds import PATTERN_TYPES, PII_TYPES, without_overlaps
from chatwright.errors import UsageError

COMMA, STOP, COLON = "\uff0c", "\u3002", "\uff1a"


def found(text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in redact(text).spans]


def test_next_to_chinese_characters_the_punctuation_stays() -> None:
    result = redact(f"我的邮箱是zhangwei@163.com{COMMA}请联系")
    assert result.text == f"我的邮箱是[EMAIL]{COMMA}请联系"
    assert [(s.start, s.end, s.type, s.replacement) for s in result.spans] == [
        (5, 21, "email", "[EMAIL]")
    ]
    result = redact(f"电话13812345678{STOP}")
    assert result.text == f"电话[PHONE]{STOP}"
    assert [(s.start, s.end) for s in result.spans] == [(2, 13)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Mail to bob.o'neil+x@mail.example.co.uk.", "email", "bob.o'neil+x@mail.example.co.uk"),
        ("<josé@müller.de>", "email", "josé@müller.de"),
        ("?email=bob@x.com&a=1", "email", "bob@x.com"),
        ("Web: https://a.com Email:bob@x.com", "email", "bob@x.com"),
        ("Write to a@b.com.Please do.", "email", "a@b.com"),
        ("bob [at] example [dot] org", "email", "bob [at] example [dot] org"),
        ("Call +86 138 1234 5678 now", "phone", "+86 138 1234 5678"),
        ("手机138-1234-5678或", "phone", "138-1234-5678"),
        ("座机010-62781234转8001", "phone", "010-62781234转8001"),
        ("call (415) 555-2671 x12", "phone", "(415) 555-2671 x12"),
        ("+44 20 7946 0958, London", "phone", "+44 20 7946 0958"),
        ("Phone:\n60-56-85-91", "phone", "60-56-85-91"),
        ("身份证11010519491231002X", "id_card", "11010519491231002X"),
        ("ID 110105 19491231 002X", "id_card", "110105 19491231 002X"),
        ("HKID A123456(3)", "id_card", "A123456(3)"),
        ("身分證字號A123456789", "id_card", "A123456789"),
        ("card 4111 1111 1111 1111,", "bank_card", "4111 1111 1111 1111"),
        ("amex 3782 822463 10005", "bank_card", "3782 822463 10005"),
        ("GB82 WEST 1234 5698 7654 32 is it", "iban", "GB82 WEST 1234 5698 7654 32"),
        ("an DE89370400440532013000.", "iban", "DE89370400440532013000"),
        ("我的SSN是123-45-6789", "us_ssn", "123-45-6789"),
        ("服务器8.134.17.20在线", "ip", "8.134.17.20"),
        ("ssh root@10.0.0.5", "ip", "10.0.0.5"),
        ("http://[2001:db8::8a2e:370:7334]:80/", "ip", "2001:db8::8a2e:370:7334"),
        ("MAC 00:1A:2B:3C:4D:5E ok", "mac", "00:1A:2B:3C:4D:5E"),
        ("cisco 001a.2b3c.4d5e", "mac", "001a.2b3c.4d5e"),
        ("护照E12345678过期", "passport", "E12345678"),
        ("My passport number is 123456789", "passport", "123456789"),
        ("Passport No. 123456789 issued", "passport", "123456789"),
        ("AWS: AKIAIOSFODNN7EXAMPLE", "api_key", "AKIAIOSFODNN7EXAMPLE"),
        ("车牌粤BD12345", "car_plate", "粤BD12345"),
        ("开着京A·12345来", "car_plate", "京A·12345"),
        ("粤Z1234港", "car_plate", "粤Z1234港"),
        ("license plate 7ABC123", "car_plate", "7ABC123"),
        (f"微信号{COLON}abc_123", "social", "abc_123"),
        ("wechat: sunny-day7", "social", "sunny-day7"),
        ("加QQ 12345678", "social", "12345678"),
        ("Twitter: @some_body", "social", "@some_body"),
        ("key sk-proj-" + "aB3dE5gH7j" * 4, "api_key", "sk-proj-" + "aB3dE5gH7j" * 4),
        ("AWS AKIAIOSFODNN7QWERTYU", "api_key", "AKIAIOSFODNN7QWERTYU"),
        ('api_key = "q9Zr81LmXv0TfWb35Kd2"', "api_key", "q9Zr81LmXv0TfWb35Kd2"),
        ("postgres://app:S3cr3t-pw@db.host/x", "api_key", "S3cr3t-pw"),
        ("at 12 Oak Hill Road, Apt 4B.", "address", "12 Oak Hill Road, Apt 4B"),
        ("PO Box 123", "address", "PO Box 123"),
        ("in der Hauptstraße 5, Köln", "address", "Hauptstraße 5"),
        (
            "住在北京市海淀区中关村大街27号院3号楼501室。",
            "address",
            "北京市海淀区中关村大街27号院3号楼501室",
        ),
        ("寄到上海市和平路5号", "address", "上海市和平路5号"),
    ],
)
def test_each_form_is_found_exactly(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "upgrade to version 10.4.2.17",
        "Chrome/114.0.5735.90",
        "section 1.2.3.4",
        "ISBN 978-3-16-148410-0",
        "order number 13812345678",
        "订单号13812345678",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "4111 1111 1111 1112",
        "11010519491231002x1",
        "110105194912310021",
        "DE89370400440532013001",
        "39.904200, 116.407396",
        "1,234,567.89",
        "2024-01-05 12:30:45",
        "127.0.0.1 and ::1 and 0.0.0.0",
        "logo@2x.png",
        "left-pad@1.3.0",
        "git clone git@github.com:owner/repo.git",
        "@app.route('/x')",
        "std::vector<int>::size a[1::2]",
        "ff:ff:ff:ff:ff:ff",
        "微信8.0.30和QQ音乐",
        "WeChat payment",
        "新A股 云A12项目 京A",
        "地铁10号线3月15号",
        "000-12-3456 666-12-3456 900-12-3456",
        "api_key=your-key-here password=xxxxxxxx",
        "-----BEGIN CERTIFICATE-----",
        "In 2004 Wall Street fell",
        "3.14159265358979323846",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_a_word_for_a_phone_holds_for_the_second_number_too() -> None:
    assert found("Reach me on +1-555-0100 or 555-0123.") == [
        ("phone", "+1-555-0100"),
        ("phone", "555-0123"),
    ]
    assert found("rows 555-0123 of 555-0124") == []


def test_full_width_forms_are_found_and_offsets_are_the_inputs() -> None:
    text = "请打１３８１２３４５６７８或写zhang＠qq．com谢谢"
    assert found(text) == [("phone", "１３８１２３４５６７８"), ("email", "zhang＠qq．com")]
    assert redact(text).text == "请打[PHONE]或写[EMAIL]谢谢"


def test_a_private_key_is_one_span_with_its_lines() -> None:
    lines = "\n".join("A1b2" * 16 for _ in range(8))
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"
    assert found(f"key:\n{key}\nend") == [("private_key", key)]
    cut = f"-----BEGIN PRIVATE KEY-----\n{lines}"
    assert found(f"{cut}\nand then words") == [("private_key", cut)]


def test_modes() -> None:
    text = "a@b.com, 13812345678"
    assert redact(text, mode="mask").text == "*******, ***********"
    dropped = redact(text, mode="drop")
    assert dropped.dropped
    assert dropped.text == ""
    assert dropped.counts == {"email": 1, "phone": 1}
    mixed = redact(text, mode="tag", modes={"phone": "mask"})
    assert mixed.text == "[EMAIL], ***********"
    assert redact(text, types=["email"]).text == "[EMAIL], 13812345678"
    assert redact("", mode="drop").dropped is False


def test_a_least_confidence_per_type() -> None:
    text = "电话13812345678"
    confidence = redact(text).spans[0].confidence
    assert redact(text, least={"phone": confidence}).spans
    assert not redact(text, least={"phone": confidence + 0.01}).spans


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(UsageError, match="need a key"):
        redact("x", mode="pseudonym")
    with pytest.raises(UsageError, match="no type"):
        redact("x", types=["emial"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="no mode"):
        redact("x", mode="hide")  # type: ignore[arg-type]


# --- overlaps -------------------------------------------------------------------------------------


def _winners_plainly(items: list[Found]) -> list[Found]:
    """The rule in its plainest form: the best first, whatever overlaps one that is in is out."""
    order = sorted(
        items,
        key=lambda f: (-f.confidence, -(f.end - f.start), PII_TYPES.index(f.type), f.start),
    )
    kept: list[Found] = []
    for item in order:
        if all(item.end <= other.start or other.end <= item.start for other in kept):
            kept.append(item)
    return sorted(kept, key=lambda f: f.start)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.integers(1, 8),
            st.sampled_from(PII_TYPES),
            st.sampled_from([0.5, 0.7, 0.9]),
        ),
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_overlaps_are_resolved_as_the_rule_says_whatever_the_order(
    drawn: list[tuple[int, int, str, float]], chance: random.Random
) -> None:
    items = [Found(s, s + n, kind, c, "") for s, n, kind, c in set(drawn)]  # type: ignore[arg-type]
    expected = _winners_plainly(items)
    chance.shuffle(items)
    assert without_overlaps(items) == expected


@given(
    st.text(alphabet="0123456789@.:-+() /aAzZ号路京微信qq\n\u3002x＠１", max_size=300),
    st.sampled_from(["tag", "mask", "pseudonym"]),
)
def test_spans_rebuild_the_text_whatever_it_is(text: str, mode: str) -> None:
    result = redact(text, mode=mode, key=b"k" * 32)  # type: ignore[arg-type]
    pieces, at = [], 0
    for span in result.spans:
        assert at <= span.start < span.end <= len(text)
        pieces += text[at : span.start], span.replacement
        at = span.end
    assert "".join([*pieces, text[at:]]) == result.text
    assert redact(text, mode=mode, key=b"k" * 32) == result  # type: ignore[arg-type]


HOSTILE = (
    *("1 ", "+1", "(", "00", "a.", "@a.", "::", ":a", "12:", "(at)a.", "AB12 ", "A1 ", "1 Aa "),
    *("-----BEGIN PRIVATE KEY-----\n", "eyJ-", "eyJaaaaaaaaaa.", "sk-a", "password", "token "),
    *("微信", "微信号a", "京A1", "1号", "路1号", "市区路1号", "护照", "passport a", "1 St ", "01 "),
    *("4111 1111 1111 ", "86 1", "138-1234-", "[at] ", "phone: 12-", "://a:", "123-45-6789 "),
    *("ul. 1 ", "strasse 1 ", "Apt. 1 ", "\uff11", "A123456(", "twitter @"),
)


@pytest.mark.parametrize("piece", ["1", "@", ".", "a@", "1.", "noise"])
def test_a_hundred_kilobytes_of_hostile_text_take_no_time(piece: str) -> None:
    if piece == "noise":
        chance = random.Random(0)
        alphabet = "0123456789@.:-+() /aAzZ号路京微信qq\n"
        text = "".join(chance.choice(alphabet) for _ in range(100_000))
    else:
        text = (piece * 100_000)[:100_000]
    assert _seconds(text) < 5  # 0.3 at most where this was written; quadratic patterns take minutes


def test_other_hostile_text_takes_no_time() -> None:
    for piece in HOSTILE:
        text = (piece * 20_000)[:20_000]
        assert _seconds(text) < 2, repr(piece)


def _seconds(text: str) -> float:
    redactor = Redactor()
    started = time.process_time()
    redactor.redact(text)
    return time.process_time() - started


def test_all_patterned_types_have_a_finder() -> None:
    from chatwright.curate.privacy.synthetic import labelled_texts

    texts = labelled_texts(3, 400, "en") + labelled_texts(3, 400, "zh")
    assert {s.type for one in texts for s in redact(one.text).spans} == set(PATTERN_TYPES)
