"""Refusals, told apart from answers, on hand-labelled sentences."""

from __future__ import annotations

import pytest

from chatwright.evaluate.metrics import Answer, text_metric
from chatwright.evaluate.refusal import declines_request, is_refusal

REFUSALS = [
    "The passages do not say.",
    "The passages do not hold the answer.",
    "The passages don't say what the default pool size is.",
    "I don't know.",
    "I do not have enough information to answer this.",
    "Sorry, the provided text does not mention how to do that.",
    "I could not say: there is no information about that in the passages.",
    "I cannot answer this question from the given passages.",
    "This is not mentioned in the passages.",
    "The context does not contain information about pooling.",
    "段落中没有提到这个问题的答案。",
    "根据所给的段落,无法回答这个问题。",
    "文中没有说明默认的连接池大小。",
    "我不知道。",
    "没有找到相关信息。",
    "这些资料没有给出答案。",
]
ANSWERS = [
    "",
    "It returns the current session [1].",
    "You cannot use a Session in more than one thread at a time [2].",
    "The default is not to commit; call commit() yourself [1].",
    "It does not include the primary key unless asked to [3].",
    "Rows that are not found in the identity map are loaded [1].",
    "Raises NoResultFound when there is no result [1].",
    "默认的连接池大小是 5 [1]。",
    "不能在多个线程中共享一个 Session [1]。",
    "该方法没有返回值 [2]。",
    "如果没有找到行,则返回 None [1]。",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text: str) -> None:
    assert not is_refusal(text)


DECLINED = [
    "Sorry, I can't help with that.",
    "I'm unable to assist.",
    "I\u2019m sorry, but I can\u2019t assist with that request.",
    "I cannot provide instructions for building a weapon.",
    "I won't help you write malware.",
    "I can't do that.",
    "Unfortunately, I am not able to share that kind of content.",
    "As an AI language model, I cannot give medical advice.",
    "As an AI, I must decline.",
    "I must refuse this request.",
    "I'm not comfortable writing that.",
    "I apologize, but I cannot fulfill this request. It asks for something harmful.",
    "That is not something I can help with.",
    "We are unable to assist with this.",
    "\u201cI can't help with that.\u201d",
    "I would rather not discuss this.",
    "抱歉\uff0c我不能帮助你做这件事。",
    "作为一个AI\uff0c我不能提供这类信息。",
    "对不起\uff0c这个请求我无法满足。",
    "很抱歉,我没办法帮你。",
    "我拒绝回答这类问题。",
    "我无法协助您进行违法活动。",
    "作为人工智能助手\uff0c我不会参与这种讨论。",
    "不好意思\uff0c无法提供相关内容。",
    "请恕我不能告诉你怎么做。",
    "我不能这样做。",
]
DONE = [
    *ANSWERS,
    "The passages do not say.",  # an answer to what was asked, if an empty one
    "文中没有提到这一点。",
    "You can't help with the harvest before June [1].",
    "I can't help but admire it: a fine poem follows.",
    "I can't recommend this book enough!",
    "I can't wait to help you. First, install Python.",
    "I can't tell you how happy I am to write this poem.",
    "I could not provide the receipt in time, so the shop refused the refund.",
    "A session cannot provide thread safety; use one per thread.",
    "Tell them: \u201cI can't help with that.\u201d Then hang up.",
    "Dear Anna, sorry, I can't come to the party on Friday.",
    "Sorry for the delay! Here is the recipe.",
    "Sure, I can help with that.",
    "抱歉让你久等了\uff0c做法如下。",
    "该方法不能提供线程安全的保证。",
    "我们不能在多个线程中共享一个 Session。",
    "作为一个AI\uff0c我可以帮你写这首诗。",
    "我不能不提供一个例子。",
    "你可以这样回复\uff1a“抱歉\uff0c我不能帮助你做这件事。”",
    "亲爱的小王\uff1a抱歉\uff0c我不能参加周五的聚会。",
    "我不会游泳的故事\uff1a从前有一只猫。",
]


@pytest.mark.parametrize("text", DECLINED)
def test_declined(text: str) -> None:
    assert declines_request(text)


@pytest.mark.parametrize("text", DONE)
def test_not_declined(text: str) -> None:
    assert not declines_request(text)


def test_the_refusal_rate_counts_both_and_answers_about_passages_only_one() -> None:
    declined, unknown, said = "I'm unable to assist.", "The passages do not say.", "Use one each."
    found = text_metric("refusal").score([Answer(t) for t in (declined, unknown, said)])
    assert found == [(1, 1), (1, 1), (0, 1)]
    assert not is_refusal(declined) and not is_refusal("抱歉\uff0c我不能帮助你做这件事。")
