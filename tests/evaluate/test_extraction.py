"""Answers taken apart: hand-worked tables in English and Chinese, and properties."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.evaluate.extraction import (
    boolean_answer,
    choice_letter,
    code_block,
    gsm8k_answer,
    numbers_equal,
    parse_number,
)

NUMBERS = [
    ("Janet sells 9 * 2 = $<<9*2=18>>18 a day.\n#### 18", "18"),
    ("#### 1,234,567", "1234567"),
    ("#### -12", "-12"),
    ("#### $5.50", "5.50"),
    ("first #### 3 and then #### 4", "4"),
    ("#### 42. That is it, in 2 steps.", "42"),
    ("She has $1,234.50 left.", "1234.50"),
    ("So there are 42.", "42"),
    ("3 + 4 = 7", "7"),
    ("That is 50%.", "50"),
    ("The change is -7 degrees", "-7"),
    ("10-3", "3"),
    ("The answer is 12. I used 3 steps.", "12"),
    ("The final answer is: **12**. Checked 2 times.", "12"),
    ("The answer is $1,000.", "1000"),
    (r"Thus \boxed{42} after 3 steps", "42"),
    (r"Thus $\boxed{\$1{,}250}$.", "1250"),
    (r"Thus \boxed{\text{5 apples}} of 9", "5"),
    ("答案是42", "42"),
    ("所以答案是42。", "42"),
    ("答案为:３６个苹果,共用了2步。", "36"),
    ("最终答案:-3.5", "-3.5"),
    ("一共有1,200元。", "1200"),
    ("共 18 只鸡", "18"),
    ("价格是¥25。", "25"),
    ("she scored 1,2,3", "3"),
    ("version 2.", "2"),
    ("about .5 litres", ".5"),
    ("I cannot solve this.", None),
    ("不知道", None),
    ("", None),
    ("x2 and abc3", None),
    # the result of what is said, and not its first number
    ("The answer is 2 + 3 = 5.", "5"),
    ("所以答案是3+4=7。", "7"),
    ("The answer is 2 + 3.", "3"),
    ("The answer is 10 - 3 = 7 apples", "7"),
    ("The answer is 3 times 4 equals 12.", "12"),
    ("答案是3加4等于7\uff0c共2步。", "7"),
    ("The answer is 12 since we used 3 steps.", "12"),
    ("The answer is not 5 but 7.", "7"),
    ("The answer is 1,2 and so on", "1"),
    ("The answer is that each of her many friends gets 5 apples. I used 2 steps", "5"),
    (r"\boxed{2 + 3 = 5}", "5"),
    # fractions
    ("So we get 1/4", "1/4"),
    ("So we get 1 / 4 of it.", "1/4"),
    ("3/4 of 100 = 75", "75"),
    ("100/4 = 25", "25"),
    ("She ate -3/4.", "-3/4"),
    ("That makes 1 1/2 cups.", "3/2"),
    ("That makes 1½ cups.", "3/2"),
    ("-½", "-1/2"),
    (r"\boxed{\frac{3}{4}}", "3/4"),
    (r"\boxed{-\dfrac{3}{4}}", "-3/4"),
    ("剩下4分之3。", "3/4"),
    ("占百分之50。", "50"),
    ("#### 3/4", "3/4"),
    ("The answer is 3/4.", "3/4"),
    ("1/0", None),
    # dates, times and versions are no numbers
    ("2024-05-01", None),
    ("2024-05", None),
    ("on 5/1/2024", None),
    ("2024年5月1日", None),
    ("2024 年 5 月 1 日", None),
    ("5月1号", None),
    ("May 1, 2024", None),
    ("1 May 2024", None),
    ("It is May 1st.", None),
    ("at 10:30", None),
    ("a ratio of 3:4", None),
    ("version 2.0.1", None),
    ("#### 2024-05-01", None),
    ("The answer is 2024-05-01. Checked 2 times", None),
    ("She bought 3 on 2024-05-01.", "3"),
    ("2024-1990 = 34", "34"),
    ("In May 20 students came", "20"),
    ("2024年", "2024"),
    ("答案\uff1a3个", "3"),
    ("步骤1\uff1a3个", "3"),
    ("一共\uff11\uff0c\uff12\uff10\uff10元", "1200"),
    # signs
    ("x = - 5", "-5"),
    ("The answer is -$5", "-5"),
    ("- 5 apples", "5"),
    ("10 - 3", "3"),
    ("(5)-3", "3"),
    ("It was 1.5e3", "1.5e3"),
    ("10\u00b2", "10"),
    ("25 m\u00b2", "25"),
]


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_the_final_number(text: str, number: str | None) -> None:
    assert gsm8k_answer(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("#### 18", "18"), ("####-7", "-7"), ("The answer is 18.", None), ("", None)],
)
def test_the_strict_number(text: str, number: str | None) -> None:
    assert gsm8k_answer(text, "strict") == number


EQUAL = [
    ("42", "42.0"), ("$1,000", "1000"), ("50%", "50"), ("0.5", "1/2"), ("-3", "−3"), ("４２", "42"),
    ("1e3", "1000"), ("-$5", "-5"), ("7.", "7"), ("¥8", "8"), ("1 1/2", "1.5"), ("2/4", "1/2"),
    ("½", "0.5"), ("1½", "3/2"), ("-1 1/2", "-1.5"),
]  # fmt: skip
UNEQUAL = [
    ("42", "43"),
    ("0.1", "0.10000001"),
    ("abc", "abc"),
    ("1/0", "1/0"),
    ("nan", "nan"),
    ("", ""),
    ("1/4", "3/4"),
    ("2024-05-01", "2024-05-01"),
    ("1/2/3", "1/2/3"),
    ("11/2", "1½"),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal_numbers(left: str, right: str) -> None:
    assert numbers_equal(left, right) and numbers_equal(right, left)


@pytest.mark.parametrize(("left", "right"), [*UNEQUAL, ("inf", "inf"), ("1,2", "12")])
def test_unequal_numbers(left: str, right: str) -> None:
    assert not numbers_equal(left, right)
    assert not numbers_equal(left, None) and not numbers_equal(None, None)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("So we get 1/4", "3/4"),
        ("It was on 2024-05-01.", "2023-04-01"),
        ("It was on 2024-05-01.", "1"),
        ("It opens at 10:30.", "9:30"),
        ("in version 1.2.3", "1.1.3"),
        ("on May 1, 2024", "April 3, 2024"),
        ("2024年5月1日", "2023年4月1日"),
    ],
)
def test_another_fraction_or_date_is_not_the_same_number(text: str, reference: str) -> None:
    # Scoring sends references through the extractor too, and keeps one that holds no number.
    wanted = gsm8k_answer(reference) or reference
    assert not numbers_equal(gsm8k_answer(text), wanted)


@given(st.integers(-99, 99), st.integers(1, 99), st.sampled_from("+-*/"))
def test_the_result_of_an_equation_is_the_answer(left: int, right: int, sign: str) -> None:
    result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[sign]
    for equation in (f"{left} {sign} {right} = {result}", f"{left}{sign}{right}={result}"):
        for text in (f"The answer is {equation}.", f"答案是{equation}。", f"So {equation}"):
            assert gsm8k_answer(text) == str(result), text


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{:,}", "{}", "{:.2f}", "{:,.1f}"]))
def test_any_number_is_found_however_it_is_written(value: int, form: str) -> None:
    written = form.format(value)
    for text in (
        f"#### {written}",
        f"We get 3 and so the answer is {written}.",
        f"答案是{written}。",
    ):
        found = gsm8k_answer(text)
        assert found is not None and parse_number(found) == Decimal(value), text


@given(st.text())
def test_extraction_never_fails(text: str) -> None:
    number = gsm8k_answer(text)
    assert number is None or parse_number(number) is not None
    strict = gsm8k_answer(text, "strict")
    assert strict is None or strict == number
    assert choice_letter(text) in {None, *"ABCD"}
    assert boolean_answer(text) in {None, True, False}
    assert numbers_equal(text, text) == (parse_number(text) is not None)
    code_block(text)


CHOICES = [
    ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("**B**", "B"), ("[B]", "B"), ("“B”", "B"),
    ("B。", "B"), ("(B)", "B"), ("Ｂ", "B"), ("`C`", "C"), (" A \n", "A"), ("**(D)**", "D"),
    ("The answer is (B).", "B"), ("The answer is B.", "B"), ("The answer is: B", "B"),
    ("Answer: C", "C"), ("the correct answer is **D**", "D"), ("The correct option is A", "A"),
    ("The best choice would be C because A is wrong", "C"), ("Final answer: (a)", "A"),
    ("The answer is option B", "B"), (r"so \boxed{C}", "C"), (r"so \boxed{\text{C}}", "C"),
    ("答案:B", "B"), ("答案是B。", "B"), ("答案为(C)", "C"), ("正确答案是 D", "D"), ("选B", "B"),
    ("应该选C,因为A不对", "C"), ("故选A。", "A"), ("所以选择D。", "D"), ("正确选项:B", "B"),
    ("因此选项是C", "C"), ("答案应该是A", "A"), ("答案应为A", "A"), ("【答案】B", "B"),
    ("B. Paris", "B"), ("B) Paris is the capital", "B"), ("(C) because", "C"), ("A、北京", "A"),
    ("B\nBecause it is.", "B"), ("**B.** Paris", "B"), ("C: the third", "C"),
    ("I think it is (C), since water boils.", "C"), ("It must be **B**.", "B"),
    # nothing there, or two at once
    ("", None), ("I do not know.", None), ("A dog is an animal.", None), ("I", None),
    ("The answer is a matter of taste.", None), ("The answer is A dog", None), ("E", None),
    ("The answer is A. The answer is B.", None), ("A or B", None), ("(A) or (B)", None),
    ("答案是A,不对,答案是B", None), ("Both **A** and **C**", None), ("The answer is BC", None),
    ("Because of it", None), ("不知道选什么", None), ("(A)和(B)", None),
    ("The answer is B or C.", None), ("The answer is (A) and (B)", None), ("答案是B或C", None),
    ("The answer is A because it is.", "A"), ("The answer is B and that is it.", "B"),
    ("Apples", None), ("The answer is Beijing.", None),
    ("正确答案\uff1a【B】", "B"), ("【B】", "B"), ("【答案】\uff1aB", "B"), ("【答案】【C】", "C"),
    ("答案选【D】。", "D"), ("【B】\uff0c因为水会沸腾。", "B"), ("我认为应是【A】这一项。", "A"),
    ("【A】和【B】", None), ("【题目】A和B都不对", None), ("答案\uff1a\uff08B\uff09", "B"),
    ("D'accord", None), ("The answer is I don't know", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "letter"), CHOICES)
def test_the_chosen_letter(text: str, letter: str | None) -> None:
    assert choice_letter(text) == letter


def test_more_letters() -> None:
    assert choice_letter("The answer is (J).", "ABCDEFGHIJ") == "J"
    assert choice_letter("答案:I", "ABCDEFGHIJ") == "I"
    assert choice_letter("I think so", "ABCDEFGHIJ") is None
    assert choice_letter("J", "ABCD") is None
    with pytest.raises(ValueError, match="letters"):
        choice_letter("A", ["AB"])


@given(
    st.sampled_from("ABCDEFGHIJ"),
    st.sampled_from(
        [
            "{}",
            "({})",
            "{}.",
            "**{}**",
            "The answer is ({}).",
            "Answer: {}",
            "答案:{}",
            "选{}。",
            "答案是({})",
        ]
    ),
)
def test_any_letter_is_found_however_it_is_written(letter: str, form: str) -> None:
    assert choice_letter(form.format(letter), "ABCDEFGHIJ") == letter


BOOLEANS = [
    ("Yes", True), ("yes, because it is.", True), ("**Yes**", True), ("True.", True),
    ("No", False), ("No, it is not.", False), ("false", False), ("Incorrect: it is not.", False),
    ("Correct!", True), ("It rains. So the answer is yes.", True), ("Answer: No", False),
    ("No wait. The answer is yes.", True), ("是", True), ("是的,没错。", True), ("对", True),
    ("正确。", True), ("不是", False), ("否", False), ("不对。", False), ("错误", False),
    ("不能。", False), ("可以。", True), ("答案是:否", False), ("答案:是", True),
    ("不正确", False), ("答案是不对", False), ("", None), ("Maybe", None),
    ("Yesterday it rained.", None), ("Nothing", None), ("Yes or no?", None), ("Note that", None),
    ("是否如此,不清楚", None), ("The answer is yes. The answer is no.", None), ("也许", None),
    ("对于这个问题", None), ("是吗", None), ("Trueish", None), ("不过这不一定", None),
    # not knowing is no "no"
    ("不知道", None), ("不一定", None), ("不清楚。", None), ("不确定", None), ("不太清楚", None),
    ("不好说", None), ("不能确定", None), ("不管怎样", None), ("不同的人看法不同", None),
    ("答案是不确定", None), ("答案\uff1a不知道", None), ("I do not know", None), ("not sure", None),
    ("No idea.", None), ("No one knows.", None), ("The answer is not clear.", None),
    ("不错\uff0c是的", True), ("不错。", True), ("不错的选择有很多", None), ("没错。", True),
    ("答案是不错", True), ("对方认为可行", None), ("能力很强", None), ("是谁写的", None),
    ("正确答案是否", False), ("不会。", False),
    ("不相同", False), ("不\uff0c不是这样", False),
    ("对啊", True), ("能\uff0c因为它是整数", True),
    ("是\uff0c因为下雨", True), ("可以说不对", None),
    ("否则会出错", None), ("错过了时间", None), ("不是吗\uff1f", None),
    ("错。", False), ("不是的", False),
    ("不能\uff0c因为下雨", False), ("不可以", False), ("不正确", False),
    ("能够", True), ("对的", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), BOOLEANS)
def test_yes_and_no(text: str, answer: bool | None) -> None:
    assert boolean_answer(text) is answer


def test_code_blocks() -> None:
    assert code_block("no code") is None
    assert code_block("```python\nx = 1\n```") == "x = 1\n"
    assert code_block("Text\n```\nx = 1\n```\nmore") == "x = 1\n"
    assert code_block("```sh\nls\n```\nthen\n```py\nx = 1\n```") == "x = 1\n"
    assert code_block("```sh\nls\n```", "bash") == "ls\n"
    assert code_block("```python3\nx\n```") == "x\n"
    assert code_block("```Python\nx = 1") == "x = 1\n"  # cut off
    assert code_block("~~~\nx\n~~~") == "x\n"
    assert code_block("````python\n```\n````") == "```\n"
    assert code_block("```python\r\nx\r\n```") == "x\n"
    assert code_block("```python\n```") == ""
    assert code_block("use `x` here") is None
    assert code_block("代码:\n```python\n打印 = 1\n```\n完") == "打印 = 1\n"


@given(st.text(alphabet=st.characters(exclude_characters="`~\r", exclude_categories=["Cs"])))
def test_a_fenced_text_comes_back(code: str) -> None:
    found = code_block(f"Here:\n```python\n{code}\n```\nend")
    assert found is not None and found == f"{code}\n"


def test_gsm8k_references(shared_data: Path) -> None:
    with gzip.open(shared_data / "eval" / "gsm8k.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        for text in (
            f"{row['chain_of_thought']}\n#### {row['answer']}",
            f"{row['chain_of_thought']}\nThe answer is {row['answer']}.",
            f"{row['chain_of_thought']}\n答案是{row['answer']}。",
        ):
            assert numbers_equal(gsm8k_answer(text), row["answer"]), text
