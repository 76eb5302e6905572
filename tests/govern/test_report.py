"""The report: complete, self-contained, valid, and deaf to hostile text."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from built_house import HOSTILE, Built, build_house

from chatwright.errors import DataError
from chatwright.govern.contents import choose_samples
from chatwright.govern.page import markdown
from chatwright.govern.stages import STAGES, ReportSettings, run_report

VOID = {"meta", "br", "img", "input", "hr", "link", "wbr", "col", "area", "base", "embed", "source"}
LOADING = {"src", "srcset", "data", "poster", "action", "formaction", "background", "manifest"}


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order, attributes and texts collected."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {tag} {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a strange declaration: {data}")


def report(built: Built, name: str = "report") -> tuple[str, Page, Path]:
    context = built.context(name, evaluation=built.evaluation)
    # All answers are shown, those with hostile text among them.
    settings = ReportSettings(stages=["evaluation"], title=f"Garden {HOSTILE}", samples=90)
    run_report(settings, context)
    text = (context.output / "report.html").read_text(encoding="utf-8")
    return text, Page(text), context.output


def test_it_says_everything(built: Built) -> None:
    text, page, output = report(built)
    words = " ".join(" ".join(page.text).split())
    for expected in (
        "pypi:garden==1.0", "MIT", "not stated",  # what went in
        "word_count", "min 50", "exact_duplicate", "语言", "https://garden.test/12",  # the ledger
        "smollm2-135m-instruct", "for 200 steps",  # training
        "Token F1", "Right citation", "better", "30 items",  # scores
        "门什么时候开", "gained most", "lost most", "no such passage",  # answers
        "Intended use", "If your text is in here",  # the card
        "5.2 min", "3,072 MiB", "sft-fp", "2 cores",  # lineage, time, machine
        "Not scored: 1", "paragraphs removed 31",
    ):  # fmt: skip
        assert expected in words, expected
    assert page.tags["svg"] == 4  # drops, loss, intervals, lineage
    assert json.loads((output / "lineage.json").read_text())["fingerprint"] == "report-fp"
    # Each result of the chain is a box in the picture, though only the last was named.
    assert set(re.findall(r'class="node \w+"><title>(\S+)', text)) == {
        "pages", "corpus", "questions", "held-out", "sft", "evaluation",
    }  # fmt: skip


def test_nothing_is_loaded_and_nothing_runs(built: Built) -> None:
    text, page, _ = report(built)
    assert not {"script", "iframe", "img", "link", "object", "embed", "base", "form"} & set(
        page.tags
    )
    for tag, name, value in page.attributes:
        assert name not in LOADING, (tag, name)
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "xlink:href"):
            assert tag in ("a", "use"), (tag, value)
            assert value.startswith(("#", "https://", "http://")), value  # to follow, not to load
        if name == "style":
            assert not re.search(r"url\((?!#)|@import|expression", value), value
    styles = re.findall(r"<style[^>]*>(.*?)</style>", text, flags=re.S)
    assert len(styles) == 1
    assert not re.search(r"url\(|@import|http", styles[0])
    assert ("meta", "content", "no-referrer") in page.attributes
    policies = [v for _, n, v in page.attributes if n == "content" and "default-src" in v]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_ids_are_unique_and_links_inside_lead_somewhere(built: Built) -> None:
    _, page, _ = report(built)
    ids = Counter(value for _, name, value in page.attributes if name == "id")
    assert [name for name, count in ids.items() if count > 1] == []
    for tag, name, value in page.attributes:
        if name in ("href", "xlink:href") and value.startswith("#"):
            assert value[1:] in ids, (tag, value)
        for reference in re.findall(r"url\(#([^)]+)\)", value):
            assert reference in ids, reference


def test_hostile_text_is_shown_as_text(built: Built) -> None:
    text, page, _ = report(built)
    words = "".join(page.text)
    # In the title (twice), a count's name, the ledgers (four times), the skipped item, and one
    # answer's question and reference.
    assert words.count("<script>alert(1)</script>") == 10
    assert "[click](javascript:alert(3))" in words and "<iframe src=" in words
    assert "{{7*7}}" in words  # a template in a name is not run
    assert "javascript:alert(document.domain)" in words
    assert "alert(1)</script><img" not in text


def test_it_is_the_same_each_time(built: Built, tmp_path: Path) -> None:
    first, _, _ = report(built)
    other = build_house(tmp_path / "elsewhere")
    assert report(other)[0] == first


def test_the_checkpoints_card_gets_its_scores(built: Built) -> None:
    _, _, output = report(built)
    card = (built.model / "README.md").read_text(encoding="utf-8")
    assert "Right citation" in card
    assert (output / "sft.card.md").read_text(encoding="utf-8") == card


def test_a_missing_ancestor_is_shown_as_missing(built: Built) -> None:
    import shutil

    shutil.rmtree(built.workspace.datasets / "garden" / "pages")
    _, page, _ = report(built)
    assert "not there any more" in " ".join(page.text)


def test_broken_results_are_named(built: Built) -> None:
    (built.evaluation / "answers.jsonl").write_text('{"id":\n')
    with pytest.raises(DataError, match=r"answers\.jsonl: a line is not JSON"):
        report(built)
    (built.evaluation / "evaluation.json").write_text("{}")
    context = built.context()
    context.inputs["evaluation"] = built.evaluation
    with pytest.raises(DataError, match="not an evaluation"):
        run_report(ReportSettings(stages=["evaluation"]), context)


def test_settings_name_stages() -> None:
    (kind,) = [kind for kind in STAGES if kind.kind == "report"]
    assert kind.settings.model_validate({"stages": ["a", "b"]}).referenced() == ["a", "b"]
    with pytest.raises(ValueError):
        kind.settings.model_validate({"stages": []})


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "![x](http://evil.test/p.png)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>)",
        "[x](//evil.test)",
        "<http://evil.test/><img src=x>",
        "[a]: javascript:alert(1)\n\n[a]",
        "```html\n<script>\n```",
        "&lt;script&gt; \\<script>",
    ],
)
def test_markdown_from_outside_is_tame(text: str) -> None:
    page = Page(str(markdown(text)))
    assert not {"script", "img", "iframe", "style"} & set(page.tags)
    for _, name, value in page.attributes:
        if name == "href":
            assert re.match(r"https?://", value), value


def test_samples_are_chosen_by_rule() -> None:
    def line(n: int, before: float, after: float) -> dict[str, object]:
        answers = {m: {"scores": {"token_f1": v}} for m, v in (("b", before), ("a", after))}
        return {"id": f"q{n:02}", "answers": answers}

    lines = [line(n, 0.5, n / 20) for n in range(20)]
    picked = [(why, q["id"]) for why, q in choose_samples(lines, ["b", "a"], 6)]
    assert picked[:2] == [("gained most", "q19"), ("gained most", "q18")]
    assert picked[-2:] == [("lost most", "q01"), ("lost most", "q00")]
    assert [w for w, _ in picked].count("in the middle") == 2
    assert len(choose_samples(lines[:1], ["b", "a"], 6)) == 1
    assert choose_samples([], ["b", "a"], 6) == []
