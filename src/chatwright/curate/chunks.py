"""Pages cut into chunks by heading.

The knowledge base and the fine-tune data use the same functions, so that a model is trained on
what it will be shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from chatwright.curate.sections import (
    FENCE,
    Block,
    Section,
    join_parts,
    list_items,
    parse_blocks,
    sections,
    split_sentences,
)
from chatwright.curate.words import count_words
from chatwright.records import Document, content_id

_DEEPEST_LIST = 8  # lists in lists that are cut item by item
_MOST_LETTERS_PER_WORD = 40
_DEFINED = re.compile(r"^\w+\.\w+(?:\(\))?$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a page: its text, the headings above it, and where on the page it stands."""

    text: str
    headings: tuple[str, ...]
    anchor: str | None
    position: int


def chunk_title(page_title: str, headings: Sequence[str]) -> str:
    """What a passage is called: the page, then the headings down to it (`Page › Part › Entry`)."""
    path = [h for h in headings if h]
    title = page_title.strip()
    if path and (not title or path[0].casefold() == title.casefold()):
        title, path = path[0], path[1:]
    # A definition's name holds its class's (`Session.get()`), so the class need not be said.
    said = path[-1:] if path and _DEFINED.search(path[-1]) else path[-2:]
    return " › ".join(dict.fromkeys([p for p in (title, *said) if p]))


def index_headings(chunk: Document) -> list[str]:
    """A chunk's headings as a search index weighs them: the page's first, the nearest last."""
    headings = [str(h) for h in chunk.meta.get("headings") or []]
    title = str(chunk.meta.get("title") or "").split(" › ")[0]
    return headings if headings and headings[0] == title else [title, *headings]


def chunk_documents(
    page: Document, *, words: int = 180, small: int = 25, overlap: int = 0
) -> list[Document]:
    """A page's chunks as rows: `parents` names the page, `uri` its anchor.

    `meta`: `title` (page › section path), `headings` (the whole path), `position` on the page.
    """
    title = str(page.meta.get("title") or "")
    anchors = page.meta.get("anchors") or []
    out: list[Document] = []
    seen: Counter[str] = Counter()
    chunks = chunk_markdown(page.text, words=words, small=small, overlap=overlap, anchors=anchors)
    for chunk in chunks:
        key = "\n".join([page.id, *chunk.headings, "", chunk.text])
        seen[key] += 1
        if seen[key] > 1:  # the same words twice under one heading
            key += f"\n{seen[key]}"
        base = page.uri.split("#", 1)[0]
        out.append(
            Document(
                id=content_id(page.source, key),
                text=chunk.text,
                uri=f"{base}#{chunk.anchor}" if chunk.anchor else page.uri,
                source=page.source,
                license=page.license,
                language=page.language,
                collected_at=page.collected_at,
                parents=[page.id],
                meta={
                    "title": chunk_title(title, chunk.headings),
                    "headings": list(chunk.headings),
                    "position": chunk.position,
                },
            )
        )
    return out


def cut_block(block: Block, words: int, depth: int = 0) -> list[str]:
    """A block as pieces of at most `words` words where it can be cut well; code and tables stay
    whole unless they alone are longer, then they are cut between lines and stay code and table.
    """
    if _size(block.text) <= words:
        return [block.text]
    if block.kind == "list" and depth < _DEEPEST_LIST:
        return [piece for item in list_items(block) for piece in _cut_item(item, words, depth)]
    lines = block.text.splitlines()
    head: list[str] = []
    foot: list[str] = []
    if block.kind == "table" and len(lines) > 2 and count_words(" ".join(lines[:2])) <= words // 2:
        head, lines = lines[:2], lines[2:]
    elif block.kind == "code" and (fence := FENCE.match(lines[0])) and len(lines) > 2:
        closed = not lines[-1].strip().strip(fence.group(1)[0])
        head, foot, lines = lines[:1], [fence.group(1)], lines[1:-1] if closed else lines[1:]
    elif block.kind == "paragraph":
        parts = cut_endless(split_sentences(block.text), words)
        return [join_parts(group) for group in gather(parts, words)]
    room = words - count_words(" ".join(head))
    return ["\n".join([*head, *g, *foot]) for g in gather(cut_endless(lines, words), room)]


