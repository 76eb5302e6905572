"""From an address to a database with the newest schema."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from chatwright.errors import DataError, UsageError
from chatwright.serve.store.sealing import ERASED, Keyring, read_master_key
from chatwright.serve.store.tables import Key

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
        # Writers of this process queue here; SQLite would have each of them look again and again.
        self._turn = threading.RLock() if self.dialect == "sqlite" else None
        self._threads: anyio.CapacityLimiter | None = None

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in a transaction: committed at the end, rolled back where the block raises."""
        with self._turn or nullcontext(), self._session(self.engine) as session:
            yield session
        if session.info.get(ERASED):
            self._cut_journal()

    def _cut_journal(self) -> None:
        """Old pages in SQLite's journal hold what was deleted: write it through, and empty it.

        Where somebody reads just then it stays until the next time, or until the server ends.
        """
        if self.path is None:
            return
        with closing(self.engine.raw_connection()) as connection, suppress(sqlite3.Error):
            connection.execute("PRAGMA busy_timeout=1000")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute(f"PRAGMA busy_timeout={_WAIT_SECONDS * 1000:.0f}")

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

    Raises `UsageError` for an address that cannot be used or a key that is missing, and `DataError`
    for a database that is damaged, newer than this program, or made with another master key.
    """
    from chatwright.serve.store.migrate import migrate

    engine = make_engine(url or f"sqlite:///{folder / DATABASE_FILE}")
    named = engine.url.render_as_string(hide_password=True)
    path = None
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        path = Path(str(engine.url.database))
    try:
        if path is not None and not path.exists():
            if url is None:
                folder.mkdir(parents=True, exist_ok=True)
            path.touch(0o600)
        migrate(engine)
        with Session(engine) as session:
            used = session.scalar(select(Key.owner_id).limit(1)) is not None
        # Another key for a database in use would only hide that the right one is missing.
        keys = Keyring(read_master_key(folder, make=not used) if master is None else master)
        store = Store(engine, keys, path=path)
        with store.reading() as session:
            keys.check(session)
    except OperationalError as error:
        told = str(error.orig).strip().splitlines()[0][:300] if error.orig else "no reason given"
        raise UsageError(
            f"the database cannot be used: {told}",
            where=named,
            hint="does the server run, and is the address right?"
            if path is None
            else "may this user write there, and is there space?",
        ) from error
    except SQLAlchemyError as error:
        raise DataError(
            f"the database cannot be used ({type(error).__name__})",
            where=named,
            hint="is it a Chatwright database? restore a backup if it is damaged",
        ) from error
    except OSError as error:
        raise UsageError(
            f"nothing can be written here: {error.strerror}",
            where=str(error.filename or folder),
            hint="name a folder that this user may write (--workspace), or another --database",
        ) from error
    return store


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
