"""Privacy as a step of a curation: texts without personal data, and a line for what was there."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from chatwright.curate.candidate import Candidate
from chatwright.curate.privacy.kinds import NAME_TYPES, PII_TYPES, Redacted
from chatwright.curate.privacy.recognisers import installed_recognisers
from chatwright.curate.privacy.redactor import Redactor
from chatwright.curate.privacy.settings import PrivacySettings
from chatwright.errors import UsageError

_LEAST_KEY = 16  # bytes: a guessable key would let anybody test whose number a pseudonym is


@dataclass(frozen=True, slots=True)
class PrivacyStep:
    """Edits each row's text and title; `meta["pii"]` counts findings by type, the ledger too.

    Neither holds a value that was found. A row with a type whose mode is `drop`, or with more
    findings than `most`, is dropped.
    """

    redactor: Redactor
    most: int | None = None

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            if not candidate.dropped:
                self._clean(candidate)

    def _clean(self, candidate: Candidate) -> None:
        language = candidate.language.code or candidate.document.language
        try:
            text = self.redactor.redact(candidate.text, language)
            named = candidate.title or candidate.document.meta.get("title")
            title = self.redactor.redact(named, language) if isinstance(named, str) else None
            # Headings are found again by their lines: they must go on saying what the text says.
            anchors = [
                (self.redactor.redact(line, language).text, anchor)
                for line, anchor in (candidate.anchors if text.spans else ())
            ]
        except Exception as error:
            # A row that cannot be searched cannot be called clean.
            candidate.drop("error", detail=f"privacy: {type(error).__name__}")
            return
        counts = Counter(text.counts)
        total = sum(counts.values())
        if self.most is not None and total > self.most:
            candidate.drop("pii-list", total, f"max {self.most}", detail=_spelled(text))
            return
        if text.dropped or (title is not None and title.dropped):
            counts.update({} if title is None else title.counts)
            worst = next(n for n in PII_TYPES if counts[n] and self._mode(n) == "drop")
            detail = _spelled(text) or "in its title"
            candidate.drop(_rule(worst), counts[worst], "max 0", detail=detail)
            return
        if title is not None and title.spans:
            candidate.title = title.text
            counts.update(title.counts)
        if not counts:
            return
        candidate.text = text.text
        candidate.anchors = anchors or candidate.anchors
        candidate.meta["pii"] = {name: counts[name] for name in PII_TYPES if counts[name]}
        for name, count in candidate.meta["pii"].items():
            candidate.edit(_rule(name), count, detail=_DONE[self._mode(name)])

    def _mode(self, name: str) -> str:
        return dict(self.redactor.modes).get(name, self.redactor.mode)  # type: ignore[call-overload, no-any-return]


_DONE = {"tag": "replaced by its type", "mask": "masked", "pseudonym": "replaced by a pseudonym"}


def _rule(name: str) -> str:
    return f"pii-{name.replace('_', '-')}"


def _spelled(redacted: Redacted) -> str | None:
    return ", ".join(f"{n} {name}" for name, n in redacted.counts.items()) or None


def make_step(settings: PrivacySettings | None) -> PrivacyStep | None:
    """The step that the settings describe; None where nothing is looked for.

    Reads the key. Raises `UsageError` where it is missing or short, or where names are wanted and
    no recogniser of English ones is installed.
    """
    if settings is None or not settings.wanted:
        return None
    needed = not settings.wanted.isdisjoint(NAME_TYPES)
    redactor = Redactor(
        settings.mode,
        settings.wanted,
        dict(settings.modes),
        dict(settings.least),
        installed_recognisers() if needed else (),
        _key(settings),
    )
    return PrivacyStep(redactor, settings.most)


def key_check(settings: PrivacySettings | None) -> str | None:
    """What a stage's fingerprint may hold of the key: eight bytes that change when the key does.

    They say no more of the key than any pseudonym does. None where there is no key.
    """
    key = _key(settings) if settings is not None else None
    return (
        None
        if key is None
        else hmac.new(key, b"chatwright key check", hashlib.sha256).hexdigest()[:16]
    )


def _key(settings: PrivacySettings) -> bytes | None:
    if "pseudonym" not in (settings.mode, *settings.modes.values()):
        return None
    if settings.key_env is not None:
        where = f"privacy.key_env: {settings.key_env}"
        key = os.environ.get(settings.key_env, "").encode()
        if not key:
            hint = f"export {settings.key_env}=$(openssl rand -hex 32), and keep it"
            raise UsageError(
                "the environment variable with the key is not set", where=where, hint=hint
            )
    else:
        where = f"privacy.key_file: {settings.key_file}"
        try:
            key = Path(str(settings.key_file)).expanduser().read_bytes()[:4096].strip()
        except OSError as error:
            hint = "openssl rand -hex 32 > FILE makes one; keep it out of the repository"
            raise UsageError(
                f"the key cannot be read: {error.strerror}", where=where, hint=hint
            ) from error
    if len(key) < _LEAST_KEY:
        raise UsageError(
            f"the key has {len(key)} bytes, and must have {_LEAST_KEY} or more",
            where=where,
            hint="a short key can be guessed: openssl rand -hex 32",
        )
    return key
