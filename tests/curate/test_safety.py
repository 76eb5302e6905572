"""Safety scores: what they catch of texts of our own, what they let pass, and their rules."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
import safety_texts as texts
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chatwright.curate.candidate import Candidate
from chatwright.curate.language import Language
from chatwright.curate.safety.adult import adult_score
from chatwright.curate.safety.lexicon import Lexicon, ramp, read_terms
from chatwright.curate.safety.offensive import offensive_scores
from chatwright.curate.safety.settings import SCORES, SafetySettings, ScoreRule
from chatwright.curate.safety.spam import SIGNS, measure_spam, spam_score
from chatwright.curate.safety.step import make_step
from chatwright.curate.textmodels import toxicity
from chatwright.records import Document

USUAL = SafetySettings()


def _candidate(text: str, language: str = "en") -> Candidate:
    return Candidate(
        Document("i", text, "u", "s"), "curate", text, language=Language(language, 1.0)
    )


def _scores(text: str, language: str = "en") -> dict[str, float]:
    candidate = _candidate(text, language)
    step = make_step(USUAL)
    assert step is not None
    step([candidate])
    found: dict[str, float] = candidate.meta["scores"]
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("score", "bad", "good", "least", "most"),
    [
        ("adult", texts.ADULT, texts.NOT_ADULT, 0.9, 0),
        ("spam", texts.SPAM, texts.NOT_SPAM, 0.8, 0),
        ("personal_data", texts.PERSONAL, texts.NOT_PERSONAL, 1.0, 0),
    ],
)
def test_what_is_caught_and_what_passes(
    score: str,
    language: str,
    bad: dict[str, list[str]],
    good: dict[str, list[str]],
    least: float,
    most: int,
) -> None:
    rule: ScoreRule = getattr(USUAL, score)
    bound = rule.bound(language)
    assert bound is not None
    caught = [t for t in bad[language] if _scores(t, language)[score] > bound]
    alarms = [t for t in good[language] if _scores(t, language)[score] > bound]
    missed = [t[:60] for t in bad[language] if t not in caught]
    assert len(caught) >= least * len(bad[language]), missed
    assert len(alarms) <= most, [t[:60] for t in alarms]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tits", {"tits": 1}),
        ("two great-tits sang", {"tits": 1}),
        ("Essex titstop atits", {}),
        ("boobs and boob", {"boobs": 1}),
        ("escort girls call girl", {"escort girl": 1, "call girl": 1}),
        ("在线裸聊直播", {"裸聊": 1}),
        ("成人视频成人电影", {"成人视频": 1, "成人电影": 1}),
        ("看xxx视频", {"xxx": 1}),
    ],
)
def test_latin_terms_are_whole_words(text: str, found: dict[str, int]) -> None:
    assert dict(Lexicon("adult").count(text)["strong"]) == found


def test_lists_have_no_term_twice_and_are_lower_case() -> None:
    for name in ("adult", "spam"):
        held = [term for group in read_terms(name).values() for term in group]
        assert len(held) == len(set(held)) > 100
        assert all(term == term.lower() == term.strip() and len(term) > 1 for term in held)


def test_the_adult_score_is_its_formula() -> None:
    # 2 strong (one twice) and 4 plain terms, of which a sober word takes one: 9 + 3 in 200 words.
    text = "milf milf gangbang sex nude naked sexy doctor"
    score, shown = adult_score(text, 200)
    assert score == pytest.approx(1 - 2.718281828 ** (-6 / 3))
    assert shown.startswith("milf")
    assert adult_score("milf", 200)[0] == pytest.approx((1 - 2.718281828 ** (-1.5 / 3)) / 3)
    assert adult_score("sex health", 9) == (0.0, "sex")


def test_the_spam_score_joins_its_signs() -> None:
    text = "Click here. Buy now. Order now. " + " ".join(f"w{n} of it" for n in range(24))
    values = measure_spam(text, text.lower(), 78, 0)
    assert values["calls to action"] == pytest.approx(300 / 78)
    expected = SIGNS["calls to action"].weight * ramp(300 / 78, 1, 4)
    score, why = spam_score(text, text.lower(), 78, 0)
    assert score == pytest.approx(expected) and why == "calls to action"


def test_the_commonest_pair_is_counted_as_a_plain_loop_counts() -> None:
    text = ("搬家公司" * 30 + "，今天天气很好。") * 2
    pairs = [a + b for a, b in pairwise(text) if min(a, b) > "\u3400" and max(a, b) < "\u9fff"]
    most = max(map(pairs.count, set(pairs)))
    assert measure_spam(text, text, 90, 256)["keyword stuffing"] == pytest.approx(
        1.5 * most / len(pairs)
    )


def test_offence_is_the_mean_of_the_worst_third() -> None:
    insult, plain = "You are a stupid idiot.", "The weather is fine today in the north."
    assert offensive_scores([insult, plain, "", "42"], 12) == [
        pytest.approx(toxicity(insult)), pytest.approx(toxicity(plain)), 0.0, 0.0,
    ]  # fmt: skip
    long = f"{plain} " * 300
    assert offensive_scores([f"{long}{insult}"], 1000)[0] < 0.3  # one quoted insult
    abuse = f"{insult} You make me sick, you pathetic loser. " * 60
    assert offensive_scores([f"{abuse}{long}"], 12)[0] > 0.7
    start = time.perf_counter()
    offensive_scores([f"{plain} " * 20_000], 12)
    assert time.perf_counter() - start < 2


def test_traditional_chinese_is_judged_in_simplified() -> None:
    simplified, traditional = (
        "你这个废物，滚开！真恶心，没用的东西。",
        "你這個廢物，滾開！真噁心，沒用的東西。",
    )
    scores = []
    for text, script in ((simplified, "Hans"), (traditional, "Hant")):
        candidate = _candidate(text, "zh")
        candidate.meta["script"] = script
        step = make_step(USUAL)
        assert step is not None
        step([candidate])
        scores.append(candidate.meta["scores"]["offensive"])
    assert scores[0] > 0.7 and abs(scores[0] - scores[1]) < 0.1


def test_a_rule_drops_with_value_bound_and_reason() -> None:
    step = make_step(USUAL)
    assert step is not None
    step = pickle.loads(pickle.dumps(step))
    rows = [_candidate(texts.ADULT["en"][0]), _candidate(texts.NOT_ADULT["en"][0])]
    step(rows)
    (line,) = rows[0].lines
    assert (line.action, line.rule, line.bound) == ("drop", "adult", "max 0.5")
    assert line.value == rows[0].meta["scores"]["adult"] and line.detail and "porn" in line.detail
    assert rows[1].lines == [] and not rows[1].dropped
    assert tuple(rows[1].meta["scores"]) == SCORES
    both = _candidate(texts.ADULT["en"][0] + " " + texts.SPAM["en"][1] * 3)
    step([both])
    assert [e.rule for e in both.lines] == ["adult"]
    assert both.lines[0].detail and "also spam" in both.lines[0].detail


def test_bounds_by_language_and_scores_without_rules() -> None:
    text = texts.SPAM["en"][0]
    by_language = SafetySettings(
        adult=None, offensive=None, personal_data=None, spam=ScoreRule(max={"zh": 0.2, "any": 1.0})
    )
    step = make_step(by_language)
    assert step is not None
    rows = [_candidate(text, "en"), _candidate(text, "zh")]
    step(rows)
    assert [row.dropped for row in rows] == [False, True]
    assert list(rows[0].meta["scores"]) == ["spam"]
    noted = make_step(
        SafetySettings(spam=ScoreRule(), adult=None, offensive=None, personal_data=None)
    )
    assert noted is not None
    noted([row := _candidate(text)])
    assert row.meta["scores"]["spam"] > 0.6 and not row.lines
    assert make_step(None) is None
    assert (
        make_step(SafetySettings(adult=None, offensive=None, spam=None, personal_data=None)) is None
    )


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValidationError, match="between 0 and 1"):
        ScoreRule(max={"en": 2})
    with pytest.raises(ValidationError, match="adlt"):
        SafetySettings(adlt=None)  # type: ignore[call-arg]


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(
            [*"a1中@().-+! \n", "](", "http://", "buy now ", "555-010-1234 ", "sex ", "\ud800"]
        ),
        max_size=80,
    ).map("".join)
)
@settings(max_examples=150, deadline=None)
def test_any_text_has_scores_between_0_and_1(text: str) -> None:
    for language in ("en", "zh"):
        assert all(0 <= value <= 1 for value in _scores(text, language).values())


@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "1-", "(1", "+", "a@", "a.", "a@b.", "](", "http://", "!", "$", "A", "中", "\n",
     "a b c d\n", "sex", "buy now", "x](http://a.b) ", "\u2705", "0-"],
)  # fmt: skip
def test_time_is_linear_whatever_the_text(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        step = make_step(SafetySettings(offensive=None))
        assert step is not None
        best = 9.0
        for _ in range(2):
            start = time.perf_counter()
            step([_candidate(text)])
            best = min(best, time.perf_counter() - start)
        return best

    short, long = seconds(10_000), seconds(80_000)
    assert long < 0.15 or long < 24 * short


def test_scores_do_not_depend_on_the_batch() -> None:
    every = [
        t for held in (texts.ADULT, texts.SPAM, texts.NOT_SPAM, texts.PERSONAL) for t in held["en"]
    ]
    together = [_candidate(text) for text in every]
    step: Callable[[list[Candidate]], None] | None = make_step(USUAL)
    assert step is not None
    step(together)
    assert [row.meta["scores"] for row in together] == [_scores(text) for text in every]
