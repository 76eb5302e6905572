"""An answer while it is being written: what there is of it, and the events that told it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from chatwright.records.grounding import Passage, cited_numbers
from chatwright.serve.history.content import Content
from chatwright.serve.history.store import Status
from chatwright.serve.runs.events import EventLog


@dataclass(slots=True)
class Draft:
    """The answer so far: `prefix` the text of an answer that is continued, `text` what is new."""

    log: EventLog
    prefix: str = ""
    text: str = ""
    status: Status = "writing"
    passages: list[Passage] = field(default_factory=list)
    collection_of: dict[str, str] = field(default_factory=dict)  # passage id -> collection id
    notes: list[str] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    moderation: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    changed: bool = False  # since it was last written down
    _spoken: list[tuple[int, int]] = field(default_factory=list)  # event number, where it begins

    def say(self, text: str) -> None:
        """The next piece of text."""
        if not text:
            return
        self._spoken.append((self.log.add("text", {"text": text}), len(self.text)))
        self.text += text
        self.changed = True

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Any other event."""
        self.log.add(kind, data)
        self.changed = True

    def tool(self, call: dict[str, Any]) -> None:
        """A call of a tool, told when it is made and again with what came of it."""
        known = next((n for n, c in enumerate(self.tool_calls) if c["id"] == call["id"]), None)
        if known is None:
            self.tool_calls.append(call)
        else:
            self.tool_calls[known] = call
        self.tell("tool", call)

    def withdraw(self, start: int) -> None:
        """Take back what was said from there on, for those too who read the events later."""
        ends = [begins for _, begins in self._spoken[1:]] + [len(self.text)]
        for (number, begins), end in zip(self._spoken, ends, strict=True):
            if end > start:
                kept = self.text[begins : max(begins, start)]
                self.log.replace(number, "text", {"text": kept})
        self.text = self.text[:start].rstrip()
        self.changed = True

    @property
    def whole(self) -> str:
        """The answer's text; without the edges once it is finished and will not be continued."""
        text = self.prefix + self.text
        return text.strip() if self.status == "done" and self.finish_reason != "length" else text

    def retrieved(self) -> list[dict[str, Any]]:
        """The passages that the model was shown, numbered from 1."""
        return [self._numbered(n, p) for n, p in enumerate(self.passages, start=1)]

    def citations(self) -> list[dict[str, Any]]:
        """Those that the text cites."""
        cited = cited_numbers(self.whole, len(self.passages))
        return [self._numbered(n, self.passages[n - 1]) for n in cited]

    def _numbered(self, number: int, passage: Passage) -> dict[str, Any]:
        told = {
            "number": number,
            **{name: asdict(passage)[name] for name in ("id", "title", "uri", "text")},
        }
        if passage.id in self.collection_of:
            told["collection_id"] = self.collection_of[passage.id]
        return told

    def usage(self) -> dict[str, int]:
        """Tokens of the model: its last prompt, and all that it wrote."""
        read, made = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}

    def content(self) -> Content:
        """As it is kept."""
        return Content(
            text=self.whole,
            citations=self.citations() if self.passages else [],
            retrieved=self.retrieved(),
            notes=list(self.notes),
            tool_calls=list(self.tool_calls),
            moderation=self.moderation,
            finish_reason=self.finish_reason,
            details={"summary": self.summary} if self.summary else {},
        )

    def last_event(self) -> tuple[str, dict[str, Any]]:
        """How it ended: `done`, or `failed`."""
        if self.error is not None:
            return "failed", self.error
        return "done", {
            "status": self.status,
            "text": self.whole,
            "citations": self.citations(),
            "retrieved": self.retrieved(),
            "notes": list(self.notes),
            "usage": self.usage(),
            "finish_reason": self.finish_reason,
        }
