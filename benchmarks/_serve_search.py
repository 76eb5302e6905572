"""History search over many sealed messages of one account: how long it takes to find something."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

_TEXT = (
    "harbour gate tide spring moor boat fee office noon length range moon sun pull angle open "
    "close hours metres north quay captain signal weather forecast window engine python function "
    "returns list error value index table database query message answer question model train data "
    "token learning rate batch gradient layer attention cache stream server client request "
    "response recipe flour butter oven minutes sugar bread garden plant water soil seed light "
    "travel ticket"
)
_WORDS = _TEXT.split()
_HAN = (
    "潮汐港口闸门开放时间船只停泊费用办公室太阳月亮引力模型训练数"
    "据回答问题请求服务器错误函数列表天气旅行面包花园"
)
_CHATS_OF = 20  # messages in a conversation


def measure(messages: int = 100_000, *, queries: int = 200) -> dict[str, Any]:
    """Fill a new SQLite database with `messages` in one account, and search it.

    Returns milliseconds (`p50`, `p95`, `worst`), what filling took and the size of the file. Half
    of the messages are English, half Chinese, 30 to 60 words of a skewed distribution, with a rare
    number in each; a third of the queries ask for one rare word, the others for common words, two
    words, two Chinese characters, one character, and for what is not there.
    """
    from chatwright.serve.store import open_store

    with tempfile.TemporaryDirectory() as folder:
        store = open_store(None, folder=Path(folder))
        began = time.perf_counter()
        fill(store, messages)
        filled = time.perf_counter() - began
        told = ask(store, messages, queries)
        store.close()
        size = (Path(folder) / "chat.db").stat().st_size
    return {
        "messages": messages,
        **told,
        "fill_seconds": round(filled, 1),
        "bytes_each": size // messages,
    }


def fill(store: Any, messages: int) -> None:
    """One account with so many messages, in conversations of twenty."""
    from chatwright.serve.history.store import add_message, create_chat
    from chatwright.serve.store.tables import Person

    rng = random.Random(7)
    with store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="", role="user"))
        session.flush()
        store.keys.sealer(session, "usr_1")
    for start in range(0, messages, 2000):
        with store.begin() as session:
            sealer = store.keys.sealer(session, "usr_1")
            for first in range(start, min(start + 2000, messages), _CHATS_OF):
                chat = create_chat(session, sealer, "usr_1", title=_text(rng, first, words=4))
                parent = None
                for number in range(first, min(first + _CHATS_OF, messages)):
                    parent = add_message(
                        session,
                        sealer,
                        chat,
                        parent_id=parent,
                        role="assistant" if number % 2 else "user",
                        content=_text(rng, number, words=rng.randint(30, 60)),
                    )


def ask(store: Any, messages: int, queries: int) -> dict[str, Any]:
    """Milliseconds of so many searches, one after another, each in a transaction of its own."""
    from chatwright.serve.history.search import search

    rng = random.Random(8)
    times: list[tuple[float, str]] = []
    found = 0
    for query in [_query(rng, number, messages) for number in range(queries)]:
        began = time.perf_counter()
        with store.reading() as session:
            sealer = store.keys.sealer(session, "usr_1")
            found += len(search(session, sealer, "usr_1", query, limit=20))
        times.append(((time.perf_counter() - began) * 1000, query))
    times.sort()
    return {
        "queries": queries,
        "found": found,
        "p50_ms": round(times[len(times) // 2][0], 2),
        "p95_ms": round(times[int(len(times) * 0.95)][0], 2),
        "worst_ms": round(times[-1][0], 2),
        "worst_query": times[-1][1],
    }


def _skewed(rng: random.Random, choices: Any) -> Any:
    return choices[min(int(rng.expovariate(6.0 / len(choices))), len(choices) - 1)]


def _text(rng: random.Random, number: int, *, words: int) -> str:
    if number % 4 < 2:
        said = [_skewed(rng, _WORDS) for _ in range(words)]
        said.insert(rng.randrange(len(said) + 1), _rare(number))
        return " ".join(said)
    return "".join(_skewed(rng, _HAN) for _ in range(words * 2)) + _rare(number)


def _rare(number: int) -> str:
    return f"{number * 7919 % 1_000_003:06d}"


def _query(rng: random.Random, number: int, messages: int) -> str:
    kind = number % 9
    if kind < 3:
        return _rare(rng.randrange(messages))
    if kind == 3:
        return str(_skewed(rng, _WORDS))
    if kind == 4:
        return f"{_skewed(rng, _WORDS)} {rng.choice(_WORDS)}"
    if kind == 5:
        return "".join(rng.choice(_HAN) for _ in range(2))
    if kind == 6:
        return str(rng.choice(_HAN))
    if kind == 7:
        return " ".join(rng.choice(_WORDS) for _ in range(5))
    return rng.choice(("quicksilver", "tidemark moonstone", "犀牛", "zz", "engineering gatehouse"))


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(measure(*(int(one) for one in sys.argv[1:])), ensure_ascii=False))
