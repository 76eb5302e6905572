"""One answer of a request as it grows: its words, its tool calls, its tokens, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chatwright.assist import Answer, Assistant, Prepared
from chatwright.assist.tools.protocol import ToolCall, ToolCallReader
from chatwright.generate import Completion, Piece
from chatwright.records.grounding import Passage
from chatwright.serve.openai.tokens import TokenLog, Told


@dataclass(slots=True)
class News:
    """What came of an answer since it was last asked: parts in their order, and tokens."""

    parts: list[str | ToolCall] = field(default_factory=list)
    tokens: list[Told] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]


class Growing:
    """Answer `index`: feed it pieces, and at the end the `Answer`.

    With a `reader` the model's calls are taken out of its text; with a `log` its tokens are told.
    """

    def __init__(
        self, index: int, reader: ToolCallReader | None = None, log: TokenLog | None = None
    ) -> None:
        self.index = index
        self.answer: Answer | None = None
        self.calls: list[ToolCall] = []
        self.tokens: list[Told] = []
        self.made = 0  # pieces; once it is over, tokens
        self.flagged = False  # moderation withheld it
        self._reader = reader
        self._log = log
        self._said: list[str] = []

    @property
    def text(self) -> str:
        """Its words without the calls, as an answer that is not streamed has them."""
        if self.flagged:
            return ""
        return "".join(self._said).strip()

    @property
    def over(self) -> bool:
        return self.answer is not None

    def feed(self, piece: Piece) -> News:
        """What a piece brings."""
        self.made += 1
        done = piece.completion
        news = News()
        if self._reader is None:
            news.parts = [piece.text] if piece.text else []
        else:
            news.parts = self._reader.push(piece.text)
            if done is not None:
                news.parts += self._reader.end()
        if self._log is not None:
            news.tokens = (
                self._log.add(piece.text, piece.chosen)
                if done is None
                else self._log.rest(piece.text, done)
            )
            self.tokens += news.tokens
        self._said += [part for part in news.parts if isinstance(part, str)]
        self.calls += news.calls
        return news

    def end(self, answer: Answer, assistant: Assistant, prepared: Prepared) -> None:
        """The whole answer; sources are read out of its words alone, never of its calls."""
        if self.calls:
            words = replace(answer.completion, text="".join(self._said))
            answer = replace(assistant.finish(prepared, words), completion=answer.completion)
        self.answer = answer
        self.made = len(answer.completion.token_ids)

    def finish_reason(self) -> str:
        """As chat completions tell it: "stop", "length", "tool_calls" or "content_filter"."""
        assert self.answer is not None
        if self.flagged:
            return "content_filter"
        told = finish_reason(self.answer.completion)
        return "tool_calls" if self.calls and told == "stop" else told

    def citations(self) -> list[dict[str, Any]]:
        if self.answer is None or self.flagged:
            return []
        return [{"number": c.number, **asdict(c.passage)} for c in self.answer.citations]


def numbered(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """The passages shown to the model, number 1 first."""
    return [{"number": n, **asdict(passage)} for n, passage in enumerate(passages, start=1)]


def finish_reason(completion: Completion) -> str:
    """OpenAI knows "stop" and "length"; a cancelled answer has nobody left who would read it."""
    reason = completion.finish_reason
    return {"cancelled": "stop", "timeout": "length"}.get(reason, reason)


def usage(completions: Sequence[Completion]) -> dict[str, Any]:
    """OpenAI's `usage`, in tokens of the served model. A prompt is counted once."""
    read = max((c.prompt_tokens for c in completions), default=0)
    cached = max((c.cached_tokens for c in completions), default=0)
    made = sum(len(c.token_ids) for c in completions)
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
