"""From an address to a database with the newest schema."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from chatwright.errors import DataError, UsageError
from chatwright.serve.store.sealing import Keyring, read_master_key

T = TypeVar("T")

DATABASE_FILE = "chat.db"
_WAIT_SECONDS = 20.0
_THREADS = 16


class Store:
    """One database, its keys, and transactions on it. Safe to use from many threads."""

    def __init__(self, engine: Engine, keys: Keyring, *, path: Path | None = None) -> None:
        self.engine = engine
        self.keys = keys
        self.path = path
        self.dialect: Literal["sqlite", "postgresql"] = (
            "postgresql" if engine.dialect.name == "postgresql" else "sqlite"
        )
        self._reading = engine.execution_options(chatwright_reading=True)
        # A database in memory has one connection, which one thread at a time may use.
        self._alone = threading.RLock() if isinstance(engine.pool, StaticPool) else None
        self._threads: anyio.CapacityLimiter | None = None

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in a transaction: committed at the end, rolled back where the block raises."""
        with self._session(self.engine) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reading alone: on SQLite it waits for no writer, and may not write."""
        with self._session(self._reading) as session:
            yield session

    @contextmanager
    def _session(self, bind: Engine) -> Iterator[Session]:
        with (
            self._alone or nullcontext(),
            Session(bind, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(session, *arguments)` in a thread, in one transaction."""
        return await self._in_thread(self.begin, function, *arguments)

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """The same for a function that only reads."""
        return await self._in_thread(self.reading, function, *arguments)

    async def _in_thread(
        self,
        opened: Callable[[], AbstractContextManager[Session]],
        function: Callable[..., T],
        *arguments: Any,
    ) -> T:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_THREADS)

        def work() -> T:
            with opened() as session:
                return function(session, *arguments)

        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def open_store(url: str | None, *, folder: Path, master: bytes | None = None) -> Store:
    """The database at `url` (default: `chat.db` in `folder`), brought to the newest schema.

    Raises `UsageError` for an address that cannot be used and `DataError` for a database that is
    damaged, or newer than this program.
    """
    from chatwright.serve.store.migrate import migrate

    path = folder / DATABASE_FILE if url is None else None
    if path is not None:
        folder.mkdir(parents=True, exist_ok=True)
    engine = make_engine(url or f"sqlite:///{path}")
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        path = Path(str(engine.url.database))
        if not path.exists():
            path.touch(0o600)
    key = master if master is not None else read_master_key(folder)
    try:
        migrate(engine)
    except OperationalError as error:
        raise UsageError(
            "the database cannot be reached",
            where=engine.url.render_as_string(hide_password=True),
            hint=str(error.orig).strip().splitlines()[0][:300] if error.orig else None,
        ) from error
    except SQLAlchemyError as error:
        raise DataError(
            f"the database cannot be used ({type(error).__name__})",
            where=engine.url.render_as_string(hide_password=True),
            hint="is it a Chatwright database? restore a backup if it is damaged",
        ) from error
    return Store(engine, Keyring(key), path=path)


def memory_store() -> Store:
    """A store that is gone with the process: for one person without accounts, and for tests."""
    import os

    from chatwright.serve.store.schema import create_all

    engine = make_engine("sqlite://")
    create_all(engine)
    return Store(engine, Keyring(os.urandom(32)))


def make_engine(url: str) -> Engine:
    """An engine for SQLite or PostgreSQL. Raises `UsageError` for any other address."""
    try:
        told = make_url(url)
    except ArgumentError as error:
        raise UsageError(
            "this is no address of a database",
            where="--database",
            hint="like postgresql://user@localhost/chatwright or sqlite:///chat.db",
        ) from error
    if told.get_backend_name() == "postgresql":
        told = told.set(drivername="postgresql+psycopg")
        return create_engine(told, pool_pre_ping=True, pool_size=8, max_overflow=16)
    if told.get_backend_name() != "sqlite":
        raise UsageError(
            f"{told.get_backend_name()} is not supported", where="--database",
            hint="use SQLite or PostgreSQL",
        )  # fmt: skip
    memory = told.database in (None, "", ":memory:")
    options: dict[str, Any] = {"connect_args": {"timeout": _WAIT_SECONDS}}
    if memory:
        options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_engine(told, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        if not memory:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
        cursor.execute("PRAGMA trusted_schema=OFF")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # Writers wait for each other here, not in the middle of a transaction, where one of two
        # that have read would have to fail.
        reading = connection.get_execution_options().get("chatwright_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
