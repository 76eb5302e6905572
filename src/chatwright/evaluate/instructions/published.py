"""The 25 instructions of IFEval (Zhou et al. 2023, arXiv:2311.07911), by their published names.

Each gives what the authors' program gives on English answers, with three differences that are
meant: keywords are taken literally (there they are regular expressions), languages are detected by
fastText instead of langdetect, and sentences are split by `counting` instead of Punkt. For Chinese
answers every character is a word, and full-width marks count as the marks they are.
"""

from __future__ import annotations

import json
import re

from chatwright.curate.language import detect_language
from chatwright.evaluate.instructions import counting
from chatwright.evaluate.instructions.registry import Relation, compared, instruction

_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


@instruction("keywords:existence")
def existence(answer: str, *, keywords: list[str]) -> bool:
    """Every keyword is there."""
    return all(_count(keyword, answer) for keyword in keywords)


@instruction("keywords:frequency")
def frequency(answer: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """The keyword is there so often."""
    return compared(_count(keyword, answer), relation, frequency)


@instruction("keywords:forbidden_words")
def forbidden_words(answer: str, *, forbidden_words: list[str]) -> bool:
    """None of the words is there; as a part of a longer word it may be (not so in Chinese)."""
    return not any(_holds_word(word, answer) for word in forbidden_words)


@instruction("keywords:letter_frequency")
def letter_frequency(
    answer: str, *, letter: str, let_frequency: int, let_relation: Relation
) -> bool:
    """The letter, in either case, is there so often."""
    return compared(answer.lower().count(letter.lower()), let_relation, let_frequency)


@instruction("language:response_language")
def response_language(answer: str, *, language: str) -> bool:
    """The answer is in that language (ISO 639-1); one too short to tell counts as in it."""
    return _is_in(answer, language.lower().partition("-")[0])


@instruction("length_constraints:number_sentences")
def number_sentences(answer: str, *, num_sentences: int, relation: Relation) -> bool:
    """So many sentences."""
    return compared(counting.count_sentences(answer), relation, num_sentences)


@instruction("length_constraints:number_paragraphs")
def number_paragraphs(answer: str, *, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs, separated by `***`, none of them empty."""
    paragraphs = re.split(r"\s?\*\*\*\s?", answer)
    if any(not paragraph.strip() for paragraph in paragraphs[1:-1]):
        return False
    return sum(1 for paragraph in paragraphs if paragraph.strip()) == num_paragraphs


@instruction("length_constraints:number_words")
def number_words(answer: str, *, num_words: int, relation: Relation) -> bool:
    """So many words."""
    return compared(counting.count_words(answer), relation, num_words)


@instruction("length_constraints:nth_paragraph_first_word")
def nth_paragraph_first_word(
    answer: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """Exactly so many paragraphs, separated by empty lines; the nth begins with the word."""
    paragraphs = answer.split("\n\n")
    filled = sum(1 for paragraph in paragraphs if paragraph.strip())
    if filled != num_paragraphs or not 1 <= nth_paragraph <= filled:
        return False
    paragraph = paragraphs[nth_paragraph - 1].strip()
    if counting.has_han(first_word):
        return paragraph.lstrip("“\"'「").startswith(first_word)
    return bool(paragraph) and counting.first_word(paragraph) == first_word.lower()


@instruction("detectable_content:number_placeholders")
def number_placeholders(answer: str, *, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets."""
    return counting.bracketed(answer) + counting.bracketed(answer, "【】") >= num_placeholders


@instruction("detectable_content:postscript")
def postscript(answer: str, *, postscript_marker: str) -> bool:
    """A postscript that begins with the marker."""
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = known.get(postscript_marker, re.escape(postscript_marker.lower()))
    return re.search(pattern, answer.lower()) is not None


@instruction("detectable_format:number_bullet_lists")
def number_bullet_lists(answer: str, *, num_bullets: int) -> bool:
    """Exactly so many bullet points (`*` or `-`)."""
    stars = re.findall(r"^\s*\*[^*].*$", answer, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", answer, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


@instruction("detectable_format:constrained_response")
def constrained_response(answer: str) -> bool:
    """One of the three sentences is in it."""
    return any(option in answer for option in _CONSTRAINED)


@instruction("detectable_format:number_highlighted_sections")
def number_highlighted_sections(answer: str, *, num_highlights: int) -> bool:
    """At least so many passages *highlighted* or **highlighted**."""
    single = [h.strip("*").strip() for h in re.findall(r"\*[^\n*]*\*", answer)]
    double = [h.strip("*").strip() for h in re.findall(r"\*\*[^\n*]*\*\*", answer)]
    return sum(map(bool, single + double)) >= num_highlights


@instruction("detectable_format:multiple_sections")
def multiple_sections(answer: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections, each headed by the word and a number."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s?\d+", answer)) >= num_sections


@instruction("detectable_format:json_format")
def json_format(answer: str) -> bool:
    """The whole answer is JSON; a fence around it is fine."""
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@instruction("detectable_format:title")
def title(answer: str) -> bool:
    """A title in double angular brackets."""
    found = re.findall(r"<<[^\n]+>>", answer)
    return any(text.lstrip("<").rstrip(">").strip() for text in found)


@instruction("combination:two_responses")
def two_responses(answer: str) -> bool:
    """Two different answers, separated by six asterisks."""
    parts = [part.strip() for part in answer.split("******")]
    if any(not part for part in parts[1:-1]):
        return False
    filled = [part for part in parts if part]
    return len(filled) == 2 and filled[0] != filled[1]


@instruction("combination:repeat_prompt")
def repeat_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """The answer begins with the request."""
    return answer.strip().lower().startswith(prompt_to_repeat.lower())


@instruction("startend:end_checker")
def end_checker(answer: str, *, end_phrase: str) -> bool:
    """The answer ends with the phrase."""
    return answer.strip().strip('"').lower().endswith(end_phrase.lower())


@instruction("startend:quotation")
def quotation(answer: str) -> bool:
    """The whole answer is between quotation marks; Chinese ones around Chinese."""
    text = answer.strip()
    if len(text) < 2:
        return False
    pairs = ['""', "“”", "「」", "『』"] if counting.has_han(text) else ['""']
    return text[0] + text[-1] in pairs


@instruction("change_case:capital_word_frequency")
def capital_word_frequency(
    answer: str, *, capital_frequency: int, capital_relation: Relation
) -> bool:
    """So many words in capital letters."""
    return compared(counting.capital_words(answer), capital_relation, capital_frequency)


@instruction("change_case:english_capital")
def english_capital(answer: str) -> bool:
    """English, in capital letters only."""
    return answer.isupper() and _is_in(answer, "en")


@instruction("change_case:english_lowercase")
def english_lowercase(answer: str) -> bool:
    """English, in lower-case letters only."""
    return answer.islower() and _is_in(answer, "en")


@instruction("punctuation:no_comma")
def no_comma(answer: str) -> bool:
    """Not one comma, full-width or not."""
    return not re.search("[,\uff0c]", answer)


def _count(keyword: str, answer: str) -> int:
    return len(re.findall(re.escape(keyword.strip()), answer, re.IGNORECASE))


def _holds_word(word: str, answer: str) -> bool:
    text = re.escape(word.strip())
    pattern = text if counting.has_han(word) else rf"\b{text}\b"
    return re.search(pattern, answer, re.IGNORECASE) is not None


def _is_in(answer: str, language: str) -> bool:
    """Whether the text is in the language, or too short to be told (then its script decides)."""
    found = detect_language(answer).code
    if found is None:
        return counting.has_han(answer) == (language in ("zh", "ja")) or not re.search(
            r"[^\W\d_]", answer
        )
    return found == language
