from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatwright.collect.decode import Decoded, decode, known_encoding

TEXTS = {
    "zh": "这是一个关于数据库的页面,我们在这里说明如何使用连接池。请先安装驱动程序,然后创建引擎。",
    "tw": "這是一個關於資料庫的網頁,我們在這裡說明如何使用連線池。請先安裝驅動程式,然後建立引擎。",
    "ja": "これはデータベースについてのページです。接続プールの使い方を説明します。",
    "ko": "이것은 데이터베이스에 대한 페이지입니다. 연결 풀을 사용하는 방법을 설명합니다.",
    "fr": "Cette page décrit où l’on crée un moteur à l’avance, très générique. Être naïf.",
    "ru": "Это страница о базе данных. Здесь описано, как пользоваться пулом соединений.",
}
ENCODINGS = [
    *[("zh", e) for e in ("gb18030", "gbk", "gb2312", "utf-8", "utf-8-sig", "utf-16")],
    *[("zh", e) for e in ("utf-16-le", "utf-16-be", "utf-32")],
    *[("tw", e) for e in ("big5", "utf-8")],
    *[("ja", e) for e in ("shift_jis", "euc_jp", "iso2022_jp")],
    *[("fr", e) for e in ("cp1252", "utf-8")],
    *[("ru", e) for e in ("cp1251", "koi8-r")],
]
HTML = "<html><head><title>x</title></head><body><p class='a'>{}</p></body></html>"


@pytest.mark.parametrize("declared", [None, "utf-8", "iso-8859-1", "gb2312", "big5", "shift_jis"])
@pytest.mark.parametrize(("language", "encoding"), ENCODINGS)
def test_a_page_is_read_whatever_its_header_says(
    language: str, encoding: str, declared: str | None
) -> None:
    for text in (TEXTS[language] * 3, TEXTS[language], HTML.format(TEXTS[language])):
        data = text.encode(encoding)
        decoded = decode(data, declared)
        assert isinstance(decoded, Decoded)
        assert decoded.text == data.decode(encoding)
        assert decoded.replaced == 0


@pytest.mark.parametrize("declared", [None, "utf-8", "iso-8859-1"])
def test_korean(declared: str | None) -> None:
    decoded = decode((TEXTS["ko"] * 2).encode("euc_kr"), declared)
    assert isinstance(decoded, Decoded)
    assert decoded.text == TEXTS["ko"] * 2


def test_what_the_page_itself_declares() -> None:
    page = "<meta charset='windows-1251'><p>да нет</p>".encode("cp1251")
    decoded = decode(page, "iso-8859-1")
    assert isinstance(decoded, Decoded)
    assert "да нет" in decoded.text


@given(st.text())
@example("\ufeff")
@example("数据")
def test_utf8_always_comes_back(text: str) -> None:
    decoded = decode(text.encode())
    if isinstance(decoded, Decoded) and decoded.encoding == "utf-8":
        assert decoded.text == text.removeprefix("\ufeff")
    else:  # control characters: it is said to be no text, or UTF-16
        controls = sum(c < " " and c not in "\t\n\r\f\v\x1a\x1b" for c in text)
        assert controls > 0.02 * len(text) or text.startswith(("%PDF-", "GIF8", "RIFF", "wOFF"))


@given(st.binary(max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    decoded = decode(data)
    assert isinstance(decoded, (str, Decoded))
    if isinstance(decoded, Decoded):
        decoded.text.encode("utf-8")  # it can be stored
        assert 0 <= decoded.replaced <= 0.3


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5"])
def test_broken_bytes_are_counted_and_the_rest_is_kept(encoding: str) -> None:
    text = (TEXTS["tw"] if encoding == "big5" else TEXTS["zh"]) * 20
    data = bytearray(text.encode(encoding))
    for place in range(100, len(data), 500):
        data[place] = 0xFF
    decoded = decode(bytes(data))
    assert isinstance(decoded, Decoded)
    assert decoded.encoding.startswith(encoding)
    assert 0 < decoded.replaced < 0.02
    assert decoded.text.count("\ufffd") / len(decoded.text) == decoded.replaced
    assert decoded.text.count("数据库") + decoded.text.count("資料庫") > 10


def test_cut_inside_a_character() -> None:
    decoded = decode((TEXTS["zh"] * 50).encode()[:-1])
    assert isinstance(decoded, Decoded)
    assert (decoded.encoding, decoded.text[-1]) == ("utf-8", "\ufffd")


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_text(seed: int) -> None:
    noise = random.Random(seed)
    assert isinstance(decode(noise.randbytes(noise.randint(50, 5000))), str)


@pytest.mark.parametrize(
    "data",
    [b"%PDF-1.4\n...", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04abc", b"\x7fELF" + b"a" * 90,
     b"ab\0\1\2\3\4" * 50, bytes(1000)],
)  # fmt: skip
def test_binary_files_are_no_text(data: bytes) -> None:
    assert isinstance(decode(data), str)


def test_only_encodings_of_the_web_can_be_declared() -> None:
    for label in (
        "zip",
        "rot13",
        "idna",
        "utf-7",
        "unicode_escape",
        "punycode",
        "",
        None,
        "x" * 99,
    ):
        assert known_encoding(label) is None
    assert known_encoding("GB2312") == "gb18030"
    assert known_encoding(" 'Latin1' ") == "cp1252"
    assert known_encoding("x-sjis") == "cp932"
