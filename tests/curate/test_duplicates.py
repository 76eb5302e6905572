"""Exact duplicates, with the first to say something keeping it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatwright.curate.duplicates import SeenBefore, length, paragraph_keys, paragraphs, text_key
from chatwright.curate.normalise import normalise

LONG = "The same sentence about sessions, said again in two pages of the manual. " * 3
LONG_ZH = "同一段关于会话的文字，在手册的两个页面里各出现一次，一个字也没有改动。" * 3


def remove(seen: SeenBefore, name: str, text: str, least: int = 100) -> str:
    removal = seen.remove_paragraphs(name, text, paragraph_keys(text, least))
    return text if removal is None else removal.text


def test_keys_ignore_case_width_spacing_and_punctuation_only() -> None:
    assert text_key("Hello,  World!") == text_key("hello world")
    assert text_key("ＡＢＣ，会话。") == text_key("abc 会话")
    assert text_key("会话") != text_key("绘画")
    assert text_key("!!!") != text_key("???")


def test_repeated_paragraphs_go_from_later_pages_with_their_bare_headings() -> None:
    for said in (LONG, LONG_ZH):
        first = f"# A\n\n{said.strip()}\n"
        second = f"# B\n\nown text\n\n## Copied\n\n{said.strip()}\n\n## Bare\n\n## Kept\n\nmore\n"
        seen = SeenBefore()
        assert remove(seen, "a", first) == first
        assert remove(seen, "b", second) == "# B\n\nown text\n\n## Bare\n\n## Kept\n\nmore\n"


def test_headings_code_short_and_inner_repeats_stay() -> None:
    code = "```python\n" + "x = session.execute(select(User))\n" * 10 + "```"
    text = f"# {LONG.strip()}\n\n{code}\n\nshort\n\n{LONG.strip()}\n\n{LONG.strip()}\n"
    seen = SeenBefore()
    assert remove(seen, "a", text) == text
    assert remove(seen, "b", text) == f"# {LONG.strip()}\n\n{code}\n\nshort\n"


def test_copies_says_in_how_many_pages_a_paragraph_may_stand() -> None:
    text = f"{LONG.strip()}\n"
    seen = SeenBefore(copies=2)
    assert [bool(remove(seen, name, text)) for name in "abcd"] == [True, True, False, False]


def test_a_dropped_document_gives_its_words_back() -> None:
    text = f"{LONG.strip()}\n"
    seen = SeenBefore()
    keys = paragraph_keys(text, 100)
    assert seen.document("a", text_key(text)) is None
    assert seen.remove_paragraphs("a", text, keys) is None
    seen.forget("a", text_key(text), keys)
    assert seen.document("b", text_key(text)) is None
    assert seen.remove_paragraphs("b", text, keys) is None
    assert seen.document("c", text_key(text)) == "b"


def test_a_chinese_character_counts_as_three_letters() -> None:
    assert length("abc, d") == 4
    assert length("会话。") == 6


_PARAGRAPH = st.sampled_from(
    ["alpha beta gamma", "delta epsilon", "# H", "## I", "```\ncode\n```", "x", "会话对象"]
)
_PAGES = st.lists(st.lists(_PARAGRAPH, min_size=1, max_size=6).map("\n\n".join), max_size=8)


@given(_PAGES, st.integers(1, 3))
def test_against_a_plain_oracle(pages: list[str], copies: int) -> None:
    """A long paragraph survives in the first `copies` pages that have it, and nowhere else."""
    texts = [normalise(page).text for page in pages]
    seen = SeenBefore(copies=copies)
    out = [remove(seen, str(n), text, least=8) for n, text in enumerate(texts)]
    for said in ("alpha beta gamma", "delta epsilon", "会话对象"):
        holding = [n for n, text in enumerate(texts) if said in paragraphs(text)]
        assert [n for n, text in enumerate(out) if said in paragraphs(text)] == holding[:copies]
    for before, after in zip(texts, out, strict=True):
        assert after.count("code") == before.count("code")


@given(st.lists(st.text(alphabet="ab `~#\n", max_size=10), max_size=8).map("\n".join))
def test_paragraphs_rejoin_to_the_same_paragraphs(text: str) -> None:
    text = normalise(text).text
    parts = paragraphs(text)
    assert paragraphs("\n\n".join(parts)) == parts
    assert len(paragraph_keys(text, 1)) == len(parts)
