"""`chatwright people …`: the accounts of the service, for whoever has its database in hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from chatwright.cli.options import DatabaseOption, JsonOption, WorkspaceOption
from chatwright.errors import ChatwrightError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from chatwright.serve.store import Store
    from chatwright.serve.store.tables import Person

people = typer.Typer(
    name="people",
    help="The accounts of the chat service: list, invite, let somebody in again.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EmailArgument = Annotated[str, typer.Argument(help="The e-mail address of the account.")]
RoleType = Literal["user", "annotator", "admin"]


@people.command("list")
def list_people(
    query: Annotated[str, typer.Argument(help="Only those whose name or address holds this.")] = "",
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:
    """Show the accounts.

    Example: `chatwright people list`
    """
    from chatwright.cli.console import console, print_json, print_table
    from chatwright.serve.accounts.people import admin_view, find_people

    with opened_store(database, workspace) as store, store.reading() as session:
        found = [admin_view(person) for person in find_people(session, query, 10_000, 0)]
    if json:
        print_json(found)
        return
    print_table(
        ["address", "name", "role", "status", "last seen"],
        [
            (one["email"], one["name"], one["role"], one["status"], _day(one["last_seen_at"]))
            for one in found
        ],
    )
    if not found:
        console().print("There are no accounts yet: chatwright serve prints a link to the first.")


@people.command()
def invite(
    role: Annotated[RoleType, typer.Option(help="What they will be.")] = "user",
    email: Annotated[
        str | None, typer.Option(help="Only for this address.", show_default=False)
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the link holds.")] = 7,
    url: Annotated[
        str, typer.Option(help="Where people reach the page.")
    ] = "http://127.0.0.1:8000",
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Print a link with which one person makes an account.

    Example: `chatwright people invite --role annotator --url https://chat.example.org`
    """
    from chatwright.cli.console import console
    from chatwright.serve.access import Role
    from chatwright.serve.accounts.people import clean_email
    from chatwright.serve.accounts.setup import create_invitation

    with _changing(database, workspace) as (store, session):
        made, secret = create_invitation(
            session,
            by=None,
            role=Role(role),
            email=clean_email(email) if email else None,
            days=days,
        )
        _record(store, session, "invitation_created", made.id, role=role)
    console().print(f"{url.rstrip('/')}/invite#{secret}", markup=False)
    console().print(
        f"It holds for {days} days and for one person; sign-up must not be closed.", markup=False
    )


@people.command()
def reset_password(
    email: EmailArgument,
    remove_second_factor: Annotated[
        bool, typer.Option("--remove-second-factor", help="Also switch the second factor off.")
    ] = False,
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Give an account a new password, and end its sessions. Print the password.

    Example: `chatwright people reset-password ada@example.org`
    """
    from chatwright.cli.console import console
    from chatwright.serve.accounts.passwords import Passwords
    from chatwright.serve.accounts.sessions import revoke_sessions
    from chatwright.serve.accounts.totp import remove_totp

    password = "-".join(secrets.token_hex(3) for _ in range(4))
    hashed = Passwords().hash_now(password)
    with _changing(database, workspace) as (store, session):
        person = _found(session, email)
        person.password_hash = hashed
        revoke_sessions(session, person.id)
        _record(store, session, "password_changed", person.id)
        if remove_second_factor:
            remove_totp(session, person)
            _record(store, session, "totp_disabled", person.id)
        address = person.email
    console().print(f"Password  {password}")
    console().print(f"{address} signs in with it, and should change it.", markup=False)


@people.command("role")
def change_role(
    email: EmailArgument,
    role: Annotated[RoleType, typer.Argument(help="user, annotator or admin.")],
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Change what an account may do.

    Example: `chatwright people role ada@example.org admin`
    """
    _change(database, workspace, email, role=role)


@people.command()
def disable(
    email: EmailArgument, database: DatabaseOption = None, workspace: WorkspaceOption = None
) -> None:
    """Keep somebody out; nothing is deleted.

    Example: `chatwright people disable ada@example.org`
    """
    _change(database, workspace, email, status="disabled")


@people.command()
def enable(
    email: EmailArgument, database: DatabaseOption = None, workspace: WorkspaceOption = None
) -> None:
    """Let somebody in again.

    Example: `chatwright people enable ada@example.org`
    """
    _change(database, workspace, email, status="active")


@contextmanager
def opened_store(database: str | None, workspace: Path | None) -> Iterator[Store]:
    """The database of the service. Raises `UsageError` where there is none."""
    from chatwright.serve.store import open_store
    from chatwright.serve.store.engine import DATABASE_FILE
    from chatwright.workspace import Workspace

    folder = Workspace(workspace).root
    if database is None and not (folder / DATABASE_FILE).exists():
        raise UsageError(
            "there is no database of a chat service here", where=str(folder / DATABASE_FILE),
            hint="name its workspace (-w) or its address (--database)",
        )  # fmt: skip
    store = open_store(database, folder=folder)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _changing(database: str | None, workspace: Path | None) -> Iterator[tuple[Store, Session]]:
    """A transaction; what the service would answer is told as the command's error."""
    from chatwright.serve.errors import ApiError

    with opened_store(database, workspace) as store:
        try:
            with store.begin() as session:
                yield store, session
        except ApiError as error:
            raise ChatwrightError(error.message) from error


def _change(database: str | None, workspace: Path | None, email: str, **changes: Any) -> None:
    from chatwright.cli.console import console
    from chatwright.serve.accounts.admin_routes import PersonChange, change_account

    with _changing(database, workspace) as (store, session):
        person = _found(session, email)
        change_account(session, person, PersonChange(**changes))
        _record(store, session, "person_changed", person.id, **changes)
        told = f"{person.email}: {person.role}, {person.status}"
    console().print(told, markup=False)


def _found(session: Session, email: str) -> Person:
    from sqlalchemy import select

    from chatwright.serve.access import LOCAL_PERSON
    from chatwright.serve.store.tables import Person

    wanted = select(Person).where(Person.email == email.strip().lower(), Person.id != LOCAL_PERSON)
    person = session.scalar(wanted)
    if person is None:
        raise UsageError(
            "there is no account with this address", where=email[:254],
            hint="chatwright people list shows them",
        )  # fmt: skip
    return person


def _record(store: Store, session: Session, action: str, target: str, **details: Any) -> None:
    from chatwright.serve.audit import Audit

    Audit(store).record(session, None, action, target=target, details={"by": "command", **details})


def _day(moment: str | None) -> str:
    return (moment or "")[:10]
