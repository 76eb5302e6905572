from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.assist import Answer, Assistant, AssistantSettings, Knowledge, search_query
from chatwright.errors import ContextError, UsageError
from chatwright.generate.params import SamplingParams
from chatwright.records import Message
from chatwright.records.grounding import SYSTEM_PROMPT, SYSTEM_PROMPT_ZH

from .conftest import TalkingEngine


def user(text: str) -> Message:
    return Message("user", text)


def number_of(words: str) -> object:
    """An engine's saying: cites the passage that holds `words`, as a good model would."""

    def say(messages: Sequence[Message]) -> str:
        parts = re.split(r"(?m)^\[(\d)\] ", messages[-1].content)
        numbers = [parts[i] for i in range(1, len(parts), 2) if words in parts[i + 1]]
        return f" It says so [{numbers[0]}]. " if numbers else "I do not know."

    return say


@pytest.fixture
def knowledge(knowledge_path: Path) -> Knowledge:
    return Knowledge.open(knowledge_path)


def test_an_answer_names_its_source(knowledge: Knowledge) -> None:
    assistant = Assistant(TalkingEngine(number_of("pending changes")), knowledge)
    answer = assistant.answer([user("What does `Session.flush()` do?")])
    (citation,) = answer.citations
    assert answer.text == f"It says so [{citation.number}]."
    assert citation.passage.title == "Session › Session.flush()"
    assert citation.passage.uri.startswith("https://x.org/session.html#a")
    assert "Write all pending changes" in citation.passage.text
    assert knowledge.passage(citation.passage.id) == citation.passage
    assert answer.passages[citation.number - 1] == citation.passage
    assert answer.completion.finish_reason == "stop"


@pytest.mark.parametrize(
    "said", ["No number here.", "See [7].", "`x[1]` is code", "[1](http://x)", ""]
)
def test_no_citation_is_invented(knowledge: Knowledge, said: str) -> None:
    answer = Assistant(TalkingEngine(lambda _: said), knowledge).answer([user("flush the session")])
    assert answer.citations == [] and len(answer.passages) >= 2


def test_the_prompt_has_the_shape_of_the_training_data(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "ok")
    Assistant(engine, knowledge).answer([user("What does `Session.flush()` do?")])
    system, last = engine.asked[0]
    assert system == Message("system", SYSTEM_PROMPT)
    assert last.content.startswith("[1] Session › Session.flush()\n")
    assert last.content.endswith("\n\nQuestion: What does `Session.flush()` do?")


def test_a_chinese_question_is_asked_in_chinese(knowledge: Knowledge) -> None:
    engine = TalkingEngine(number_of("回滚会撤销"))
    answer = Assistant(engine, knowledge).answer([user("怎么回滚事务？")])
    assert engine.asked[0][0].content == SYSTEM_PROMPT_ZH
    assert engine.asked[0][-1].content.endswith("问题：怎么回滚事务？")
    assert answer.citations[0].passage.title == "会话手册 › 回滚事务"


def test_earlier_turns_stay_as_people_wrote_them(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "ok")
    turns = [
        user("What does flush do?"),
        Message("assistant", "It writes [1]."),
        user("And close?"),
    ]
    Assistant(engine, knowledge).answer(turns)
    asked = engine.asked[0]
    assert asked[1:3] == turns[:2]
    assert sum("[1] " in m.content for m in asked) == 1


@pytest.mark.parametrize(
    ("question", "looks_back"),
    [
        ("And what does it return?", True),
        ("它会报错吗？", True),
        ("Why?", True),
        ("More?", True),
        ("What is a connection pool?", False),
        ("What is polymorphism?", False),
        ("What does `Session.close()` do with connections and pools?", False),
        ("怎么回滚数据库事务的全部变更？", False),
    ],
)
def test_a_follow_up_is_searched_with_the_question_before(question: str, looks_back: bool) -> None:
    said = [user("Tell me about dragons"), Message("assistant", "They sleep.")]
    assert ("dragons" in search_query(question, said)) is looks_back
    assert search_query(question, []) == question


def test_a_follow_up_finds_what_it_is_about(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "ok")
    turns = [user("What does `Session.flush()` do?"), Message("assistant", "Writes."), user("Why?")]
    answer = Assistant(engine, knowledge).answer(turns)
    assert answer.passages[0].title == "Session › Session.flush()"


def test_without_knowledge_it_is_plain_chat() -> None:
    engine = TalkingEngine(lambda m: m[-1].content.upper())
    answer = Assistant(engine).answer([{"role": "user", "content": "hello [1]"}])
    assert (answer.text, answer.citations, answer.passages, answer.left_out) == (
        "HELLO [1]",
        [],
        [],
        [],
    )
    assert engine.asked == [[user("hello [1]")]]


def test_where_nothing_is_found_it_says_so(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "ok")
    answer = Assistant(engine, knowledge).answer([user("zebra giraffe")])
    assert answer.passages == [] and "No passage holds any word" in answer.left_out[0]
    assert engine.asked[0] == [user("zebra giraffe")]


