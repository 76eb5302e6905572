from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.collect.found import Lost
from chatwright.collect.preferences import Answers, answers_of
from chatwright.errors import DataError
from chatwright.records import Preference

from .conftest import Collected

Collect = Callable[..., Collected]

HH = "\n\nHuman: 你好\n\nAssistant: Hello.\n\nHuman: How are you?\n\nAssistant: "
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
ASKED = [{"role": "user", "content": "q"}]


def read(row: dict[str, Any]) -> Any:
    """(prompt turns, chosen, rejected), or (rule, detail) of what is lost, or None."""
    found = answers_of(row)
    if isinstance(found, Answers):
        return [(m.role, m.content) for m in found.prompt], found.chosen, found.rejected
    return None if found is None else (found.rule, found.detail)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # TRL: prompt and answers, as text or as messages
        ({"prompt": "问", "chosen": "好", "rejected": "坏"}, ([("user", "问")], "好", "坏")),
        (
            {"prompt": ASKED, "chosen": [{"role": "assistant", "content": "x"}], "rejected": "y"},
            ([("user", "q")], "x", "y"),
        ),
        # UltraFeedback: the answers are whole conversations, and the prompt is repeated
        (
            {"prompt": "q", "chosen": CHAT, "rejected": [*ASKED, {"role": "assistant",
                                                                  "content": "b"}]},
            ([("user", "q")], "a", "b"),
        ),
        # TRL: whole conversations that begin alike
        (
            {"chosen": [*CHAT, *ASKED, {"role": "assistant", "content": "x"}],
             "rejected": [*CHAT, *ASKED, {"role": "assistant", "content": "y"}]},
            ([("user", "q"), ("assistant", "a"), ("user", "q")], "x", "y"),
        ),
        # HH-RLHF, and its form with a prompt of its own
        (
            {"chosen": HH + "Fine.", "rejected": HH + "Go away. "},
            ([("user", "你好"), ("assistant", "Hello."), ("user", "How are you?")],
             "Fine.", "Go away."),
        ),
        (
            {"prompt": "\n\nHuman: a\nb\n\nAssistant:", "chosen": " c", "rejected": " d"},
            ([("user", "a\nb")], " c", " d"),
        ),
        # LLaMA-Factory: ShareGPT and Alpaca
        (
            {"system": "be kind", "conversations": [{"from": "human", "value": "q"}],
             "chosen": {"from": "gpt", "value": "x"}, "rejected": {"from": "gpt", "value": "y"}},
            ([("system", "be kind"), ("user", "q")], "x", "y"),
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}], "chosen": "x", "rejected": "y"},
            ([("user", "q")], "x", "y"),
        ),
        (
            {"instruction": "翻译", "input": "hello", "chosen": "你好", "rejected": "再见"},
            ([("user", "翻译\n\nhello")], "你好", "再见"),
        ),
        # MedicalGPT
        (
            {"system": "", "history": [["q", "a"]], "question": "r", "response_chosen": "x",
             "response_rejected": "y"},
            ([("user", "q"), ("assistant", "a"), ("user", "r")], "x", "y"),
        ),
        # not a pair
        ({"text": "x"}, None),
        ({"chosen": "x"}, None),
        ({"prompt": "q", "chosen": None, "rejected": "y"}, None),
        # lost
        ({"prompt": "q", "chosen": "same ", "rejected": "same"},
         ("tie", "the chosen and the rejected answer are equal")),
        ({"prompt": "q", "chosen": " ", "rejected": "y"},
         ("empty-answer", "the chosen answer is empty")),
        ({"chosen": HH, "rejected": HH + "x"}, ("empty-answer", "the chosen answer is empty")),
        ({"chosen": [*ASKED, {"role": "assistant", "content": ""}], "rejected": CHAT},
         ("empty-answer", "the chosen answer is empty")),
        ({"chosen": HH + "x", "rejected": HH + "y\n\nHuman: z\n\nAssistant: w"},
         ("prompts-differ", "3 turns come before the chosen answer and 5 before the other")),
        ({"chosen": HH + "x", "rejected": HH.replace("Hello", "Hi") + "y"},
         ("prompts-differ", "the conversations differ from turn 2 on")),
        ({"prompt": "other", "chosen": CHAT, "rejected": [*ASKED, {"role": "assistant",
                                                                  "content": "b"}]},
         ("prompts-differ", "the answers repeat another prompt than the row's own")),
        ({"chosen": "x", "rejected": "y"},
         ("bad-preference", "the chosen answer is text, and there is no prompt")),
        ({"chosen": HH + "x\n\nHuman: bye", "rejected": HH + "y"},
         ("bad-preference", "the chosen answer does not end with the assistant's turn")),
        ({"chosen": "\n\nHuman:\n\nAssistant: x", "rejected": "\n\nHuman:\n\nAssistant: y"},
         ("bad-preference", "the chosen answer: turn 1 is empty")),
        ({"chosen": "\n\nAssistant: x", "rejected": "\n\nAssistant: y"},
         ("bad-preference", "there is no prompt")),
        ({"prompt": "q", "chosen": 3, "rejected": "y"},
         ("bad-preference", "the chosen answer is neither text nor messages")),
        ({"prompt": CHAT, "chosen": "x", "rejected": "y"},
         ("bad-preference", "the prompt ends with the assistant's turn")),
        ({"prompt": [{"role": "tool", "content": "1"}], "chosen": "x", "rejected": "y"},
         ("bad-preference", "no user turn")),
        ({"prompt": [{"role": "boss", "content": "1"}], "chosen": "x", "rejected": "y"},
         ("bad-preference", "the prompt: turn 1 has the unknown role 'boss'")),
        ({"prompt": [3], "chosen": "x", "rejected": "y"},
         ("bad-preference", "the prompt: turn 1 is not an object")),
    ],
)  # fmt: skip
def test_forms(row: dict[str, Any], expected: Any) -> None:
    assert read(row) == expected


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.just(HH + "x") | st.just("\n\nHuman:"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ["prompt", "chosen", "rejected", "conversations", "history", "question", "system", "input"]


@settings(max_examples=200, deadline=None)
@given(row=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_nothing_that_a_row_holds_is_a_traceback(row: dict[str, Any]) -> None:
    found = answers_of(row)
    if isinstance(found, Answers):
        assert found.chosen.strip() and found.rejected.strip() and found.prompt
        assert found.chosen.strip() != found.rejected.strip()
        assert found.prompt[-1].role in ("user", "tool")
    else:
        assert found is None or (isinstance(found, Lost) and found.detail)


def test_a_file_of_pairs(collect: Collect, folder: Path) -> None:
    pair = {"prompt": "q", "chosen": "x", "rejected": "y"}
    rows: list[dict[str, Any]] = [
        pair | {"judge": "alice", "margin": 1.5, "language": "en", "consent": "yes"},
        {"prompt": "q", "chosen": "x", "rejected": "x"},
        {"other": 1},
        pair,
        pair,
        pair | {"consent": "no"},
        pair | {"opt_out": 1},
    ]
    (folder / "c.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "page.md").write_text("# no pairs")
    found = collect(folder, rows="preferences")
    first, second, third = found.rows
    assert isinstance(first, Preference)
    assert (first.judge, first.language, first.consent) == ("alice", "en", True)
    assert first.meta == {"margin": 1.5, "path": "c.jsonl"}
    assert (second.judge, second.meta) == ("unknown", {"path": "c.jsonl"})
    assert [e.other_id for e in found.lines("keep")] == [None, None, second.id]
    assert third.chosen == "x"
    assert found.dropped == [
        ("tie", "c.jsonl#row=2"),
        ("missing-column", "c.jsonl#row=3"),
        ("consent", "c.jsonl#row=6"),
        ("opt-out", "c.jsonl#row=7"),
        ("no-rows", "page.md"),
    ]


def test_a_file_without_pairs(collect: Collect, folder: Path) -> None:
    (folder / "c.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match="no row holds a chosen and a rejected answer"):
        collect(folder, rows="preferences")


@pytest.mark.parametrize(
    ("name", "kept", "lost"),
    [
        ("hh_harmless_base_test.jsonl.gz", 2303, {"empty-answer": 4, "prompts-differ": 5}),
        ("dpo_en_demo.json.gz", 300, {}),
        ("dpo_zh_demo.json.gz", 300, {}),
        ("dpo_zh_500.jsonl.gz", 500, {}),
    ],
)
def test_public_pairs(
    name: str, kept: int, lost: dict[str, int], collect: Collect, shared_data: Path
) -> None:
    found = collect(shared_data / "preference" / name, rows="preferences")
    assert len(found.rows) == kept
    assert found.dataset.info.counts["sources"][0]["dropped"] == lost
    for row in found.rows[:50]:
        assert row.prompt[-1].role == "user" and row.chosen != row.rejected
        assert "\n\nAssistant:" not in row.chosen and "\n\nHuman:" not in row.rejected
