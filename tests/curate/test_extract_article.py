"""What is taken for a page's article: layouts that people meet, and pages made to hurt."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.article.linked_data import article_body
from chatwright.curate.article.names import is_furniture_text, judge
from chatwright.curate.article.source import parse, without_unseen
from chatwright.curate.article.survey import survey
from chatwright.curate.extract import Extractor, extract, extract_text

EXTRACTORS: list[Extractor] = ["chatwright", "trafilatura", "resiliparse"]

ENGLISH = [
    f"On day {n} the council met, debated the budget and the harbour for hours, and decided, "
    f"against the mayor's advice, to build bridge number {n} across the river." for n in range(5)
]  # fmt: skip
CHINESE = [
    "\u6628\u5929\u4e0b\u5348\uff0c\u5e02\u653f\u5e9c\u53ec\u5f00\u4f1a\u8bae\uff0c\u8ba8\u8bba\u4e86"
    "\u4eca\u5e74\u7684\u9884\u7b97\u548c\u6e2f\u53e3\u7684\u5efa\u8bbe\u95ee\u9898\u3002",
    "\u65b0\u7684\u5927\u6865\u5c06\u4e8e\u660e\u5e74\u6625\u5929\u5f00\u5de5\uff0c\u9884\u8ba1\u4e09"
    "\u5e74\u5185\u5b8c\u6210\uff0c\u603b\u6295\u8d44\u7ea6\u4e3a\u4e8c\u5341\u4ebf\u5143\u3002",
    "\u4e13\u5bb6\u8ba4\u4e3a\uff0c\u8fd9\u4e00\u9879\u76ee\u5c06\u6539\u5584\u4e24\u5cb8\u5c45\u6c11"
    "\u7684\u51fa\u884c\u6761\u4ef6\uff0c\u4e5f\u4f1a\u5e26\u52a8\u5468\u8fb9\u7684\u53d1\u5c55\u3002",
    "\u5bf9\u6b64\uff0c\u5f53\u5730\u5c45\u6c11\u8868\u793a\u6b22\u8fce\uff0c\u5e0c\u671b\u65bd\u5de5"
    "\u671f\u95f4\u80fd\u591f\u4fdd\u8bc1\u4ea4\u901a\u7684\u7545\u901a\u3002",
]  # fmt: skip
BRIDGE = "\u5927\u6865\u5c06\u4e8e\u660e\u5e74\u5f00\u5de5"  # the Chinese headline
MENU = "<div class=top><ul>" + "<li><a href=/s>Section</a>" * 12 + "</ul></div>"
CHINESE_FOOT = (
    "<div class=foot><p>\u5173\u4e8e\u6211\u4eec | \u8054\u7cfb\u6211\u4eec</p><p>"
    "\u672c\u7f51\u7ad9"
    "\u6240\u6709\u5185\u5bb9\uff0c\u672a\u7ecf\u8bb8\u53ef\uff0c\u4e0d\u5f97\u8f6c\u8f7d\uff0c\u8fdd"
    "\u8005\u5c06\u4f9d\u6cd5\u8ffd\u7a76\u8d23\u4efb\u3002</p></div>"
)
CHINESE_RELATED = (
    "<div class=list><h3>\u76f8\u5173\u65b0\u95fb</h3><ul>"
    + "<li><a href=/n>\u67d0\u5730\u4e3e\u884c\u8fd0\u52a8\u4f1a\uff0c\u9009\u624b\u53c2\u52a0</a>"
    * 8
    + "</ul></div>"
)


def paragraphs(texts: list[str]) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


def page(body: str, title: str = "") -> str:
    head = f"<head><meta charset=utf-8><title>{title}</title></head>"
    return f"<!doctype html><html>{head}<body>{body}</body></html>"


def test_furniture_around_an_article_goes() -> None:
    html = page(
        f"{MENU}<div class=main><h1>Bridges</h1><div class='story-text'>"
        f"<div class='share-bar'><a href=f>Like</a> Send this story to all your friends, now</div>"
        f"{paragraphs(ENGLISH[:2])}<div>Advert</div><p><a href=x>Ten bridges you must see</a></p>"
        f"<p>Read more: the harbour, in pictures</p>{paragraphs(ENGLISH[2:])}"
        "<ul><li><a href=a>Older story, about ferries</a><li><a href=b>Oldest story</a></ul></div>"
        "<div class=relatedPosts><p>Another story begins here, with a sentence, and another.</p>"
        "</div></div><div id=sidebar><p>Subscribe, for the price of a coffee, to our paper.</p>"
        "</div><footer><p>All rights reserved, by the paper, in all countries.</p></footer>",
        "Bridges | The Paper",
    )
    found = extract(html)
    assert found.markdown == "\n\n".join(ENGLISH) + "\n"
    assert found.title == "Bridges"
    assert 0 < found.link_share < 1  # of the page, not of the article


def test_structure_inside_an_article_survives() -> None:
    html = page(
        f"{MENU}<article class='post hentry tag-ferries'><div class=entry-content>"
        f"{paragraphs(ENGLISH)}<h2 id=route>Route</h2><ul><li>First, take the train to town.<li>"
        "Walk</ul><table><tr><th>Stop<th>Time<tr><td>Quay<td>9:00</table>"
        "<figure class=highlight><pre><code class=language-python>print(1)</code></pre></figure>"
        "<blockquote><p>All bridges, said the mayor, are beautiful from below.</p></blockquote>"
        "</div></article><aside class=widget><h2>News</h2><p>A ferry sank, slowly, on Monday.</p>"
        "</aside>"
    )
    found = extract(html)
    assert found.markdown == (
        "\n\n".join(ENGLISH) + "\n\n## Route\n\n- First, take the train to town.\n- Walk\n\n"
        "| Stop | Time |\n| --- | --- |\n| Quay | 9:00 |\n\n```python\nprint(1)\n```\n\n"
        "> All bridges, said the mayor, are beautiful from below.\n"
    )
    assert found.anchors == [("## Route", "route")]


def test_a_chinese_news_page() -> None:
    html = page(
        f"{MENU}<div class=main><h1>{BRIDGE}</h1><div class=info>2024-01-01</div><div id=artibody>"
        f"{paragraphs(CHINESE)}<p>\uff08\u8d23\u4efb\u7f16\u8f91\uff1a\u674e\u56db\uff09</p></div>"
        f"{CHINESE_RELATED}</div>{CHINESE_FOOT}",
        f"{BRIDGE}_\u65b0\u95fb\u7f51",
    )
    for data in (html, html.encode(), html.replace("utf-8", "gb2312").encode("gb18030")):
        found = extract(data)
        assert found.markdown == "\n\n".join(CHINESE) + "\n"
        assert found.title == BRIDGE


def test_a_chinese_page_laid_out_with_tables_and_line_breaks() -> None:
    text = "<br><br>".join(CHINESE)
    html = page(
        f"<table><tr><td>{MENU}</td></tr><tr><td width=700><b>{BRIDGE}</b><br><br>{text}</td>"
        f"<td>{CHINESE_RELATED}</td></tr></table>{CHINESE_FOOT}"
    )
    markdown = extract_text(html)
    assert all(sentence in markdown for sentence in CHINESE)
    assert "Section" not in markdown and "\u76f8\u5173" not in markdown
    assert "\u8054\u7cfb" not in markdown


def test_a_page_that_is_hidden_until_a_script_shows_it() -> None:
    sections = "".join(f"<section><span>{text}</span></section>" for text in CHINESE)
    found = extract(
        page(
            f"<h1>{BRIDGE}</h1><div id=js_content style='visibility: hidden'>{sections}</div>"
            "<div hidden class=cookie-banner><p>We use cookies, and so on, and so forth.</p></div>"
        )
    )
    assert found.markdown == "\n\n".join(CHINESE) + "\n"
    assert found.title == BRIDGE and found.notes == ["hidden content shown"]


def post(number: int, text: str) -> str:
    return (
        f"<div id=post_{number}><table><tr><td class=pls><a href=u>user{number}</a><p>Points</p>"
        f"<td class=plc><table><tr><td class=t_f>{text}</td></tr></table><div class=pob>"
        "<a href=r>Reply</a></div></td></tr></table></div>"
    )


def test_all_posts_of_a_thread_in_order() -> None:
    short = (
        "\u540c\u610f\u697c\u4e0a\uff0c\u9876\u4e00\u4e2a\uff0c\u7b49\u660e\u5e74\u518d\u770b\u3002"
    )
    texts = [*CHINESE, short]
    posts = "".join(post(n, text) for n, text in enumerate(texts))
    html = page(f"{MENU}<div id=postlist><h1>{BRIDGE}</h1>{posts}</div>{CHINESE_FOOT}", BRIDGE)
    assert extract_text(html) == "\n\n".join(texts) + "\n"


def test_a_forum_that_calls_its_posts_comments() -> None:
    comments = "".join(
        f"<div class=comment><div class=author>user{n}</div><div class=comment-body><p>{text}</p>"
        "</div></div>" for n, text in enumerate(ENGLISH)
    )  # fmt: skip
    html = page(f"<h1>Bridges again</h1><div class=comments>{comments}</div>", "Bridges again")
    markdown = extract_text(html)
    assert all(text in markdown for text in ENGLISH)


def test_readers_comments_do_not_outweigh_a_short_article() -> None:
    comments = "".join(f"<li class=comment><p>{text}</p></li>" for text in ENGLISH * 4)
    html = page(
        f"<div class=main><h1>Bridge opens</h1><div class=body>{paragraphs(CHINESE[:1])}"
        "<p>The bridge opened on Monday, the mayor said, and it is blue.</p></div>"
        f"<ol class=commentlist>{comments}</ol></div>",
        "Bridge opens - The Paper",
    )
    assert extract_text(html) == (
        f"{CHINESE[0]}\n\nThe bridge opened on Monday, the mayor said, and it is blue.\n"
    )


def test_a_question_and_its_answers() -> None:
    question = "I have a dict, and I want it sorted by value, not by key, in Python three."
    answers = [f"Use sorted with a key, number {n}, and make a dict again." for n in range(2)]
    code = "<pre><code>sorted(d)</code></pre>"
    html = page(
        f"<div id=mainbar><h1>Sort a dict?</h1><div class=question><div class=prose><p>{question}"
        f"</p>{code}</div><ul class=comments-list><li>What have you tried so far, and why?</ul>"
        "</div><div id=answers>"
        + "".join(
            f"<div class=answer><div class=prose><p>{a}</p>{code}</div></div>" for a in answers
        )
        + "</div></div><div id=sidebar><p>Related questions, of which there are many.</p></div>",
        "Sort a dict? - Questions",
    )
    fence = "```\nsorted(d)\n```"
    assert extract_text(html) == "\n\n".join(
        [question, fence, answers[0], fence, answers[1], f"{fence}\n"]
    )


def test_an_article_in_several_pieces() -> None:
    pieces = "".join(
        f"<section class='piece wide'><div class=inner><p>{text}</p><p>{text}</p></div></section>"
        "<div class=ad-slot>Advertisement, by our sponsors, for you</div>"
        for text in ENGLISH
    )
    markdown = extract_text(page(f"<h1>Bridges</h1><div class=story>{pieces}</div>", "Bridges"))
    assert all(markdown.count(text) == 2 for text in ENGLISH)
    assert "sponsors" not in markdown


def test_a_theme_that_names_everything_after_furniture_loses_nothing() -> None:
    html = page(
        f"<div class='has-sidebar widget-page'>{MENU}<div class='promo-story share-enabled'>"
        f"<h1>Bridges</h1>{paragraphs(ENGLISH)}</div></div>",
        "Bridges",
    )
    markdown = extract_text(html)
    assert all(text in markdown for text in ENGLISH) and "Section" not in markdown


def test_a_page_without_prose_is_kept_whole() -> None:
    links = "".join(f"<li><a href=/{n}>Page {n}</a>" for n in range(4))
    found = extract(page(f"<h1>Index</h1><ul>{links}</ul>"))
    assert found.markdown == "# Index\n\n- Page 0\n- Page 1\n- Page 2\n- Page 3\n"
    assert found.link_share > 0.5


def test_a_page_that_only_points_elsewhere_says_so() -> None:
    html = page("<div><p>Redirecting to <a href=x>the new and better address of this page</a></p>")
    assert extract_text(html) == "Redirecting to the new and better address of this page\n"


def linked(data: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(data)}</script>'


def test_an_article_that_only_linked_data_holds() -> None:
    body = "\n".join(ENGLISH) + "\n# not a heading"
    data = {"@graph": [{"@type": "NewsArticle", "articleBody": body}, {"articleBody": "short"}]}
    found = extract(page(f"{linked(data)}<div id=root>Loading</div>", "Bridges"))
    assert found.markdown == "\n\n".join([*ENGLISH, "\\# not a heading\n"])
    assert found.title == "Bridges" and found.anchors == []
    assert found.notes == ["text from the page's linked data"]
    shown = extract(page(linked(data) + f"<article>{paragraphs(ENGLISH)}</article>"))
    assert shown.markdown == "\n\n".join(ENGLISH) + "\n" and shown.notes == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'<script type="application/ld+json">{"articleBody": "cut',
        b'<script type="application/ld+json">' + b"[" * 200_000 + b'"articleBody"</script>',
        b'<script type="application/ld+json">{"articleBody": 3}</script>',
        b'<script type="application/ld+json">{"articleBody": [null, {}]}</script>',
        b'<script type="application/ld+json">\xff{"articleBody"</script>' * 1000,
    ],
)
def test_linked_data_that_is_no_use(data: bytes) -> None:
    assert article_body(data) == ""


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_every_extractor_gives_markdown_and_keeps_documentation_whole(extractor: Extractor) -> None:
    html = page(
        f"{MENU}<div class=main><h1>Bridges</h1><article>{paragraphs(ENGLISH)}<table><tr><th>Stop"
        f"<th>Time<tr><td>Quay, where the ferries leave<td>9:00 in the morning</table></article>"
        "</div><div class=footer><a href=i>Imprint</a></div>",
        "Bridges",
    )
    markdown = extract_text(html, extractor=extractor)
    assert all(text in markdown for text in ENGLISH)
    assert "| Quay, where the ferries leave | 9:00 in the morning |" in markdown
    assert "Imprint" not in markdown
    sphinx = (
        '<html><head><meta name="generator" content="Sphinx"></head><body><main><h1>Go</h1>'
        "<p>a</p></main><div class=footer>b</div></body>"
    )
    assert extract_text(sphinx, extractor=extractor) == "# Go\n\na\n"
    assert extract_text(b"", extractor=extractor) == ""


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_the_time_limit_holds_for_every_extractor(extractor: Extractor) -> None:
    html = page(f"<article>{paragraphs(ENGLISH * 2000)}</article>")
    with pytest.raises(TimeoutError, match=r"http://x\.test/ took longer than 0\.01 seconds"):
        extract(html, "http://x.test/", seconds=0.01, extractor=extractor)
    assert extract(page(paragraphs(ENGLISH)), seconds=60, extractor=extractor).markdown


def test_a_late_library_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def slow(*_: object, **__: object) -> str:
        time.sleep(0.3)
        return ENGLISH[0]

    monkeypatch.setattr(trafilatura, "extract", slow)
    with pytest.raises(TimeoutError):
        extract(page(paragraphs(ENGLISH)), seconds=0.2, extractor="trafilatura")


def test_a_library_that_fails_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def fails(*_: object, **__: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr(trafilatura, "extract", fails)
    markdown = extract_text(page(paragraphs(ENGLISH)), extractor="trafilatura")
    assert ENGLISH[0] in markdown


def test_unseen_parts_are_cut_and_what_is_unclosed_is_left() -> None:
    assert without_unseen(b"a<!-- <script> -->b<!-->c<SCRIPT a='</div>'>x</Script >d") == b"abcd"
    assert without_unseen(b"<script>if (a<b) '<!--'</script>x<style>y</style>") == b"x"
    assert without_unseen(b"<scripture>a</scripture><svgx>b") == b"<scripture>a</scripture><svgx>b"
    assert without_unseen(b"a<script>b") == b"a<script>b"
    assert without_unseen(b"<nav>a</nav>b") == b"<nav>a</nav>b"
    assert without_unseen(b"<nav>a</nav>b<nav>c", margins=True) == b"b<nav>c"
    assert without_unseen(b"a<svg/>b<svg><g/></svg>c") == b"a<svg/>bc"
    assert without_unseen(b"<svg><script>s</script>x<svg></svg>t</svg>") == b"<svg>xt</svg>"
    nested = b"<nav>a<nav>b</nav>c</nav>d"
    assert without_unseen(nested, margins=True) == b"<nav>ac</nav>d"


_RAW = st.sampled_from(["", "x", "if (a<b) c", "'<p>'", "'<svg>'", "<!-- y -->", "<nav>", "-->"])
_UNSEEN = st.one_of(
    st.tuples(st.sampled_from(["script", "STYLE", "Script"]), _RAW).map(
        lambda it: f"<{it[0]} a='b>c'>{it[1]}</{it[0]} >"
    ),
    st.sampled_from(["", "x", "<p>", "<script>", "</nav>", "<!--"]).map(lambda t: f"<!--{t}-->"),
    st.just("<svg/>"),
)
_SEEN = st.sampled_from(
    ["a", "b, ", "<br>", "<i title='<svg></svg>'>c</i>", "&lt;script&gt;", "< d"]
)
_PAGES = st.recursive(
    st.one_of(_UNSEEN, _SEEN),
    lambda inner: st.tuples(
        st.sampled_from(["div", "nav", "NAV", "footer", "svg", "section"]),
        st.lists(inner, max_size=5).map("".join),
    ).map(lambda it: f"<{it[0]}>{it[1]}</{it[0]}>"),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PAGES, max_size=6).map("".join), st.booleans())
def test_cutting_what_is_unseen_changes_no_text(body: str, margins: bool) -> None:
    """The cut page shows what the whole page does, read by the parser and the survey."""

    def shown(html: bytes) -> str:
        surveyed = survey(parse(html)[0].find("body"))
        return "".join(node.start for node in surveyed.nodes).replace(" ", "")

    html = f"<body>e{body}</body>".encode()
    assert shown(without_unseen(html, margins=margins)) == shown(html)


@pytest.mark.parametrize(
    ("classes", "bound"),
    [
        ("relatedPosts", 0.4),
        ("share-bar", 0.4),
        ("commentlist", 0.8),
        ("article-share", 0.1),
        ("commentary", 0.0),
        ("shareholders", 0.0),
        ("story-body", 0.0),
        ("post hentry tag-bridges author-x", 0.0),
        ("most-read", 0.4),
        (None, 0.0),
    ],
)
def test_what_names_say(classes: str | None, bound: float) -> None:
    assert judge(classes, None).bound == bound
    assert judge(None, classes).bound == (0.0 if classes == "" else bound)


def test_what_texts_say() -> None:
    furniture = ["Read more: x", " Related : y", "ADVERTISEMENT", "\u76f8\u5173\u9605\u8bfb\uff1ax"]
    assert all(map(is_furniture_text, furniture))
    assert not any(
        map(is_furniture_text, ["Reading is fun", "He advertised", "\u76f8\u5173\u90e8\u95e8"])
    )


def _nest(opening: str, depth: int, times: int, closing: str = "") -> str:
    return ("".join([opening * depth, "x", closing * depth])) * times


HURTS: dict[str, Callable[[int], str]] = {
    "open nav": lambda n: "<nav>" * n,
    "open nav, one close": lambda n: "<nav>" * n + "</nav>",
    "open drawings without end": lambda n: "<svg " * n + "</svg>",
    "open nav, a close without end": lambda n: "<nav>" * n + "</nav" + "x" * n * 10,
    "closings without end": lambda n: "<script>" + "</script " * n,
    "comments": lambda n: "<!-- " * n,
    "h1 in h1": lambda n: _nest("<h1>a", 1000, n // 2000, "</h1>"),
    "a letter a level": lambda n: _nest("<div>a", 1000, n // 2000, "</div>"),
    "empty inlines": lambda n: _nest("<div>a" + "<i></i>" * 5, 200, n // 2000, "</div>"),
    "prose in lists": lambda n: _nest("<ul><li>" + ENGLISH[0], 500, n // 2000, "</ul>"),
    "alike": lambda n: f"<div class=a><p>{ENGLISH[0]}</p></div>" * (n // 2),
    "names": lambda n: "".join(f"<p class='c{i} share{i}'>x</p>" for i in range(n)),
    "one long name": lambda n: f"<p class='{'related-' * n}'>x</p>",
    "no tags": lambda n: "word, " * n * 10,
    "one table": lambda n: "<table>" + "<tr><td>a, b<td>c" * n + "</table>",
    "linked data": lambda n: '<script type="application/ld+json">"articleBody"' * n,
}


@pytest.mark.parametrize("name", HURTS)
def test_time_grows_with_the_page_and_not_with_its_square(name: str) -> None:
    def seconds(n: int) -> float:
        html = HURTS[name](n)
        start = time.process_time()
        assert isinstance(extract(html).markdown, str)
        return time.process_time() - start

    seconds(1000)
    small, large = min(seconds(2000), seconds(2000)), seconds(16_000)
    assert large < 8 * 4 * small + 0.5
