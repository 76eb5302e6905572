"""Readability against textstat, published examples and the standards' own tables."""

from __future__ import annotations

import pytest
import textstat
from textstat.backend.counts import _count_syllables as textstat_syllables

from chatwright.evaluate.metrics import TEXT_METRICS, Answer, aggregate
from chatwright.evaluate.metrics.readability import common_characters, count_sentences
from chatwright.evaluate.metrics.syllables import count_syllables

PLATYPUS = "The Australian platypus is seemingly a hybrid of a mammal and reptilian creature."
CAT = "The cat sat on the mat."
PROSE = (
    "Water boils at a lower temperature on a high mountain. The air is thinner there, so less "
    "pressure holds the molecules back! Would you therefore expect an egg to cook more slowly? "
    "Experienced climbers certainly do, and they bring additional patience with their kettle."
)


@pytest.mark.parametrize(
    ("text", "ease", "grade"),
    [
        # Worked through in many textbooks: 6 words, 1 sentence, 6 syllables.
        (CAT, 116.145, -1.45),
        # 13 words, 1 sentence, 24 syllables.
        (PLATYPUS, 206.835 - 1.015 * 13 - 84.6 * 24 / 13, 0.39 * 13 + 11.8 * 24 / 13 - 15.59),
        # Together: 19 words in 2 sentences with 30 syllables.
        (
            f"{CAT} {PLATYPUS}",
            206.835 - 1.015 * 19 / 2 - 84.6 * 30 / 19,
            0.39 * 19 / 2 + 11.8 * 30 / 19 - 15.59,
        ),
    ],
)
def test_flesch_by_hand(text: str, ease: float, grade: float) -> None:
    found = aggregate([Answer(text)], ["flesch_reading_ease", "flesch_kincaid_grade"])
    assert found["flesch_reading_ease"].value == pytest.approx(ease)
    assert found["flesch_kincaid_grade"].value == pytest.approx(grade)


@pytest.mark.parametrize("text", [CAT, PLATYPUS, PROSE, f"{PROSE} {PLATYPUS} {PROSE}"])
def test_flesch_is_textstats(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dictionary(dict):  # textstat looks words up in CMUdict, which has to be downloaded
        def __missing__(self, word: str) -> list[list[str]]:
            return [["AH0"] * count_syllables(word)]

    monkeypatch.setattr(textstat_syllables, "get_cmudict", lambda lang: Dictionary())
    found = aggregate([Answer(text)], ["flesch_reading_ease", "flesch_kincaid_grade"])
    ease, grade = textstat.flesch_reading_ease(text), textstat.flesch_kincaid_grade(text)
    assert found["flesch_reading_ease"].value == pytest.approx(ease)
    assert found["flesch_kincaid_grade"].value == pytest.approx(grade)


def test_several_answers_are_one_text() -> None:
    names = ["flesch_reading_ease"]
    apart = aggregate([Answer(CAT), Answer(PLATYPUS)], names)["flesch_reading_ease"]
    together = aggregate([Answer(f"{CAT} {PLATYPUS}")], names)["flesch_reading_ease"]
    assert apart.value == pytest.approx(together.value)
    assert apart.low < apart.value < apart.high


@pytest.mark.parametrize(
    ("syllables", "words"),
    [
        (1, "cat the eye tree called asked shapes whole queue league once b2 didn"),
        (2, "table being player hundreds idea's science's didn't people every technique"),
        (3, "banana area idea animal probably various creation's beautiful another"),
        (4, "information experience american usually radio's mathematics January"),
        (5, "university international's opportunity immediately"),
    ],
)
def test_syllables(syllables: int, words: str) -> None:
    found = {word: count_syllables(word) for word in words.split()}
    wrong = {word for word, count in found.items() if count != syllables}
    assert len(wrong) <= 0.2 * len(found), wrong


def test_sentences() -> None:
    assert count_sentences("One. Two? Three!") == 3
    assert count_sentences("Version 3.5 costs $2.50 (see a.b.c).") == 1
    assert count_sentences('He said "Stop." Then he left') == 2
    assert count_sentences("- first\n- second\n\n- third") == 3
    assert count_sentences("今天下雨。我们不去了!你呢?") == 3
    assert count_sentences("他说:“好。”然后走了……没有回来") == 3
    assert count_sentences("真的吗\uff1f当然\uff01太好了\uff01") == 3
    assert count_sentences("真的吗\uff1f\uff01当然。") == 2
    assert count_sentences("See http://x.org/?a=1 and Yahoo!s page for it") == 1
    assert count_sentences("打开 http://x.org/?a=1 或 Yahoo!s 页面") == 1
    assert count_sentences("… ! 😀") == count_sentences("") == 0


def test_common_characters_are_level_1_of_the_national_standard() -> None:
    # GB 2312: level 1 is rows 16–55 (3,755 characters), level 2 rows 56–87 (3,008).
    def row(number: int) -> list[str]:
        codes = (bytes([0xA0 + number, 0xA0 + cell]) for cell in range(1, 95))
        return [c for code in codes for c in code.decode("gb2312", "ignore")]

    level_1 = [c for number in range(16, 56) for c in row(number)]
    level_2 = [c for number in range(56, 88) for c in row(number)]
    assert (len(level_1), len(level_2)) == (3755, 3008)
    assert common_characters(level_1) == 3755
    assert common_characters(level_2) == 0


def test_readability_of_chinese() -> None:
    easy = Answer("今天下雨。我们在家看书,喝茶。")
    hard = Answer("饕餮魍魉,觊觎鼙鼓;踟蹰于阡陌之间。")
    found = aggregate([easy], ["sentence_length_zh", "common_characters_zh"])
    assert found["sentence_length_zh"].value == pytest.approx(12 / 2)
    assert found["common_characters_zh"].value == 1
    assert aggregate([hard], ["common_characters_zh"])["common_characters_zh"].value < 0.5
    # Traditional characters are held against the standard for them.
    traditional = Answer("這個圖書館裡有許多學習電腦的學生,他們還會說英語。")
    assert aggregate([traditional], ["common_characters_zh"])["common_characters_zh"].value == 1


def test_each_language_has_its_own_figures() -> None:
    answers = [Answer("It rains."), Answer("今天下雨。"), Answer(""), Answer("42", (), "zh")]
    english = TEXT_METRICS["flesch_reading_ease"].score(answers)
    chinese = TEXT_METRICS["common_characters_zh"].score(answers)
    assert english == [(2, 1, 2), None, None, None]
    assert chinese == [None, (4, 4), None, None]
