"""Verifiable instructions: hand-worked answers for each, the scores of the paper, our two sets.

Full-width marks in Chinese answers are made by `wide`, so that this file survives tools that fold
them to ASCII.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.errors import DataError
from chatwright.evaluate.instructions import (
    InstructionPrompt,
    check,
    follow,
    instruction_ids,
    instruction_prompt,
)
from chatwright.evaluate.instructions.counting import (
    capital_words,
    count_sentences,
    count_words,
    han_characters,
    simplified_only,
    traditional_only,
)

DATA = Path(str(resources.files("chatwright.evaluate"))) / "tasks" / "data"
LEAST, LESS = "at least", "less than"


def own_prompts(language: str) -> list[InstructionPrompt]:
    lines = (DATA / f"instructions_{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [instruction_prompt(json.loads(line), language) for line in lines]


_PUBLISHED = """
change_case:capital_word_frequency change_case:english_capital change_case:english_lowercase
combination:repeat_prompt combination:two_responses detectable_content:number_placeholders
detectable_content:postscript detectable_format:constrained_response detectable_format:json_format
detectable_format:multiple_sections detectable_format:number_bullet_lists
detectable_format:number_highlighted_sections detectable_format:title keywords:existence
keywords:forbidden_words keywords:frequency keywords:letter_frequency language:response_language
length_constraints:nth_paragraph_first_word length_constraints:number_paragraphs
length_constraints:number_sentences length_constraints:number_words punctuation:no_comma
startend:end_checker startend:quotation
"""
PUBLISHED = _PUBLISHED.split()


def wide(text: str) -> str:
    """ASCII marks as full-width ones."""
    marks = dict(zip(",.!?:;", "\uff0c\u3002\uff01\uff1f\uff1a\uff1b", strict=True))
    return "".join(marks.get(c, c) for c in text)


def test_all_published_instructions_are_known() -> None:
    assert len(PUBLISHED) == 25
    assert set(PUBLISHED) <= set(instruction_ids())
    assert all(name in PUBLISHED or name.startswith("zh:") for name in instruction_ids())


# (instruction, arguments, answers that follow it, answers that do not)
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("keywords:existence", {"keywords": ["cat", "dog"]}, ["A CAT and dogs"], ["A cat", "dog"]),
    ("keywords:existence", {"keywords": ["a.b"]}, ["an a.b here"], ["an axb here"]),
    ("keywords:existence", {"keywords": ["苹果"]}, ["我吃苹果"], ["我吃梨"]),
    ("keywords:frequency", {"keyword": "no", "frequency": 2, "relation": LEAST},
     ["no and No", "not now"], ["no"]),
    ("keywords:frequency", {"keyword": "no", "frequency": 2, "relation": LESS}, ["no"], ["no no"]),
    ("keywords:frequency", {"keyword": "光", "frequency": 2, "relation": LEAST}, ["阳光和月光"],
     ["光"]),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, ["category"], ["My Cat.", "cat"]),
    ("keywords:forbidden_words", {"forbidden_words": ["苹果"]}, ["我吃梨"], ["我爱吃苹果派"]),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": LEAST},
     ["Eve", "tree"], ["met"]),
    ("keywords:letter_frequency", {"letter": "山", "let_frequency": 1, "let_relation": LESS},
     ["水"], ["山水"]),
    ("language:response_language", {"language": "fr"},
     ["La capitale de l'Italie est Rome, une très belle ville."],
     ["The capital of Italy is Rome, a beautiful city."]),
    ("language:response_language", {"language": "zh-cn"},
     ["意大利的首都是罗马。", "好"], ["The capital of Italy is Rome, a city.", "Yes"]),
    ("language:response_language", {"language": "en"}, ["Yes", "42"], ["好", "意大利的首都是罗马"]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LEAST},
     ["One. Two.", "One! Two", wide("一. 二!"), wide("一.二")],
     ["Dr. Li came.", "One", wide("一,二.")]),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LESS},
     ["It costs 3.50 now."], ["One. Two."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2},
     ["a\n***\nb", "***a***b***"], ["a", "a***b***c", "a****** b", "a***   ***b"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": LEAST},
     ["a b c", "don't go", "三个字"], ["a b", "两字"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": LESS}, ["a b"], ["a b c"]),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
     ["a\n\nThen, b", "a\n\n'then' b"],
     ["a\n\nb", "Then a", "a\n\nThen b\n\nc", "a\n\n\n\nThen b"]),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "昨天"},
     [wide("昨天很冷.\n\n今天不冷.")], [wide("今天不冷.\n\n昨天很冷."), "昨天"]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2},
     ["[a] and [b c]", "【姓名】[日期]"], ["[a]", "[a\nb] []x"[:5]]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."},
     ["Hi. P.S. bye", "p. s. x"], ["PS bye", "P.S"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S bye"], ["P.S. bye"]),
    ("detectable_content:postscript", {"postscript_marker": "附言"}, [wide("谢谢.\n附言:再见")],
     ["谢谢"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2},
     ["* a\n* b", "- a\n* b", "x\n  * a\n  - b"],
     ["* a", "* a\n* b\n* c", "**a**\n**b**", "1. a\n2. b"]),
    ("detectable_format:constrained_response", {},
     ["My answer is no.", "Well: My answer is maybe."], ["No.", "my answer is no"]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     ["*a* and *b c*", "**a**x**b**"], ["*a*", "* a\n* b", "* *"]),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2},
     ["Section 1 a Section 2 b", "Section1\nSection 2"], ["Section 1", "section 1 section 2"]),
    ("detectable_format:multiple_sections", {"section_spliter": "部分", "num_sections": 2},
     ["部分1\n甲\n部分2\n乙"], ["部分1\n甲"]),
    ("detectable_format:json_format", {},
     ['{"a": 1}', '```json\n{"a": [1]}\n```', "```\n[]\n```", '{"名": "李"}'],
     ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1', "[" * 5000]),
    ("detectable_format:title", {}, ["<<T>>\nx", "x <<标题>>"], ["<T>", "<< >>", "<<a\nb>>"]),
    ("combination:two_responses", {}, ["a******b", "******a******b"],
     ["a", "a******a", "a******b******c", "a******\n******b", "a***b"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why?"}, ["why? Because."],
     ["Because. Why?"]),
    ("startend:end_checker", {"end_phrase": "The End."}, ["x the end.", '"x the end."  '],
     ["The End. x"]),
    ("startend:end_checker", {"end_phrase": wide("明天见!")}, [wide("生日快乐!明天见!")],
     ["明天见"]),
    ("startend:quotation", {}, ['"a"', ' "a b" ', "“你好”", "「你好」"],
     ['a"', '"', "“a”", "'a'", "“你好"]),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": LEAST},
     ["STOP it NOW", "A B", "WELL-KNOWN USA."], ["STOP it Now", "a b"]),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": LESS},
     ["STOP it Now"], ["STOP NOW"]),
    ("change_case:english_capital", {}, ["THE DOG IS LOST IN THE PARK, 3 DAYS."],
     ["The dog is lost.", "LE CHIEN EST PERDU DANS LA RUE DEPUIS HIER SOIR"]),
    ("change_case:english_lowercase", {}, ["the dog is lost in the park, 3 days."],
     ["The dog is lost.", "le chien est perdu dans la rue depuis hier soir"]),
    ("punctuation:no_comma", {}, ["a b; c", "甲、乙"], ["a, b", wide("甲,乙")]),
    ("zh:number_characters", {"num_characters": 4, "relation": LEAST},
     [wide("天气,很好!")], ["天气好", "天气好abc 123。。"]),
    ("zh:number_characters", {"num_characters": 4, "relation": LESS}, ["天气好abc"], ["天气很好"]),
    ("zh:simplified_only", {}, ["我们学习汉语", "我们用 Python"], ["我們學習漢語", "hello"]),
    ("zh:traditional_only", {}, ["我們學習漢語"], ["我们学习汉语", "我們学習", "hello"]),
    ("zh:no_latin", {}, ["你好 123"], ["你好 ok", "你好\uff2f\uff4b"]),
    ("zh:full_width_punctuation", {}, [wide("你好,世界!"), "你好、3.5 OK"], ["你好,世界", "你好."]),
    ("zh:verse", {"num_lines": 2, "line_characters": 5},
     [wide("床前明月光,疑是地上霜."), "床前明月光\n疑是地上霜"],
     ["床前明月光", wide("床前明月光,疑是霜."), wide("床前明月光,疑是地上霜,举头望明月.")]),
    ("zh:constrained_response", {"options": ["是", "否"]}, ["是", "否。", "“是”"],
     ["是的", "不是", "是否"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs", "follows", "breaks"), CASES)
def test_by_hand(name: str, kwargs: dict[str, Any], follows: list[str], breaks: list[str]) -> None:
    assert [a for a in follows if not check(name, kwargs, "", a)] == []
    assert [a for a in breaks if check(name, kwargs, "", a)] == []
    assert not check(name, kwargs, "", "") and not check(name, kwargs, "", " \n")


def test_every_instruction_has_hand_worked_answers() -> None:
    assert {case[0] for case in CASES} == set(instruction_ids())


SENTENCES = [
    ("", 0), ("...", 0), ("Hello", 1), ("Hello.", 1), ("Hello. World", 2), ("Really?! Yes.", 2),
    ("Mr. and Mrs. Li met Dr. Wu.", 1), ("It is 3.14, i.e. pi. OK", 2),
     ("J. R. R. Tolkien wrote.", 1),
    ("He said \"No.\" Then he left.", 2), ("See example.com for it.", 1),
     ("1. Wake up.\n2. Eat.", 2),
    ("Was it? No. Yes.", 3), ("a... b", 2), ("你好。", 1), (wide("你好!再见?好."), 3),
     ("你好……再见", 2),
    (wide("他说:“走吧.”然后走了."), 2), ("版本 3.5 很好。", 1), ("用 Python. 很好", 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "count"), SENTENCES)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


_TOKENS = """
STOP A it IT'S DON'T don't can't CANNOT GONNA I'LL WE'VE x-Y A-B U.S. USA. (OK) OK, 3,A A:B "NO"
'A' -- ... A...B A/B *NO* É 好 A好 'TIS ME! I'm THEY'RE WANNA #B A&B B's B. A—B “OK”
"""
TOKENS = [*_TOKENS.split(), "\n"]


@pytest.mark.slow  # importing NLTK takes seconds
@settings(max_examples=2000, deadline=None)
@given(
    st.lists(
        st.sampled_from(TOKENS),
        max_size=10,
    ),
    st.sampled_from([" ", "\n", ", "]),
)
def test_capital_words_are_nltks(words: list[str], between: str) -> None:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    text = between.join(words)
    tokens = NLTKWordTokenizer().tokenize(text)
    assert capital_words(text) == sum(token.isupper() for token in tokens), tokens


@pytest.mark.parametrize("piece", ["U.S. ", "p. ", "[", "a[", "* ", "<", "Section ", "好", ". "])
def test_a_model_that_repeats_itself_is_scored_at_once(piece: str) -> None:
    row = InstructionPrompt(
        "1",
        "",
        ("length_constraints:number_sentences", "detectable_content:number_placeholders"),
        ({"num_sentences": 1, "relation": LESS}, {"num_placeholders": 1}),
    )
    started = time.monotonic()
    follow(row, piece * 20_000)
    assert time.monotonic() - started < 5  # a quadratic count takes a minute


def test_words_and_characters() -> None:
    assert count_words("Don't stop, 3 times!") == 5  # as IFEval: don, t
    assert count_words(wide("我爱 Python,真的.")) == 5
    assert han_characters(wide("我爱 Python,真的.")) == 4


def test_the_two_scripts_are_told_apart() -> None:
    assert traditional_only("我們喜歡學習,我们喜欢学习") == list("們歡學習")
    assert simplified_only("我們喜歡學習,我们喜欢学习") == list("们欢学习")
    for row in own_prompts("zh"):
        assert not traditional_only(row.prompt)  # written in simplified characters


# -- scores ------------------------------------------------------------------------------------


def test_strict_and_loose() -> None:
    row = instruction_prompt(
        {
            "key": 1,
            "prompt": "Two bullets, no comma",
            "instruction_id_list": [
                "detectable_format:number_bullet_lists",
                "punctuation:no_comma",
            ],
            "kwargs": [{"num_bullets": 2.0, "relation": None}, {}],
        }
    )
    for answer, strict, loose in [
        ("* a\n* b", (True, True), (True, True)),
        ("Sure, here:\n* a\n* b", (True, False), (True, True)),
        ("* a\n* b\nThat is it, friend.", (True, False), (True, True)),
        ("Sure, here:\n* a\n* b\nBye, bye.", (True, False), (True, True)),
        ("* a, b", (False, False), (False, False)),
        ("", (False, False), (False, False)),
    ]:
        followed = follow(row, answer)
        assert (followed.strict, followed.loose) == (strict, loose), answer
    quoted = InstructionPrompt("2", "", ("startend:quotation",), ({},))
    assert follow(quoted, '**"a"**').strict == (False,)
    assert follow(quoted, '**"a"**').loose == (True,)  # without the asterisks


def test_the_published_table_is_read_as_it_is() -> None:
    """The hub's version has a column for every argument, None where it does not apply."""
    every = dict.fromkeys(["num_words", "relation", "keywords", "end_phrase", "prompt_to_repeat"])
    rows = [
        {"key": 1000, "prompt": "Write a lot.",
        "instruction_id_list": ["length_constraints:number_words"],
         "kwargs": [every | {"num_words": 3, "relation": "at least"}]},
        {"key": 1001, "prompt": "No comma.", "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [every]},
    ]  # fmt: skip
    read = [instruction_prompt(row) for row in rows]
    assert [row.key for row in read] == ["1000", "1001"]
    assert follow(read[0], "one two three").strict == (True,)
    assert follow(read[1], "one, two").strict == (False,)


# -- bad input ---------------------------------------------------------------------------------


def test_an_unknown_instruction_is_named() -> None:
    with pytest.raises(DataError, match=r"(?s)'keywords:exist'.*keywords:existence"):
        check("keywords:exist", {}, "", "a")


@pytest.mark.parametrize(
    ("name", "kwargs", "told"),
    [
        ("keywords:existence", {}, "needs 'keywords'"),
        ("keywords:existence", {"keywords": None}, "needs 'keywords'"),
        ("keywords:existence", {"keywords": []}, "list of texts"),
        ("keywords:existence", {"keywords": "cat"}, "list of texts"),
        ("keywords:existence", {"keywords": ["a"], "frequency": 2}, "no argument 'frequency'"),
        ("punctuation:no_comma", {"x": 1}, "none"),
        (
            "length_constraints:number_words",
            {"num_words": "many", "relation": LEAST},
            "whole number",
        ),
        ("length_constraints:number_words", {"num_words": 1.5, "relation": LEAST}, "whole number"),
        ("length_constraints:number_words", {"num_words": True, "relation": LEAST}, "whole number"),
        ("length_constraints:number_words", {"num_words": -1, "relation": LEAST}, "whole number"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "around"}, "'less than'"),
        ("startend:end_checker", {"end_phrase": " "}, "a text"),
    ],
)
def test_wrong_arguments_are_told(name: str, kwargs: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        check(name, kwargs, "", "an answer")


GOOD = {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"key": None}, "a key"),
        ({"prompt": " "}, "prompt"),
        ({"kwargs": None}, "lists"),
        ({"instruction_id_list": []}, "lists"),
        ({"kwargs": [{}, {}]}, "1 instructions and 2"),
        ({"instruction_id_list": ["x"]}, "unknown.*'x'"),
        ({"kwargs": [{"a": 1}]}, "no argument 'a'"),
    ],
)
def test_a_bad_row_is_told_with_its_place(changed: dict[str, Any], told: str) -> None:
    row = GOOD | {"key": 7} | changed
    with pytest.raises(DataError, match=f"(?s)rows.jsonl, line 2, key {row['key']}.*{told}"):
        instruction_prompt(row, "rows.jsonl, line 2")


