"""Sharing by link: a copy of one branch as it was then, that anybody with the link can read."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chatwright.errors import DataError
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.history.store import Turn, own_chat, read_path, title_of
from chatwright.serve.ids import new_id, token, token_hash
from chatwright.serve.parameters import iso
from chatwright.serve.store.sealing import Keyring, Sealer
from chatwright.serve.store.tables import Key, Person, Share, now

SHARES = 1000  # of one person
_TOKEN_CHARACTERS = 100


def make_share(
    session: Session, sealer: Sealer, person_id: str, conversation_id: str, leaf: str | None
) -> tuple[str, str]:
    """(id, token) of a new link to the branch that ends at `leaf` (None: the one looked at).

    Only the token's hash is kept: the link is shown once. Raises `ApiError` 404, and 400 for an
    empty conversation or one too many.
    """
    chat = own_chat(session, person_id, conversation_id)
    end = leaf or chat.current_leaf
    if end is None:
        raise ApiError(400, "there is nothing to share yet", code="invalid_value")
    count = session.scalar(
        select(func.count()).where(Share.person_id == person_id, Share.revoked_at.is_(None))
    )
    if (count or 0) >= SHARES:
        raise ApiError(400, f"there are {SHARES} links already: revoke some", code="too_many")
    turns = read_path(session, sealer, chat.id, end)
    copy = {
        "title": title_of(sealer, chat) or "",
        "created_at": iso(chat.created_at),
        "messages": [public_turn(turn) for turn in turns if turn.role in ("user", "assistant")],
    }
    share_id, secret = new_id("shr"), token()
    session.add(
        Share(
            id=share_id,
            token_hash=token_hash(secret),
            person_id=person_id,
            conversation_id=chat.id,
            sealed_copy=sealer.seal(json.dumps(copy, ensure_ascii=False), context=_cell(share_id)),
        )
    )
    session.flush()
    return share_id, secret


def public_turn(turn: Turn) -> dict[str, Any]:
    """What others may see of a turn: what was said, by which model, and the public pages it cites.

    Left out are feedback, notes, moderation, tools, attachments, usage and settings; a citation of
    somebody's own document too, for its text is nobody else's.
    """
    return {
        "id": turn.id,
        "role": turn.role,
        "text": turn.text,
        "model": turn.model,
        "status": turn.status,
        "citations": [
            {name: one.get(name) for name in ("number", "title", "uri")}
            for one in turn.content.citations
            if str(one.get("uri") or "").startswith(("https://", "http://"))
            and not one.get("collection_id")
        ],
        "created_at": iso(turn.created_at),
    }


def list_shares(session: Session, sealer: Sealer, person_id: str) -> list[dict[str, Any]]:
    """A person's links that still lead somewhere, the newest first."""
    rows = session.scalars(
        select(Share)
        .where(Share.person_id == person_id, Share.revoked_at.is_(None))
        .order_by(Share.created_at.desc(), Share.id)
    )
    return [
        {
            "id": row.id,
            "conversation_id": row.conversation_id,
            "title": json.loads(sealer.open(row.sealed_copy, context=_cell(row.id)))["title"],
            "created_at": iso(row.created_at),
        }
        for row in rows
    ]


def revoke_share(session: Session, person_id: str, share_id: str) -> None:
    """End a link; its copy is deleted. Raises `ApiError` 404."""
    row = session.scalars(
        select(Share).where(
            Share.id == share_id, Share.person_id == person_id, Share.revoked_at.is_(None)
        )
    ).first()
    if row is None:
        raise not_found("share")
    row.revoked_at = now()
    row.sealed_copy = b""


def read_share(session: Session, keys: Keyring, secret: str) -> dict[str, Any]:
    """What a link shows: `{title, created_at, shared_at, messages}`.

    Raises `ApiError` 404, the same for a link that never was, that was revoked, and for one of
    somebody who is gone or may not sign in.
    """
    gone = not_found("share")
    if len(secret) > _TOKEN_CHARACTERS:
        raise gone
    row = session.scalars(
        select(Share)
        .join(Person, Person.id == Share.person_id)
        .where(
            Share.token_hash == token_hash(secret),
            Share.revoked_at.is_(None),
            Person.status == "active",
        )
    ).first()
    if row is None or session.get(Key, row.person_id) is None:
        raise gone
    try:
        copy = json.loads(
            keys.sealer(session, row.person_id).open(row.sealed_copy, context=_cell(row.id))
        )
    except DataError as error:
        raise gone from error
    return {**copy, "shared_at": iso(row.created_at)}


def _cell(share_id: str) -> str:
    return f"shares.copy:{share_id}"
