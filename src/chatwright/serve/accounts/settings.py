"""What administrators set on the page: kept in the database, with the command's options below."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from chatwright.serve.bodies import Body
from chatwright.serve.service import ServeOptions, Service
from chatwright.serve.store.tables import ServerValue

_NAME = "settings"
_FRESH_SECONDS = 2.0

SignUp = Literal["closed", "open", "invitation"]
Moderating = Literal["off", "flag", "block"]
RetentionKind = Literal[
    "conversations", "files", "feedback", "moderation", "usage", "jobs", "audit"
]
_Days = Annotated[int, Field(ge=1, le=36_500)] | None


class Moderation(BaseModel):
    """What happens to a text that moderation finds something in."""

    model_config = ConfigDict(frozen=True)
    input: Moderating = "flag"
    output: Moderating = "flag"


class ServerSettings(BaseModel):
    """The settings as they hold now.

    `retention` says after how many days each kind of data goes; what is None, or not named, is
    kept. `daily_tokens` bounds people who have no bound of their own.
    """

    model_config = ConfigDict(frozen=True)
    sign_up: SignUp = "closed"
    retention: dict[RetentionKind, _Days] = {}
    moderation: Moderation = Moderation()
    default_model: str | None = None
    daily_tokens: int | None = None


class _ModerationChange(Body):
    input: Moderating | None = None
    output: Moderating | None = None


class SettingsChange(Body):
    """Some settings; what is left out stays as it is."""

    sign_up: SignUp | None = None
    retention: dict[RetentionKind, _Days] | None = Field(default=None, max_length=20)
    moderation: _ModerationChange | None = None
    default_model: str | None = Field(default=None, max_length=300)
    daily_tokens: int | None = Field(default=None, ge=0, le=10**12)


class SettingsCache:
    """The settings in memory for two seconds, so that a request need not ask the database."""

    def __init__(self) -> None:
        self._kept: ServerSettings | None = None
        self._until = 0.0

    async def get(self, service: Service) -> ServerSettings:
        if self._kept is None or time.monotonic() >= self._until:
            self._kept = await service.store.read(read_settings, service.options)
            self._until = time.monotonic() + _FRESH_SECONDS
        return self._kept

    def forget(self) -> None:
        """What was set holds at once in this process, and within two seconds in others."""
        self._kept = None


async def server_settings(service: Service) -> ServerSettings:
    """What administrators have set."""
    if service.accounts is None:
        return await service.store.read(read_settings, service.options)
    found: ServerSettings = await service.accounts.settings.get(service)
    return found


def read_settings(session: Session, options: ServeOptions) -> ServerSettings:
    """The settings in the database over those of the command."""
    return _settings(_stored(session), options)


def change_settings(
    session: Session, change: SettingsChange, options: ServeOptions
) -> ServerSettings:
    """Keep what `change` names."""
    stored = dict(_stored(session))
    for name in change.model_fields_set:
        value = getattr(change, name)
        if name == "retention":
            stored[name] = {**stored.get(name, {}), **(value or {})}
        elif name == "moderation":
            told = value.model_dump(exclude_none=True) if value is not None else {}
            stored[name] = {**stored.get(name, {}), **told}
        elif name == "sign_up" and value is None:
            stored.pop(name, None)
        else:
            stored[name] = value
    session.merge(ServerValue(name=_NAME, value=stored))
    return _settings(stored, options)


def _stored(session: Session) -> dict[str, Any]:
    return session.scalar(select(ServerValue.value).where(ServerValue.name == _NAME)) or {}


def _settings(stored: dict[str, Any], options: ServeOptions) -> ServerSettings:
    # A setting that a newer version has kept is none of ours.
    known = {name: value for name, value in stored.items() if name in ServerSettings.model_fields}
    return ServerSettings.model_validate({"sign_up": options.sign_up, **known})