# -- our own prompts ---------------------------------------------------------------------------

LANGUAGES = {
    "en": "The greeting means hello and people use it every day.",
    "fr": "Le sommeil est important parce que le corps se repose la nuit.",
    "de": "Schlaf ist wichtig, weil sich der Körper in der Nacht erholt.",
    "es": "En la playa la gente nada, toma el sol y juega con sus amigos.",
    "zh": "月亮围绕地球转,晚上可以看到它。",
    "ja": "私は春が好きです。桜がとてもきれいだからです。",
}


def built(name: str, a: Mapping[str, Any], chinese: bool) -> tuple[str, str]:
    """An answer that follows the instruction and one that does not, made from its arguments."""
    word = "好" if chinese else "good "
    key = name.partition(":")[2]
    relation = a.get("relation") or a.get("let_relation") or a.get("capital_relation")

    def so_often(unit: str, count: int, rest: str) -> tuple[str, str]:
        more, fewer = unit * count + rest, unit * (count - 1) + rest
        return (more, fewer) if relation == LEAST else (fewer, more)

    match key:
        case "existence":
            return " ".join(a["keywords"]), " ".join(a["keywords"][1:]) or "x"
        case "forbidden_words":
            return "something else", f"it is {a['forbidden_words'][-1]}."
        case "frequency":
            return so_often(a["keyword"] + " ", a["frequency"], "x")
        case "letter_frequency":
            return so_often(a["letter"], a["let_frequency"], "-")
        case "capital_word_frequency":
            return so_often("STOP ", a["capital_frequency"], "it")
        case "number_words":
            return so_often(word, a["num_words"], "!")
        case "number_characters":
            return so_often("好", a["num_characters"], "ok.")
        case "number_sentences":
            return so_often("好。" if chinese else "Good. ", a["num_sentences"], " ")
        case "response_language":
            other = "en" if a["language"] != "en" else "zh"
            return LANGUAGES[a["language"]], LANGUAGES[other]
        case "number_paragraphs":
            return "\n***\n".join([word] * a["num_paragraphs"]), word
        case "nth_paragraph_first_word":
            parts = [word] * a["num_paragraphs"]
            parts[a["nth_paragraph"] - 1] = f"{a['first_word']} {word}"
            return "\n\n".join(parts), "\n\n".join([word] * a["num_paragraphs"])
        case "number_placeholders":
            return "[a] " * a["num_placeholders"], "[a] " * (a["num_placeholders"] - 1) + "x"
        case "postscript":
            return f"{word}\n{a['postscript_marker']} {word}", word
        case "number_bullet_lists":
            return f"* {word}\n" * a["num_bullets"], f"* {word}\n" * (a["num_bullets"] + 1)
        case "number_highlighted_sections":
            return f"*{word}* " * a["num_highlights"], word
        case "multiple_sections":
            heads = [f"{a['section_spliter']} {i + 1}\n{word}\n" for i in range(a["num_sections"])]
            return "".join(heads), heads[0]
        case "repeat_prompt":
            return f"{a['prompt_to_repeat']}\n{word}", word
        case "end_checker":
            return f"{word} {a['end_phrase']}", f"{a['end_phrase']} {word}"
        case "verse":
            lines = ["好" * a["line_characters"]] * a["num_lines"]
            return wide(",".join(lines)), wide(",".join([*lines, "好"]))
    if name == "zh:constrained_response":
        return a["options"][0] + "。", "也许吧"
    return {
        "constrained_response": ("My answer is yes.", "Yes."),
        "json_format": ('{"a": [1, 2]}', "a: 1"),
        "title": (f"<<{word}>>\n{word}", word),
        "two_responses": (f"{word}******{word}{word}", word),
        "quotation": ("“好”" if chinese else '"Good."', word),
        "english_capital": ("GOOD MORNING AND GOOD LUCK WITH YOUR WORK", "Good morning and luck"),
        "english_lowercase": ("the city is old and there is much to see", "The city is old"),
        "no_comma": (word, f"{word}, {word}"),
        "simplified_only": ("我们学习", "我們學習"),
        "traditional_only": ("我們學習", "我们学习"),
        "no_latin": ("我们学习", "我们 ok"),
        "full_width_punctuation": (wide("我们,学习."), "我们,学习."),
    }[key]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_our_prompts(language: str) -> None:
    rows = own_prompts(language)
    assert len({row.key for row in rows}) == len(rows) >= 60
    assert len({row.prompt for row in rows}) == len(rows)
    used = {name for row in rows for name in row.instruction_ids}
    assert len(used) >= 25
    if language == "zh":
        assert {name for name in instruction_ids() if name.startswith("zh:")} <= used
    else:
        assert used == set(PUBLISHED)
    for row in rows:
        assert len(row.prompt) <= 160, row.key  # a small model's prompt
        assert (han_characters(row.prompt) > 5) == (language == "zh"), row.key
        for name, kwargs in zip(row.instruction_ids, row.kwargs, strict=True):
            good, bad = built(name, kwargs, language == "zh")
            assert check(name, kwargs, row.prompt, good), (row.key, name, good)
            assert not check(name, kwargs, row.prompt, bad), (row.key, name, bad)
            _is_asked_for(row, kwargs)