def _size(text: str) -> int:
    """Length in words; in letters where it has no words to speak of (base64, minified code)."""
    return max(count_words(text), len(text) // _MOST_LETTERS_PER_WORD)


def _cut_item(item: str, words: int, depth: int) -> list[str]:
    if _size(item) <= words:
        return [item]
    mark = re.match(r"\s*(?:[-*+]|\d+[.)])?\s*", item)
    start = mark.group() if mark else ""
    inner = parse_blocks(re.sub(f"(?m)^ {{1,{max(len(start), 1)}}}", "", item[len(start) :]))
    parts = [p for b in inner for p in cut_block(b, words, depth + 1)]
    return [start + parts[0], *parts[1:]] if parts else [item]


def cut_endless(sentences: Iterable[str], words: int) -> Iterator[str]:
    """A "sentence" without end (a minified file, base64) is cut by characters as a last resort."""
    for sentence in sentences:
        if _size(sentence) <= 2 * words:
            yield sentence
            continue
        at = 0
        size = max(1, min(6 * words, len(sentence) * words // max(count_words(sentence), 1)))
        while at < len(sentence):
            yield sentence[at : at + size]
            at += size


def gather(
    parts: Iterable[str], words: int, size: Callable[[str], int] | None = None
) -> list[list[str]]:
    """Neighbouring parts put together while they fit in `words`."""
    groups: list[list[str]] = []
    filled = 0
    for part in parts:
        length = (size or _size)(part)
        if not groups or filled + length > words:
            groups.append([])
            filled = 0
        groups[-1].append(part)
        filled += length
    return groups


def chunk_markdown(
    markdown: str,
    *,
    words: int = 180,
    small: int = 25,
    overlap: int = 0,
    anchors: Sequence[Sequence[str | None]] = (),
) -> list[Chunk]:
    """Cut a page into chunks of about `words` words, never across a heading.

    A section shorter than `small` words joins the section before it under the same parent (its
    heading stays in the text), so that a page of one-line entries does not fall to dust; but a
    definition stands alone, its whole signature first. A long
    section is cut between blocks; only a block that alone exceeds `words` is cut inside (a list
    between items, code and tables between lines, a paragraph between sentences). `overlap` repeats
    up to so many words of the last paragraph's sentences at the start of the next chunk of the
    same section.
    """
    out: list[Chunk] = []
    last: Section | None = None
    for section in sections(markdown, anchors):
        parts = [p for b in section.blocks for p in cut_block(b, words)]
        if not parts:
            continue
        groups = ["\n\n".join(g) for g in _keep_leads(gather(parts, words), words)]
        if len(groups) > 1 and _size(groups[-1]) < small and overlap == 0:
            groups[-2:] = ["\n\n".join(groups[-2:])]
        if last is not None and len(groups) == 1 and _joins(section, last, small):
            size = count_words(out[-1].text) + count_words(groups[0])
            if size <= words:
                marks = "#" * section.level
                text = f"{out[-1].text}\n\n{marks} {section.heading}\n\n{groups[0]}"
                out[-1] = replace(out[-1], text=text)
                continue
        for index, group in enumerate(groups):
            text = group
            if index and overlap:
                text = f"{_tail(groups[index - 1], overlap)}\n\n{group}".strip()
            elif index == 0 and section.signature:
                text = f"`{section.signature}`\n\n{group}"
            out.append(Chunk(text, section.headings, section.anchor, len(out)))
        last = section
    return out


def _keep_leads(groups: list[list[str]], words: int) -> list[list[str]]:
    """Move a short line that ends with a colon to what it announces."""
    for before, after in pairwise(groups):
        lead = before[-1]
        if lead.rstrip().endswith((":", "：")) and count_words(lead) <= words // 3:
            after.insert(0, before.pop())
    return [group for group in groups if group]


def _joins(section: Section, last: Section, small: int) -> bool:
    """Whether a section is too small to stand alone and belongs to the one before it.

    A definition always stands alone: it is what people ask for and what an answer should cite.
    """
    near = section.headings[:-1] in (last.headings[:-1], last.headings)
    return near and not section.signature and count_words(section.text) < small


def _tail(text: str, words: int) -> str:
    """The last sentences of a chunk's last paragraph, at most `words` words; "" where none fit."""
    blocks = parse_blocks(text)
    if not blocks or blocks[-1].kind != "paragraph":
        return ""
    kept: list[str] = []
    for sentence in reversed(split_sentences(blocks[-1].text)):
        if sum(map(count_words, kept)) + count_words(sentence) > words:
            break
        kept.insert(0, sentence)
    return join_parts(kept)
