"""Bringing a database to the newest schema, by Alembic."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect

from chatwright.errors import DataError

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Run the migrations that this database has not had. One process at a time does it.

    Raises `DataError` for a database that a newer Chatwright has written.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", MIGRATIONS.as_posix())
    scripts = ScriptDirectory.from_config(config)
    with engine.begin() as connection:  # on SQLite: BEGIN IMMEDIATE, so others wait here
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7261839451)")
        here = MigrationContext.configure(connection).get_current_revision()
        if here == scripts.get_current_head():
            return
        known = {script.revision for script in scripts.walk_revisions()}
        if here is not None and here not in known:
            raise DataError(
                f"this database was written by a newer Chatwright (schema {here})",
                where=engine.url.render_as_string(hide_password=True),
                hint="install that version again, or restore a backup made before it",
            )
        if here is None and (tables := inspect(connection).get_table_names()):
            raise DataError(
                f"this is no database of Chatwright's: it holds {', '.join(sorted(tables)[:5])}",
                where=engine.url.render_as_string(hide_password=True),
                hint="name a database that is empty",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
