"""The page on served conversations: whole, self-contained, and safe whatever a name holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from chatwright.curate.textmodels import sentiment
from chatwright.evaluate.conversations import ConversationReport, analyse
from chatwright.evaluate.results import Skipped
from chatwright.govern.conversations_page import render_conversations
from synthetic_conversations import BASE, conversations, worse

VOID = {"meta", "br", "img", "hr", "path", "use", "rect", "circle", "line", "polyline", "input"}


class Structure(HTMLParser):
    """Every opened element is closed, in order; collects ids, links and element names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report() -> ConversationReport:
    name = '<script>alert("x")</script>'
    new = worse(BASE, name=name, first_day=BASE.first_day + timedelta(days=21), up=0.4, seconds=4.0)
    rows = [*conversations(BASE, 120, seed=1), *conversations(new, 120, seed=2)]
    refused = [replace(r, consent=False) for r in rows[:3]]
    return analyse(
        [*rows, *refused, Skipped("x.jsonl:3", "<b>broken</b>")],
        sentiment=sentiment,
        resamples=100,
        permutations=200,
    )


def test_the_page_is_whole_and_loads_nothing(report: ConversationReport) -> None:
    page = render_conversations(report, title="聊天 & <chats>")
    seen = Structure()
    seen.feed(page)
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))
    assert all(link.startswith("#") for link in seen.links)
    assert {link[1:] for link in seen.links} <= set(seen.ids)
    assert "script" not in seen.names
    assert "img" not in seen.names
    assert "聊天 &amp; &lt;chats&gt;" in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;broken&lt;/b&gt;" in page
    assert page == render_conversations(report, title="聊天 & <chats>")


def test_the_page_says_what_the_report_says(report: ConversationReport) -> None:
    page = render_conversations(report)
    assert "240 of 244 conversations" in page
    assert report.alerts
    for alert in report.alerts:
        assert all(example in page for example in alert.examples)
    assert "got worse" in page
    assert page.count("<svg") >= 8
    assert "consent refused" in page
    assert "refund for order" not in page  # quotes nobody


def test_the_smallest_report_has_a_page() -> None:
    bare = [
        replace(r, meta={}, collected_at=None, language=None)
        for r in conversations(BASE, 1, seed=1)
    ]
    page = render_conversations(analyse(bare, resamples=50))
    assert "1 of 1 conversations" in page
    assert "no two model versions" in page
    assert "every row had consent" in page
