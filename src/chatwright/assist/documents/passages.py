"""A document cut into passages that know their page."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from chatwright.assist.documents.result import Parsed
from chatwright.curate.chunks import chunk_documents
from chatwright.records import Document, content_id

_PROBE = 60  # letters by which a passage is found again in its document


@dataclass(frozen=True, slots=True)
class Cut:
    """A passage of a document.

    `id` is the chunk's content id and `parent` the document's, as `curate.chunks` gives them: the
    same file gives the same. `title` is "document › heading"; `page` and `last_page` are numbers
    from 1, None where the format has no pages.
    """

    id: str
    parent: str
    title: str
    headings: tuple[str, ...]
    text: str
    position: int
    page: int | None = None
    last_page: int | None = None


def cut_passages(
    parsed: Parsed, name: str, *, source: str, original: bytes, words: int = 180
) -> list[Cut]:
    """The passages of a document, in order; `source` and the `original` bytes make its id."""
    document = Document(
        id=content_id(source, original),
        text=parsed.text,
        uri=f"{source}/{name}",
        source=source,
        meta={"title": parsed.title or name},
    )
    pages = _Pages(parsed)
    out: list[Cut] = []
    for chunk in chunk_documents(document, words=words):
        first, last = pages.of(chunk.text)
        out.append(
            Cut(
                chunk.id,
                document.id,
                str(chunk.meta["title"]),
                tuple(chunk.meta["headings"]),
                chunk.text,
                int(chunk.meta["position"]),
                first,
                last,
            )
        )
    return out


class _Pages:
    """Finds passages in the text they were cut from, by their letters alone and in order.

    Cutting adds and moves what is no letter (fences, blank lines, marks of a heading).
    """

    def __init__(self, parsed: Parsed) -> None:
        self._starts: list[int] = []
        self._numbers = [number for _, number in parsed.pages]
        parts: list[str] = []
        size = at = 0
        for start, _ in parsed.pages:
            parts.append(_letters(parsed.text[at:start]))
            size += len(parts[-1])
            at = start
            self._starts.append(size)
        self._letters = "".join([*parts, _letters(parsed.text[at:])]) if parsed.pages else ""
        self._at = 0

    def of(self, text: str) -> tuple[int | None, int | None]:
        """The pages on which a passage begins and ends."""
        wanted = _letters(text)
        if not self._starts or not wanted:
            return None, None
        begin = self._letters.find(wanted[:_PROBE], self._at)
        if begin < 0:  # a signature or a table's head repeated: its middle stands where it should
            middle = wanted[len(wanted) // 2 :][:_PROBE]
            begin = self._letters.find(middle, self._at)
        if begin < 0:
            begin = self._at
        tail = wanted[-_PROBE:]
        end = self._letters.find(tail, begin)
        end = end + len(tail) if 0 <= end <= begin + 2 * len(wanted) else begin + len(wanted)
        self._at = max(self._at, end - len(tail))
        return self._page(begin), self._page(max(begin, end - 1))

    def _page(self, position: int) -> int:
        index = bisect_right(self._starts, position) - 1
        return self._numbers[max(index, 0)]


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())