def test_a_system_message_of_one_s_own(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "ok")
    own = AssistantSettings(system="Speak like a pirate.")
    turns = [Message("system", "Be brief."), user("flush the session")]
    Assistant(engine, knowledge, own).answer(turns)
    assert engine.asked[0][0].content == "Speak like a pirate.\n\nBe brief."
    Assistant(engine, knowledge).answer(turns)
    assert engine.asked[1][0].content == f"{SYSTEM_PROMPT}\n\nBe brief."


def test_a_long_passage_is_shown_in_part_and_told(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "In the cellar [1].")
    answer = Assistant(engine, knowledge).answer([user("where does the dragon sleep?")])
    assert "The dragon sleeps in the cellar." in engine.asked[0][-1].content
    assert "Sentence 30 of the story" not in engine.asked[0][-1].content
    assert "Sentence 30 of the story" in "".join(
        p.text for p in knowledge_of(knowledge, answer)
    )  # what a reader opens is whole
    assert any("shown in part" in note for note in answer.left_out)


def knowledge_of(knowledge: Knowledge, answer: Answer) -> list:
    return [p for p, _ in knowledge.search("dragon story sentence", 9)] + answer.passages


def test_old_turns_go_before_passages_and_both_are_told(knowledge: Knowledge) -> None:
    history = [
        Message(role, f"{role} {n} " + "word " * 20)
        for n in range(8)
        for role in ("user", "assistant")
    ]
    question = user("What does `Session.flush()` do?")
    params = SamplingParams(max_tokens=32)
    engine = TalkingEngine(lambda _: "ok", context=260)
    answer = Assistant(engine, knowledge).answer([*history, question], params)
    kept = [m for m in engine.asked[0] if m in history]
    assert 0 < len(kept) < 16 and kept == history[-len(kept) :] and kept[0].role == "user"
    assert f"{16 - len(kept)} earliest messages" in answer.left_out[0]
    assert len(answer.passages) == 3

    tight = TalkingEngine(lambda _: "ok", context=115)
    answer = Assistant(tight, knowledge).answer([*history, question], params)
    assert [m for m in tight.asked[0] if m in history] == []
    assert len(answer.passages) < 3
    assert "16 earliest messages" in answer.left_out[0]
    assert re.search("passages? that the search found did not fit", answer.left_out[1])


def test_a_question_that_alone_is_too_long_is_refused_before_anything_runs(
    knowledge: Knowledge,
) -> None:
    engine = TalkingEngine(lambda _: "ok", context=300)
    with pytest.raises(ContextError, match="the question is too long"):
        Assistant(engine, knowledge).stream([user("flush " * 400)])
    assert engine.asked == []


@settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.integers(1, 60)), max_size=12),
    st.integers(1, 120),
    st.integers(60, 500),
    st.integers(1, 400),
)
def test_whatever_is_asked_fits_or_is_refused(
    knowledge: Knowledge, history: list[tuple[str, int]], length: int, context: int, most: int
) -> None:
    engine = TalkingEngine(lambda _: "ok", context=context)
    turns = [Message(role, "flush " * n) for role, n in history]  # type: ignore[arg-type]
    assistant = Assistant(engine, knowledge)
    try:
        prepared = assistant.prepare(
            [*turns, user("session " * length)], SamplingParams(max_tokens=most)
        )
    except ContextError:
        assert 4 + length + 32 > context - 4 - len(SYSTEM_PROMPT.split())
        return
    assert prepared.prompt_tokens == len(engine.tokenizer.chat(prepared.messages))
    assert prepared.prompt_tokens + 32 <= context or prepared.prompt_tokens + most <= context
    kept = [m for m in prepared.messages if m in turns]
    told = sum(int(n or 1) for note in prepared.left_out
               for n in re.findall(r"The (?:(\d+) )?earliest message", note))  # fmt: skip
    assert len(kept) + told == len(turns)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message("assistant", "hi")],
        [user("  ")],
        [{"role": "user"}],
        [{"role": "king", "content": "x"}],
    ],
)
def test_messages_that_ask_nothing(messages: list) -> None:
    with pytest.raises(UsageError):
        Assistant(TalkingEngine(lambda _: "ok")).answer(messages)


def test_stream_ends_with_the_answer(knowledge: Knowledge) -> None:
    assistant = Assistant(TalkingEngine(lambda _: "It writes [1]."), knowledge)
    *pieces, answer = assistant.stream([user("flush session")])
    assert "".join(p.text for p in pieces).strip() == answer.text == "It writes [1]."
    assert [c.number for c in answer.citations] == [1]


def test_leaving_the_stream_stops_the_engine(knowledge: Knowledge) -> None:
    engine = TalkingEngine(lambda _: "a b c d e f")
    stream = Assistant(engine, knowledge).stream([user("flush session")])
    next(stream)
    stream.close()
    assert engine.stopped == 1


def test_close_closes_the_engine() -> None:
    engine = TalkingEngine(lambda _: "ok")
    Assistant(engine).close()
    assert engine.closed