def _is_asked_for(row: InstructionPrompt, kwargs: Mapping[str, Any]) -> None:
    """What an answer must hold is said in the prompt."""
    for key in ("keywords", "forbidden_words", "options"):
        for text in kwargs.get(key, []):
            assert text in row.prompt, (row.key, text)
    for key in ("keyword", "letter", "end_phrase", "prompt_to_repeat", "postscript_marker"):
        if key in kwargs:
            assert kwargs[key] in row.prompt, (row.key, kwargs[key])
    for key in ("first_word", "section_spliter"):
        if key in kwargs:
            assert kwargs[key].lower() in row.prompt.lower(), (row.key, kwargs[key])
    for key in ("relation", "let_relation", "capital_relation"):
        if key in kwargs:
            said = RELATIONS[kwargs[key]]
            assert any(words in row.prompt.lower() for words in said), (row.key, kwargs[key])


RELATIONS = {
    LEAST: ("at least", "至少"),
    LESS: ("less than", "fewer than", "one sentence", "少于", "不到", "一句话"),
}


# Whole answers, written by hand, to the prompts with more than one instruction.
ANSWERS = {
    "en": {
        "List exactly three animals": "* a red fox\n* a grey owl\n* a small frog",
        "Describe a lake": "the lake is wide and blue. small boats float on it in the sun.",
        "Write fewer than 25 words about bread": "Fresh bread is warm inside and has a crust.",
        "Write a short text about robots": "<<Helpers>>\nRobots weld cars and clean floors.",
        "Wish a friend a happy birthday": "Happy birthday, Ann! Have a great day. See you soon!",
        "Explain recycling": "Old paper is collected. It is pulped. Then it is *made new*.",
    },
    "zh": {
        "列出正好三种动物": "* 狐狸\n* 猫头鹰\n* 青蛙",
        "用简体字描写一个湖": wide("湖水很蓝.小船在湖上慢慢划过,岸边开满了花."),
        "写少于40个汉字的面包介绍": wide("刚出炉的面包又香又软,大家都爱吃."),
        "写一段关于机器人的话": wide("<<好帮手>>\n机器人会扫地,也会陪老人聊天."),
        "祝朋友生日快乐": wide("小明,祝你生日快乐,天天开心!明天见!"),
    },
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_several_instructions_can_be_followed_at_once(language: str) -> None:
    rows = own_prompts(language)
    several = [row for row in rows if len(row.instruction_ids) > 1]
    assert len(several) == len(ANSWERS[language])
    for row in several:
        answer = next(a for p, a in ANSWERS[language].items() if row.prompt.startswith(p))
        assert all(follow(row, answer).strict), (row.key, follow(row, answer))


EVERY_ROW = [row for language in ("en", "zh") for row in own_prompts(language)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVERY_ROW), st.text(max_size=80))
def test_no_answer_breaks_a_check_and_loose_is_never_stricter(
    row: InstructionPrompt, answer: str
) -> None:
    followed = follow(row, answer)
    assert all(
        loose >= strict for strict, loose in zip(followed.strict, followed.loose, strict=True)
    )
