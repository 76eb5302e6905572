"""C4's rules about single lines (Raffel et al. 2020, section 2.2): which lines go, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from chatwright.curate.measuring.prose import clean_line
from chatwright.curate.measuring.words import has_han, split_words
from chatwright.curate.normalise import split_code
from chatwright.curate.words import count_words

# Citations and links as Wikipedia writes them (C4's reference code); an index such as `net[0].x`
# or the text of a link is none.
_NUMBERED = re.compile(r"(?<![\[\d])\[\d{1,4}\](?![(\]\w]|\.\w)")
_NAMED = re.compile(r"\[(?:edit|citation needed)\](?![(\]\w])")
_BRACKETS = ")]}\uff09\u3011\u300b*_"
_QUOTES = "\"'\u201d\u2019\u300d\u300f"
_TERMINAL = frozenset(".!?\u3002\uff01\uff1f" + _QUOTES)
_BLANK_LINES = re.compile(r"\n{3,}")
_SHOWN = 60  # characters of a line that the ledger quotes


class LineRules(BaseModel):
    """Which lines of prose go; lines of code blocks stay.

    `terminal_punctuation`: those that end in no . ! ? or closing quote, or in an ellipsis; Chinese
    marks count. `min_words`: those of fewer (1.6 Chinese characters are a word).
    `max_word_length`: those with a longer run of characters without a space. `phrases`: for each
    name of a rule the lower-case phrases of which a line holds one. `citations` takes [1] and
    [edit] out of the other lines, where they hold no code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    terminal_punctuation: bool = False
    min_words: int = Field(default=0, ge=0)
    max_word_length: int | None = Field(default=None, ge=1)
    citations: bool = False
    phrases: dict[str, tuple[str, ...]] = {}
    source: str

    def union(self, other: LineRules) -> LineRules:
        """The rules of both: a line goes where either takes it out."""
        longest = [r.max_word_length for r in (self, other) if r.max_word_length is not None]
        phrases = dict(self.phrases)
        for name, more in other.phrases.items():
            phrases[name] = tuple(dict.fromkeys((*phrases.get(name, ()), *more)))
        sources = dict.fromkeys((self.source, other.source))
        return LineRules(
            terminal_punctuation=self.terminal_punctuation or other.terminal_punctuation,
            min_words=max(self.min_words, other.min_words),
            max_word_length=min(longest, default=None),
            citations=self.citations or other.citations,
            phrases=phrases,
            source="; ".join(sources),
        )


@dataclass(slots=True)
class LinesRemoved:
    """The text that is left; for each rule how many lines it changed, and the first of them."""

    text: str
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def note(self, rule: str, line: str) -> None:
        self.counts[rule] += 1
        self.first.setdefault(rule, line[:_SHOWN])


def remove_lines(markdown: str, rules: LineRules) -> LinesRemoved:
    """Apply the rules; pure, and applied again it changes nothing more.

    A text that no rule touches comes back as it is; of another, runs of blank lines become one.
    """
    found = LinesRemoved(markdown)
    runs: list[str] = []
    phrases = _phrases_within(markdown, rules)
    for is_code, run in split_code(markdown):
        if is_code:
            runs.append(run)
            continue
        lines: list[str] = []
        for line in run.split("\n"):
            if not line.strip():
                lines.append(line)
                continue
            kept = line
            if rules.citations and "[" in line and "`" not in line:
                kept = _without_citations(line, found)
            clean = clean_line(kept)
            rule = _why_not(clean, rules, phrases)
            if rule is None:
                lines.append(kept)
            else:
                found.note(rule, clean)
        runs.append("\n".join(lines))
    if found.counts:
        text = _BLANK_LINES.sub("\n\n", "\n".join(runs)).strip("\n")
        found.text = text + "\n" if text.strip() else ""
    return found


def _without_citations(line: str, found: LinesRemoved) -> str:
    kept = _NAMED.sub("", _NUMBERED.sub("", line))
    if kept != line:
        found.note("line-citations", line)
    return kept


Phrases = Mapping[str, Sequence[str]]


def _phrases_within(markdown: str, rules: LineRules) -> Phrases:
    """The phrases that a line of the text may hold: most texts have none of their last words."""
    lower = markdown.lower()
    if rules.citations and "[" in lower:
        return rules.phrases  # taking a citation out may join what stood on both sides
    some = {
        name: [p for p in phrases if p.rpartition(" ")[2] in lower]
        for name, phrases in rules.phrases.items()
    }
    return {name: phrases for name, phrases in some.items() if phrases}


def _why_not(line: str, rules: LineRules, phrases: Phrases) -> str | None:
    """The name of the first rule that takes a cleaned line out."""
    longest = rules.max_word_length
    if longest and len(line) > longest and max(map(len, split_words(line))) > longest:
        return "line-word-length"
    if rules.terminal_punctuation and not is_terminated(line):
        return "line-terminal-punctuation"
    least = rules.min_words
    if least and len(line.split()) < least and not (has_han(line) and count_words(line) >= least):
        return "line-min-words"
    if phrases:
        lower = line.lower()
        for name, some in phrases.items():
            if any(phrase in lower for phrase in some):
                return f"line-{name}"
    return None


def is_terminated(line: str) -> bool:
    """Whether a line ends as a sentence does: in . ! ? or a closing quote, in Chinese or English.

    An ellipsis is a cut-off teaser (so C4); brackets after the mark do not matter.
    """
    bare = line.rstrip(_BRACKETS)
    return bare[-1:] in _TERMINAL and not bare.endswith("...")
