"""A conversation in the terminal: what was said, and what the slash commands do to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.errors import ChatwrightError

if TYPE_CHECKING:
    from chatwright.assist import Answer, Assistant
    from chatwright.generate import SamplingParams

HELP = """\
/help          this list
/sources       the passages that the last answer cites
/system TEXT   instructions for every answer from now on (alone: show them; `none`: no more)
/reset         forget the conversation
/save FILE     write the conversation as Markdown, or as JSON where FILE ends in .json
/quit          leave (also Ctrl-D)

Enter sends, Alt-Enter starts a new line, pasted lines stay together, ↑ finds earlier questions.
Ctrl-C stops an answer. A question may begin with a slash if a space comes before it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what was answered. `answer` is None where Ctrl-C cut the text off."""

    question: str
    text: str
    answer: Answer | None


class Talk:
    """A conversation with one assistant."""

    def __init__(
        self, assistant: Assistant, params: SamplingParams, system: str | None = None
    ) -> None:
        self.assistant = assistant
        self.params = params
        self.system = system
        self.turns: list[Turn] = []
        self.done = False

    @property
    def messages(self) -> list[dict[str, str]]:
        """Everything so far, as the assistant takes it."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.question})
            messages.append({"role": "assistant", "content": turn.text})
        return messages

    def ask(self, question: str, show: Callable[[str], None] = lambda _: None) -> Answer:
        """Stream the answer's text to `show` and return the whole.

        An error leaves the conversation as it was. Ctrl-C (`KeyboardInterrupt`) stops the engine
        and keeps the question with what was said until then.
        """
        from chatwright.assist import Answer

        text = ""
        answer: Answer | None = None
        asked = [*self.messages, {"role": "user", "content": question}]
        try:
            with closing(self.assistant.stream(asked, self.params)) as stream:  # type: ignore[type-var]
                for item in stream:
                    if isinstance(item, Answer):
                        answer = item
                    else:
                        text += item.text
                        show(item.text)
        except KeyboardInterrupt:
            if text.strip():
                self.turns.append(Turn(question, text.strip(), None))
            raise
        if answer is None:
            raise ChatwrightError("the assistant stopped without an answer")
        self.turns.append(Turn(question, answer.text, answer))
        return answer

    def command(self, line: str) -> str | None:
        """What a slash command has to say, or None where `line` is a question.

        `/etc/passwd` is a question: a command is letters up to a space or the line's end.
        """
        word, *rest = line.split(maxsplit=1)
        if not (line.startswith("/") and word[1:].isalpha()):
            return None
        commands: dict[str, Callable[[str], str]] = {
            "/help": lambda _: HELP,
            "/reset": self._reset,
            "/system": self._set_system,
            "/save": self._save,
            "/sources": self._sources,
            "/quit": self._quit,
            "/exit": self._quit,
        }
        if word.lower() not in commands:
            return f"There is no command {word}; /help lists those that there are."
        return commands[word.lower()](rest[0].strip() if rest else "")

    def _reset(self, _: str) -> str:
        self.turns.clear()
        return "The conversation starts anew."

    def _set_system(self, text: str) -> str:
        if not text:
            return self.system or "There are no instructions. /system TEXT gives some."
        self.system = None if text.lower() == "none" else text
        return "Set, from the next answer on." if self.system else "No more instructions."

    def _quit(self, _: str) -> str:
        self.done = True
        return ""

    def _sources(self, _: str) -> str:
        if not self.turns:
            return "There is no answer yet."
        answer = self.turns[-1].answer
        if answer is None:
            return "The last answer was stopped."
        if answer.citations:
            return "\n\n".join(
                f"[{c.number}] {c.passage.title}\n{c.passage.uri}\n\n{c.passage.text}"
                for c in answer.citations
            )
        shown = "".join(f"\n  · {p.title} — {p.uri}" for p in answer.passages)
        return "The last answer cites nothing." + (f" It was shown:{shown}" if shown else "")

    def _save(self, name: str) -> str:
        from chatwright.records import write_atomic

        if not name:
            return "Say where: /save FILE"
        if not self.turns:
            return "There is nothing to save yet."
        path = Path(name).expanduser()
        if path.exists():
            return f"{path} is already there; choose another name."
        as_json = path.suffix.lower() == ".json"
        try:
            write_atomic(path, self._as_json() if as_json else self._as_markdown())
        except (OSError, ChatwrightError) as error:
            return f"It could not be saved: {error}"
        return f"Saved as {path}"

    def _as_json(self) -> str:
        turns = [
            {"question": turn.question, **answer_json(turn.answer)}
            if turn.answer
            else {"question": turn.question, "answer": turn.text, "finish_reason": "cancelled"}
            for turn in self.turns
        ]
        whole = {"assistant": self.assistant.settings.name, "system": self.system, "turns": turns}
        return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"

    def _as_markdown(self) -> str:
        settings = self.assistant.settings
        parts = [f"# {settings.title or settings.name}"]
        if self.system:
            parts.append(f"*{self.system}*")
        for turn in self.turns:
            parts += [f"**You:** {turn.question}", f"**Assistant:** {turn.text}"]
            if turn.answer is None:
                parts.append("(stopped)")
            elif turn.answer.citations:
                parts.append("\n".join(f"- {line}" for line in source_lines(turn.answer)))
        return "\n\n".join(parts) + "\n"


def source_lines(answer: Answer) -> list[str]:
    """One line for each citation: number, title, address."""
    return [f"[{c.number}] {c.passage.title} — {c.passage.uri}" for c in answer.citations]


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as a program reads it."""
    return {
        "answer": answer.text,
        "citations": [
            {
                "number": c.number,
                "id": c.passage.id,
                "title": c.passage.title,
                "uri": c.passage.uri,
                "text": c.passage.text,
            }
            for c in answer.citations
        ],
        "left_out": answer.left_out,
        "finish_reason": answer.completion.finish_reason,
        "prompt_tokens": answer.completion.prompt_tokens,
        "completion_tokens": len(answer.completion.token_ids),
    }


def printable(text: str) -> str:
    """`text` without control characters: a model's words must not steer the terminal."""
    return "".join(c for c in text if c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160))
