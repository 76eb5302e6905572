"""Makes chat histories whose true rates are known: English and Chinese, several model versions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from chatwright.records import Conversation, Message, content_id

QUESTIONS = {
    "refund": {
        "en": ("How do I get a refund for order {n}?", "Please tell me how to refund order {n}?"),
        "zh": ("订单{n}怎么申请退款?", "请问订单{n}要怎样申请退款?"),
    },
    "delivery": {
        "en": ("Where is my delivery of parcel {n}?", "Where can my parcel {n} delivery be?"),
        "zh": ("我的包裹{n}快递到哪里了?", "包裹{n}的快递现在到哪里了?"),
    },
    "password": {
        "en": ("How can I reset the password of account {n}?", "Reset password, account {n}?"),
        "zh": ("账号{n}的登录密码怎么重置?", "怎么重置账号{n}的登录密码?"),
    },
}  # fmt: skip
ANSWERS = {
    "en": "Open the page of your account, choose the entry and follow the three steps shown there.",
    "zh": "请打开您的账号页面,选择对应的条目,然后按照页面上显示的三个步骤操作即可。",
}
REFUSALS = {
    "en": "I don't have any information about this in the passages.",
    "zh": "根据提供的资料,无法回答这个问题。",
}
THANKS = {"en": "Thanks, that works!", "zh": "谢谢,问题解决了!"}
DETAILS = {
    "en": "And which documents do I need to bring along on Monday?",
    "zh": "另外周一办理手续时需要携带什么证件呢?",
}


@dataclass(frozen=True, slots=True)
class Version:
    """True rates of one model version; every conversation is drawn from them."""

    name: str
    first_day: datetime
    up: float = 0.8  # thumbs up of those who rate
    rates: float = 0.5  # conversations with a rating
    thanks: float = 0.5
    unanswered: float = 0.1
    repeats: float = 0.1
    refuses: float = 0.05
    seconds: float = 2.0  # median; log-normal with sigma 0.4
    days: int = 21


BASE = Version("assistant-1", datetime(2026, 3, 2, 8, tzinfo=UTC))


def worse(version: Version, **changed: Any) -> Version:
    return replace(version, **changed)


def conversations(
    version: Version, count: int, *, seed: int, users: int | None = None, intents: bool = True
) -> Iterator[Conversation]:
    """`count` conversations with consent; `users` people share them, or nobody is named."""
    random = np.random.default_rng(seed)
    for number in range(count):
        yield _conversation(version, number, random, users, intents)


def _conversation(
    v: Version, number: int, random: np.random.Generator, users: int | None, intents: bool
) -> Conversation:
    language = "zh" if random.random() < 0.4 else "en"
    intent = ["refund", "delivery", "password"][int(random.integers(3))]
    at = v.first_day + timedelta(days=float(random.random() * v.days))
    first, again = (t.format(n=1000 + number) for t in QUESTIONS[intent][language])
    messages: list[Message] = []
    turns: list[dict[str, Any]] = []

    def say(role: str, content: str, **facts: Any) -> None:
        messages.append(Message(role, content))  # type: ignore[arg-type]
        when = at + timedelta(seconds=20 * len(messages))
        turns.append({"at": when.isoformat(), **facts})

    def answer() -> None:
        text = REFUSALS[language] if random.random() < v.refuses else ANSWERS[language]
        seconds = v.seconds * math.exp(0.4 * random.standard_normal())
        say("assistant", text, seconds=seconds, first_token_seconds=seconds / 5, stopped=False)

    say("user", first)
    answer()
    say("user", again if random.random() < v.repeats else DETAILS[language])
    if random.random() >= v.unanswered:
        answer()
        if random.random() < v.rates:
            good = random.random() < v.up
            turns[-1]["feedback"] = "up" if good else "down"
            if not good:
                turns[-1]["reasons"] = ["incorrect"]
        elif random.random() < v.thanks:
            say("user", THANKS[language])
    meta: dict[str, Any] = {"turns": turns, "model": v.name}
    if intents:
        meta["intent"] = intent
    if users:
        meta["user"] = f"u{int(random.integers(users))}"
    name = f"{v.name}/{number}"
    return Conversation(
        id=content_id("synthetic", name),
        messages=messages,
        uri=f"synthetic:{name}",
        source="synthetic",
        language=language,
        meta=meta,
        consent=True,
    )
