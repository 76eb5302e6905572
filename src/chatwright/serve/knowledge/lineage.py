"""A collection as rows that datasets know: what was answered from can become what is trained on."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from chatwright.records import Document
from chatwright.serve.access import Identity
from chatwright.serve.knowledge.contents import (
    collection_source,
    files_by_id,
    open_content,
    passage_uri,
    passages_of,
    visible,
)
from chatwright.serve.store import Keyring


def passage_documents(
    session: Session, keys: Keyring, who: Identity, collection_id: str
) -> Iterator[Document]:
    """The passages of a collection as `curate.chunks` would give them for its files.

    `id` is the passage's content id, `parents` the file's, `source` `collection:<id>`; the `psg_…`
    id by which answers cite it is in `meta`, with title, headings, position and page. Raises
    `ApiError` 404 for a collection that this person may not read.
    """
    row = visible(session, who, collection_id)
    sealer = keys.sealer(session, row.id)
    files = files_by_id(session, sealer, row.id)
    for one in passages_of(session, row.id):
        content = open_content(sealer, one)
        yield Document(
            id=content["content_id"],
            text=content["text"],
            uri=passage_uri(row.id, files[one.file_id][0]),
            source=collection_source(row.id),
            collected_at=row.created_at.replace(microsecond=0),
            parents=list(content["parents"]),
            meta={
                "title": content["title"],
                "headings": content["headings"],
                "position": one.position,
                "page": content["page"],
                "passage": one.id,
            },
        )
