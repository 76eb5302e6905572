"""What a host allows: robots.txt, reservations of text and data mining, ai.txt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from protego import Protego

from chatwright.collect.crawl.addresses import target
from chatwright.collect.crawl.fetch import Answer, Failed, unpacked
from chatwright.collect.decode import decode
from chatwright.collect.signals import AI_AGENTS, OUR_AGENT

MAX_ROBOTS = 500 * 1024  # bytes that have to be read (RFC 9309, 2.5)
ROBOTS, TDMREP, AI_TXT = "/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"
_MAX_RULES = 10_000

Stance = Literal["rules", "allow", "refuse"]


@dataclass(frozen=True, slots=True)
class HostFiles:
    """What a host's files say, as kept between runs.

    `stance`: `rules` where robots.txt was read, `allow` where there is none, `refuse` where it
    could not be had, with `reason`. `tdmrep` and `ai` are the other two files' texts.
    """

    stance: Stance
    robots: str = ""
    tdmrep: str = ""
    ai: str = ""
    reason: str | None = None


def read_robots(answer: Answer | Failed) -> HostFiles:
    """How robots.txt is to be understood (RFC 9309, 2.3.1).

    Missing (4xx): all is allowed. Refused (401, 403), not to be had (5xx, 429, no answer): nothing
    is. HTML in its place is some error page, and so no rules.
    """
    if isinstance(answer, Failed):
        return HostFiles("refuse", reason=f"robots.txt: {answer.detail}")
    if answer.status in (401, 403, 429) or answer.status >= 500:
        return HostFiles("refuse", reason=f"robots.txt: status {answer.status}")
    if not 200 <= answer.status < 300:
        if 300 <= answer.status < 400:
            return HostFiles("refuse", reason="robots.txt: redirected away or in a circle")
        return HostFiles("allow")
    text = _text(answer)
    if text.lstrip()[:1] == "<":
        return HostFiles("allow", reason="robots.txt is an HTML page")
    return HostFiles("rules", robots=text)


def read_file(answer: Answer | Failed) -> str:
    """The text of one of the other two files, '' where there is none (or an HTML page)."""
    if isinstance(answer, Failed) or not 200 <= answer.status < 300:
        return ""
    text = _text(answer)
    return "" if text.lstrip()[:1] == "<" else text


def _text(answer: Answer) -> str:
    body = (unpacked(answer, 10 * MAX_ROBOTS) or b"")[:MAX_ROBOTS]
    decoded = decode(body, answer.charset)
    return "" if isinstance(decoded, str) else decoded.text


class Policy:
    """Answers for one host: may this address be fetched, and after what delay."""

    def __init__(self, files: HostFiles) -> None:
        self._files = files
        # An empty file allows everything. `Protego.parse` never raises for content.
        self._robots = Protego.parse(files.robots)
        named = files.robots.lower()
        self._ai_named = [agent for agent in AI_AGENTS if agent in named]
        self._ai = Protego.parse(files.ai) if files.ai else None
        self._reserved = _tdm_rules(files.tdmrep)

    def refuses(self, url: str) -> tuple[str, str] | None:
        """(rule, detail) of what forbids this address, or None.

        `robots`: robots.txt bars us. `opt-out`: it bars crawlers for AI by name, or tdmrep.json
        reserves text and data mining there, or ai.txt disallows it.
        """
        if self._files.stance == "refuse":
            return "robots", self._files.reason or "robots.txt could not be had"
        if not self._robots.can_fetch(url, OUR_AGENT):
            return "robots", "robots.txt disallows it"
        for agent in self._ai_named:
            if not self._robots.can_fetch(url, agent):
                return "opt-out", f"robots.txt bars {agent}"
        policy = _reservation(self._reserved, target(url))
        if policy is not None:
            return "opt-out", f"tdmrep.json reserves it{policy and f'; policy {policy}'}"
        if self._ai is not None and not self._ai.can_fetch(url, OUR_AGENT):
            return "opt-out", "ai.txt disallows it"
        return None

    @property
    def delay(self) -> float | None:
        """Seconds between two requests that robots.txt asks for."""
        delay = self._robots.crawl_delay(OUR_AGENT)
        rate = self._robots.request_rate(OUR_AGENT)
        by_rate = rate.seconds / rate.requests if rate and rate.requests else 0.0
        return max(float(delay or 0.0), by_rate) or None

    @property
    def sitemaps(self) -> list[str]:
        return [str(address) for address in self._robots.sitemaps][:100]


def _tdm_rules(text: str) -> list[tuple[str, bool, str]]:
    """(pattern, reserved, policy) of tdmrep.json; a file of another form reserves nothing."""
    try:
        rules: Any = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    found = []
    for rule in rules[:_MAX_RULES] if isinstance(rules, list) else []:
        if not isinstance(rule, dict) or not isinstance(rule.get("location"), str):
            continue
        reserved = str(rule.get("tdm-reservation")) in ("1", "True")
        policy = rule.get("tdm-policy")
        found.append((rule["location"], reserved, policy if isinstance(policy, str) else ""))
    return found


def _reservation(rules: list[tuple[str, bool, str]], path: str) -> str | None:
    """The policy ('' for none named) of the first rule that fits, if it reserves.

    W3C TDMRep 2024, 4.2: the first location that matches counts; `*` stands for any characters
    and `$` for the end.
    """
    for location, reserved, policy in rules:
        pattern = urlsplit(location).path if "://" in location else location
        if _fits(pattern, path):
            return policy[:300] if reserved else None
    return None


def _fits(pattern: str, path: str) -> bool:
    """A prefix with `*` and `$`, in linear time: each part is looked for after the one before."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return not anchored or path == first
    position = len(first)
    for part in rest[:-1]:
        found = path.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    last = rest[-1]
    if anchored:
        return len(path) - len(last) >= position and path.endswith(last)
    return path.find(last, position) >= 0
