"""The second factor: time-based one-time passwords (RFC 6238), and codes for a lost telephone."""

from __future__ import annotations

import base64
import hmac
import io
import os
import time
from typing import Any

from sqlalchemy import delete, or_, update
from sqlalchemy.orm import Session

from chatwright.serve.errors import ApiError
from chatwright.serve.ids import new_id, token_hash
from chatwright.serve.store import Keyring
from chatwright.serve.store.tables import Person, RecoveryCode, now

ISSUER = "Chatwright"
STEP_SECONDS = 30
RECOVERY_CODES = 10
_RECOVERY_BYTES = 10  # 80 bits: nobody guesses that, so a fast hash does


def start_totp(keys: Keyring, person: Person) -> dict[str, Any]:
    """A new secret, that holds only when a code of it is confirmed: as text, as an address for
    authenticator apps, and as a QR code (SVG, and its modules row by row: "0110…").

    Raises `ApiError` 409 where the second factor is on.
    """
    import pyotp
    import segno

    if person.totp_enabled:
        raise ApiError(409, "the second factor is on already", code="totp_enabled")
    secret = pyotp.random_base32()
    person.sealed_totp = keys.server_sealer().seal(secret, context=_cell(person.id))
    person.totp_last_step = None
    uri = pyotp.TOTP(secret).provisioning_uri(name=person.email, issuer_name=ISSUER)
    code = segno.make(uri, error="m")
    svg = io.BytesIO()
    code.save(svg, kind="svg", scale=4, border=4, xmldecl=False, svgns=True, nl=False)
    rows = ["".join("1" if dark else "0" for dark in row) for row in code.matrix]
    return {"secret": secret, "uri": uri, "svg": svg.getvalue().decode(), "modules": rows}


def confirm_totp(session: Session, keys: Keyring, person: Person, code: str) -> list[str]:
    """Switch the second factor on; returns the recovery codes, which are told only now.

    Raises `ApiError` 400 for a wrong code and 409 where nothing was begun.
    """
    if person.totp_enabled or person.sealed_totp is None:
        raise ApiError(409, "begin with POST /v1/chatwright/me/totp", code="totp_not_started")
    if not check_totp(session, keys, person, code):
        raise ApiError(400, "the code is not right", param="code", code="invalid_code")
    person.totp_enabled = True
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))
    made = []
    for _ in range(RECOVERY_CODES):
        text = base64.b32encode(os.urandom(_RECOVERY_BYTES)).decode().lower()
        made.append("-".join(text[n : n + 4] for n in range(0, len(text), 4)))
        session.add(
            RecoveryCode(id=new_id("rec"), person_id=person.id, code_hash=_recovery_hash(text))
        )
    return made


def remove_totp(session: Session, person: Person) -> None:
    """Switch the second factor off, and forget its secret and codes."""
    person.sealed_totp = None
    person.totp_enabled = False
    person.totp_last_step = None
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))


def check_totp(session: Session, keys: Keyring, person: Person, code: str) -> bool:
    """Whether this is the code of now (or of the step before or after); each counts once."""
    import pyotp

    if person.sealed_totp is None:
        return False
    secret = keys.server_sealer().open_text(person.sealed_totp, context=_cell(person.id))
    said = "".join(code.split()).encode("utf-8", "surrogatepass")
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    here = int(time.time()) // STEP_SECONDS
    right = [
        step
        for step in (here - 1, here, here + 1)
        if hmac.compare_digest(totp.generate_otp(step).encode(), said)
    ]
    if not right:
        return False
    # In the database, not on the object: of two requests with one code only one may pass.
    counted = session.execute(
        update(Person)
        .where(
            Person.id == person.id,
            or_(Person.totp_last_step.is_(None), Person.totp_last_step < right[-1]),
        )
        .values(totp_last_step=right[-1])
        .execution_options(synchronize_session="fetch")
    )
    return bool(getattr(counted, "rowcount", 0))


def use_recovery_code(session: Session, person: Person, code: str) -> bool:
    """Whether this is a recovery code that was not used yet; now it is."""
    used = session.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.person_id == person.id,
            RecoveryCode.code_hash == _recovery_hash(code),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now())
    )
    return bool(getattr(used, "rowcount", 0))


def _recovery_hash(code: str) -> str:
    return token_hash("".join(c for c in code.lower() if c.isalnum()))


def _cell(person_id: str) -> str:
    return f"people.sealed_totp:{person_id}"
