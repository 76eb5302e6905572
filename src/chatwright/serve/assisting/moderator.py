"""Moderation of what people write and of what is answered, with a record that can be appealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread
from sqlalchemy.orm import Session

from chatwright.assist.moderation import Judged, moderate
from chatwright.serve.access import Identity
from chatwright.serve.ids import new_id
from chatwright.serve.store.tables import Moderated

if TYPE_CHECKING:
    from chatwright.serve.service import Service

_THREADS = 2
_KEPT = 20_000  # characters of a text that are kept for whoever decides an appeal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in a text, and whether it may go on. `event_id` names the record."""

    flagged: bool
    blocked: bool
    categories: tuple[str, ...] = ()
    scores: Mapping[str, float] | None = None
    event_id: str | None = None


class Moderator:
    """Looks at texts as the server's settings say: not at all, to flag, or to block."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads: anyio.CapacityLimiter | None = None

    async def judge(self, texts: Sequence[str]) -> list[Judged]:
        """The judgements alone, with nothing recorded."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_THREADS)
        return await anyio.to_thread.run_sync(moderate, list(texts), limiter=self._threads)

    async def check(
        self,
        texts: Sequence[str],
        *,
        direction: Literal["input", "output"],
        identity: Identity,
        conversation_id: str | None = None,
        message_id: str | None = None,
        stored: bool = True,
    ) -> Verdict:
        """Judge texts that belong together. What is flagged is recorded, unless not `stored` (a
        temporary chat leaves nothing behind).
        """
        from chatwright.serve.accounts.settings import server_settings

        settings = await server_settings(self._service)
        how = getattr(settings.moderation, direction)
        if how == "off" or not any(text.strip() for text in texts):
            return Verdict(flagged=False, blocked=False)
        judged = await self.judge(texts)
        worst = {name: max(one.scores[name] for one in judged) for name in judged[0].scores}
        found = Judged(worst)
        if not found.flagged:
            return Verdict(flagged=False, blocked=False, scores=worst)
        blocked = how == "block"
        event_id: str | None = None
        if stored:
            event_id = new_id("mod")
            row = Moderated(
                id=event_id,
                person_id=identity.person_id,
                conversation_id=conversation_id,
                message_id=message_id,
                direction=direction,
                blocked=blocked,
                categories=list(found.categories),
                scores={name: round(score, 4) for name, score in worst.items()},
            )
            await self._service.store.run(self._record, row, "\n\n".join(texts))
        return Verdict(True, blocked, found.categories, worst, event_id)

    def _record(self, session: Session, row: Moderated, text: str) -> None:
        sealer = self._service.store.keys.sealer(session, row.person_id)
        row.sealed_text = sealer.seal(text[:_KEPT], context=f"moderated.text:{row.id}")
        session.add(row)
