"""What the tables alone do not say: the search index, and the guard of the audit log."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from chatwright.serve.store.tables import Table

# Blind terms of a text (`sealing.Sealer.term`), separated by spaces; the row's number is that of
# `message_terms`. Terms are ASCII, so that the tokenizer has nothing to decide. The trigger also
# runs where a row goes because its message, conversation or person does; it may not touch a virtual
# table itself (`trusted_schema`), so it notes what is to go (`history.index.sweep`).
SEARCH_SQLITE = (
    "CREATE VIRTUAL TABLE message_search USING fts5("
    "terms, tokenize='ascii', detail='none', columnsize=0)",
    "CREATE TABLE search_gone (number INTEGER PRIMARY KEY)",
    "CREATE TRIGGER message_terms_gone AFTER DELETE ON message_terms BEGIN "
    "INSERT OR IGNORE INTO search_gone VALUES (old.number); END",
)
SEARCH_POSTGRESQL = (
    "ALTER TABLE message_terms ADD COLUMN terms text[] NOT NULL DEFAULT '{}'",
    "CREATE INDEX ix_message_terms_terms ON message_terms USING gin (terms)",
)


def add_search(connection: Connection) -> None:
    """Make the search index of this kind of database."""
    if connection.dialect.name == "postgresql":
        for statement in SEARCH_POSTGRESQL:
            connection.exec_driver_sql(statement)
    else:
        for statement in SEARCH_SQLITE:
            connection.exec_driver_sql(statement)


# The audit log is only ever added to. Its oldest lines may go once a checkpoint stands for them
# (`audit.Audit.retain`). Who can drop a trigger gets past this; the chain of hashes tells of it.
AUDIT_GUARD_SQLITE = (
    "CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log cannot be changed'); END",
    "CREATE TRIGGER audit_kept BEFORE DELETE ON audit "
    # Not json_extract: a schema that is not trusted may not call it.
    "WHEN OLD.sequence > COALESCE((SELECT CAST(substr(value, instr(value, '\"sequence\": ') + 12) "
    "AS INTEGER) FROM server_values WHERE name = 'audit_checkpoint'), 0) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log cannot be changed'); END",
)
AUDIT_GUARD_POSTGRESQL = (
    """CREATE FUNCTION audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'DELETE' AND OLD.sequence <= COALESCE((SELECT (value ->> 'sequence')::bigint
          FROM server_values WHERE name = 'audit_checkpoint'), 0) THEN
        RETURN OLD;
      END IF;
      RAISE EXCEPTION 'the audit log cannot be changed';
    END $$""",
    "CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION audit_guard()",
    "CREATE TRIGGER audit_whole BEFORE TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_guard()",
)


def add_audit_guard(connection: Connection) -> None:
    """Make the triggers that refuse a change of the audit log."""
    postgresql = connection.dialect.name == "postgresql"
    for statement in AUDIT_GUARD_POSTGRESQL if postgresql else AUDIT_GUARD_SQLITE:
        connection.exec_driver_sql(statement)


def create_all(engine: Engine) -> None:
    """The newest schema at once, for a database that is empty and will not be kept."""
    with engine.begin() as connection:
        Table.metadata.create_all(connection)
        add_search(connection)
        add_audit_guard(connection)
