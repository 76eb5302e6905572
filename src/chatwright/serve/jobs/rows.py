"""Training files of the API: checked row by row, and written as the collector reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from chatwright.errors import DataError
from chatwright.serve.knowledge.rows import check_rows

Method = Literal["supervised", "dpo"]

_TURN = 8  # tokens that a chat template takes for a turn, at most
_TEMPLATE = 64  # and for what stands before the first


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """What a file gives: JSON Lines for the collector, and what its size says of the training.

    `characters` is the text of all rows together; no row has more than `longest` tokens, since a
    token has one byte at least. `last_only`: of each conversation only the last answer is learnt.
    """

    data: bytes
    count: int
    characters: int
    longest: int
    last_only: bool


def read_rows(data: bytes, method: Method) -> TrainingRows:
    """A file of `/v1/files` for a method. Raises `DataError` that names the row, never its text.

    Messages with `weight` 0 are not learnt. Where a file has some, each answer with a weight of 1
    becomes a row of its own, with what was said before it.
    """
    check_rows(data, "fine-tune")
    rows: list[dict[str, Any]] = []
    numbered = list(_numbered(data))
    weighed = any(
        "weight" in message for _, row in numbered for message in row.get("messages") or ()
    )
    for number, row in numbered:
        try:
            if method == "dpo":
                rows.append(_pair(row))
            else:
                rows.extend(_conversations(row, weighed))
        except DataError as error:
            raise DataError(f"row {number}: {error.message}", hint=error.hint) from None
    texts = [_texts(row) for row in rows]
    longest = max(
        sum(len(t.encode("utf-8", "replace")) + _TURN for t in said) + _TEMPLATE for said in texts
    )
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return TrainingRows(
        ("\n".join(lines) + "\n").encode("utf-8", "replace"),
        len(rows),
        sum(len(t) for said in texts for t in said),
        longest,
        weighed and method == "supervised",
    )


def _numbered(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, json.loads(line)


def _conversations(row: dict[str, Any], weighed: bool) -> Iterator[dict[str, Any]]:
    if "input" in row:
        raise DataError(
            "this is a preference", hint='for those the method is {"type": "dpo", "dpo": {}}'
        )
    if "prompt" in row:
        said = [{"role": "user", "content": row["prompt"]}]
        said.append({"role": "assistant", "content": row["completion"]})
        yield {"messages": said}
        return
    messages = _plain(row["messages"])
    if not weighed:
        yield {"messages": messages}
        return
    for place, message in enumerate(row["messages"]):
        if message["role"] == "assistant" and message.get("weight", 1):
            yield {"messages": messages[: place + 1]}


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    if "input" not in row:
        raise DataError(
            "this is no preference",
            hint="the method dpo takes rows of input, preferred_output and non_preferred_output",
        )
    better, worse = row["preferred_output"], row["non_preferred_output"]
    if len(better) != 1 or len(worse) != 1:
        raise DataError("preferred_output and non_preferred_output are one message each")
    return {
        "prompt": _plain(row["input"]["messages"]),
        "chosen": _plain(better)[0]["content"],
        "rejected": _plain(worse)[0]["content"],
    }


def _plain(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    for number, message in enumerate(messages):
        if message.get("tool_calls") or not isinstance(message.get("content"), str):
            raise DataError(
                f"messages[{number}]: calls of tools cannot be learnt here",
                hint="leave such rows out",
            )
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def _texts(row: dict[str, Any]) -> list[str]:
    if "messages" in row:
        return [message["content"] for message in row["messages"]]
    longer = max(row["chosen"], row["rejected"], key=len)
    return [*(message["content"] for message in row["prompt"]), longer]
