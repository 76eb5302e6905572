"""The step of a curation that tells each row's language and drops what is not wanted."""

from __future__ import annotations

from dataclasses import dataclass

from chatwright.curate.candidate import Candidate
from chatwright.curate.lang.lines import line_languages, may_be_mixed, shares, without
from chatwright.curate.lang.scripts import ONE_LANGUAGE, main_script, script_letters
from chatwright.curate.lang.settings import LanguageSettings
from chatwright.curate.language import Language, sample, tell_language

_MIXED = 0.9  # a page less sure than this is looked at line by line
_SHOWN = 0.02  # share of a language from which it is noted
_CHINESE = ("Hans", "Hant", "Hani")


@dataclass(frozen=True, slots=True)
class LanguageStep:
    """Sets `language` and `meta["script"]`, for mixed pages `meta["languages"]`; applies rules.

    Rules: `language`, `language-confidence`, `script` (drop), `other-language-lines` (edit).
    """

    settings: LanguageSettings

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            self._judge(candidate)

    def _judge(self, candidate: Candidate) -> None:
        s = self.settings
        text = sample(candidate.text)
        hint = candidate.language.code or candidate.document.language or ""
        primary = hint.split("-")[0].strip().lower() or None  # zh-CN is zh
        candidate.language = tell_language(text, primary, s.unsure)
        script = main_script(script_letters(text))
        if self._is_mixed(candidate, script):
            self._by_lines(candidate)
        code, confidence = candidate.language.code, candidate.language.confidence
        if s.keep is not None and code is not None:
            if code not in s.keep:
                candidate.drop("language", confidence, " or ".join(s.keep), detail=code)
                return
            if confidence < s.confidence:
                candidate.drop(
                    "language-confidence", confidence, f"min {s.confidence:g}", detail=code
                )
                return
        name = script_name(text, script, code)
        if name is None:
            return
        candidate.meta["script"] = name
        if s.scripts is not None and not _passes(name, s.scripts):
            candidate.drop("script", None, " or ".join(s.scripts), detail=name)

    def _is_mixed(self, candidate: Candidate, script: str | None) -> bool:
        """Whether the lines are looked at one by one."""
        if candidate.language.code is None or self.settings.lines == "never":
            return False
        if self.settings.lines == "always":
            return True
        # Chinese is told by its characters, and its confidence is their share.
        voted = script not in ("Hani", "Jpan") and script not in ONE_LANGUAGE
        return (voted and candidate.language.confidence < _MIXED) or may_be_mixed(
            candidate.text, script, candidate.language.code
        )

    def _by_lines(self, candidate: Candidate) -> None:
        """Shares of languages; the largest is the page's where the page as a whole was unsure."""
        lines = line_languages(candidate.text, candidate.language.code)
        found = shares(lines)
        noted = {code: share for code, share in found.items() if share >= _SHOWN}
        if len(noted) < 2:
            return
        candidate.meta["languages"] = noted
        largest, share = next(iter(noted.items()))
        if candidate.language.confidence < self.settings.unsure:
            candidate.language = Language(largest, round(share, 3))
        if not self.settings.drop_lines:
            return
        kept = {candidate.language.code} if self.settings.keep is None else set(self.settings.keep)
        # A page of another language goes as a whole, and its ledger line says so.
        if candidate.language.code not in kept:
            return
        drop = set(found) - kept
        gone = [line.code for line in lines if line.code in drop]
        if not gone:
            return
        candidate.text = without(candidate.text, lines, drop)
        headings = {line for line in candidate.text.split("\n") if line.startswith("#")}
        candidate.anchors = [pair for pair in candidate.anchors if pair[0] in headings]
        counts = ", ".join(f"{code} {gone.count(code)}" for code in sorted(drop) if code in gone)
        candidate.edit(
            "other-language-lines",
            len(gone),
            " or ".join(sorted(code for code in kept if code)),
            detail=f"lines taken out: {counts}",
        )


def script_name(text: str, script: str | None, code: str | None) -> str | None:
    """ISO 15924 code; Chinese is told apart into `Hans`, `Hant` and `Hani` (neither shows)."""
    if code == "zh":
        from chatwright.curate.normal.chinese import chinese_script

        return chinese_script(text)
    if code == "ja":
        return "Jpan"
    return "Kore" if script == "Hang" else script


def _passes(script: str, scripts: list[str]) -> bool:
    if script == "Hani":
        return any(name in scripts for name in _CHINESE)
    return script in scripts or (script in _CHINESE and "Hani" in scripts)


def make_step(settings: LanguageSettings | None) -> LanguageStep:
    """The step; without settings it tells languages and drops nothing."""
    return LanguageStep(settings or LanguageSettings())
