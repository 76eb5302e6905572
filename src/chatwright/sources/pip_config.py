"""The package index that pip is configured with: mirrors, certificates, proxies and local folders.

Whoever made `pip install` work here has already said how this machine reaches packages; asking
pip itself (`pip config list`) means nobody says it twice. No package is ever built or run.
"""

from __future__ import annotations

import ast
import configparser
import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

DEFAULT_INDEX = "https://pypi.org/simple"
_SECTIONS = ("global", "install", "download", ":env:")  # later ones win, as in pip


@dataclass(frozen=True)
class PipConfig:
    """What of pip's configuration bears on finding and downloading a file.

    `timeout` is in seconds. `indexes` are in pip's order: index-url, then extra-index-url.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout: float = 15.0
    retries: int = 5


def pip_config() -> PipConfig:
    """What pip is configured with in this interpreter, read once per process and environment."""
    relevant = ("PIP_", "VIRTUAL_ENV", "HOME", "XDG_CONFIG")
    return _read(tuple(sorted(i for i in os.environ.items() if i[0].startswith(relevant))))


@functools.lru_cache(maxsize=8)
def _read(environment: tuple[tuple[str, str], ...]) -> PipConfig:
    values = _from_pip()
    if values is None:
        values = _from_files() | _from_environment(dict(environment))
    return _effective(values)


def _from_pip() -> dict[str, str] | None:
    """`pip config list` of this interpreter, or None in an environment without pip."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--no-input", "config", "list"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_config_list(done.stdout)


def parse_config_list(text: str) -> dict[str, str]:
    """The lines of `pip config list` (`global.index-url='…'`) as keys and values."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, written = line.partition("=")
        if not equals:
            continue
        try:
            value = ast.literal_eval(written)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, str):
            values[key.strip()] = value
    return values


def _from_files() -> dict[str, str]:
    """Read pip's configuration files, for an environment without pip (as uv makes them)."""
    name = "pip.ini" if os.name == "nt" else "pip.conf"
    site = [Path(d) / "pip" / name for d in platformdirs.site_config_dir().split(os.pathsep)]
    told = os.environ.get("PIP_CONFIG_FILE")
    files = [*site, Path("/etc") / name]
    if told is None or not Path(told).exists():  # as in pip, such a file stands for the user's own
        files += [
            Path.home() / ("pip" if os.name == "nt" else ".pip") / name,
            Path(platformdirs.user_config_dir("pip", appauthor=False)) / name,
        ]
    files.append(Path(sys.prefix) / name)
    if told:
        files = [] if told == os.devnull else [*files, Path(told)]
    values: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in parser.sections():
            for key, value in parser.items(section):
                values[f"{section}.{key.replace('_', '-')}"] = value
    return values


def _from_environment(environment: dict[str, str]) -> dict[str, str]:
    return {
        ":env:." + key[4:].lower().replace("_", "-"): value
        for key, value in environment.items()
        if key.startswith("PIP_") and value
    }


def _effective(values: dict[str, str]) -> PipConfig:
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        prefix = section + "."
        settings |= {k[len(prefix) :]: v for k, v in values.items() if k.startswith(prefix)}

    def number(key: str, default: float) -> float:
        try:
            return float(settings.get(key, default))
        except ValueError:
            return default

    indexes = (settings.get("index-url", DEFAULT_INDEX), *_words(settings, "extra-index-url"))
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        indexes = ()
    return PipConfig(
        indexes=indexes,
        find_links=_words(settings, "find-links"),
        trusted_hosts=_words(settings, "trusted-host"),
        cert=settings.get("cert") or None,
        client_cert=settings.get("client-cert") or None,
        proxy=settings.get("proxy") or None,
        timeout=number("timeout", number("default-timeout", PipConfig.timeout)),
        retries=int(number("retries", PipConfig.retries)),
    )


def _words(settings: dict[str, str], key: str) -> tuple[str, ...]:
    return tuple(settings.get(key, "").split())
