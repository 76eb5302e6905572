"""`chatwright collect crawl` as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatwright.cli.collect import collect
from chatwright.errors import UsageError
from collect.crawl.conftest import Reply, Site


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.link("/", "/a", "/b")
    made.link("/a")
    made.link("/b")
    yield made
    made.close()


def test_a_crawl_and_its_words(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "site.warc.gz"
    command = ["crawl", site.url, "--out", str(out), "--delay", "0", "--allow-private"]
    shown = CliRunner().invoke(collect, command, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "3 pages" in shown.output
    assert str(tmp_path / "site.crawl" / "ledger.jsonl") in shown.output
    again = CliRunner().invoke(collect, [*command, "--json"], catch_exceptions=False)
    told = json.loads(again.stdout)
    assert (told["pages"], told["stopped"], told["waiting"]) == (3, "done", 0)
    assert {"action": "keep", "rule": "fetched", "count": 3} in told["rules"]


def test_a_private_address_needs_to_be_allowed(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "site.warc.gz"
    command = ["crawl", site.url, "--out", str(out), "--delay", "0", "--json"]
    told = json.loads(CliRunner().invoke(collect, command, catch_exceptions=False).stdout)
    assert told["pages"] == 0
    assert site.requests == []
    assert "127.0.0.1 is at 127.0.0.1" in (tmp_path / "site.crawl/ledger.jsonl").read_text()


def test_who_crawls_has_to_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATWRIGHT_CONTACT", raising=False)
    command = ["crawl", "https://example.org", "--out", str(tmp_path / "x.warc.gz")]
    with pytest.raises(UsageError, match="says whose it is"):
        CliRunner().invoke(collect, command, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import signal, sys
from chatwright.cli.collect import collect
signal.signal(signal.SIGINT, signal.default_int_handler)
print("go", flush=True)
collect(sys.argv[1:])
"""


def test_ctrl_c_does_not_wait_for_a_slow_page(site: Site, tmp_path: Path) -> None:
    site.link("/", "/slow", "/a")
    site.pages["/slow"] = Reply("x" * 10_000, drip=0.05)
    out = tmp_path / "site.warc.gz"
    command = ["crawl", site.url, "--out", str(out), "--delay", "0", "--allow-private"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while "/slow" not in site.asked and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - began < 8
    assert process.returncode == 130
    site.pages["/slow"] = "<p>fast now</p>"
    told = json.loads(CliRunner().invoke(collect, [*command, "--json"]).stdout)
    assert (told["pages"], told["stopped"]) == (3, "done")
    assert site.asked.count("/") == 1
