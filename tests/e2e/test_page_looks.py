"""How the chat looks and reads: axe-core, both languages, its weight, and the README's picture.

CHATWRIGHT_SCREENSHOTS=1 pytest tests/e2e/test_page_looks.py     # writes docs/images/chat*.png
"""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chatwright.records import Message
from page_house import PHONE, PageHouse, ask, page_house, serious

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 200 * 1024  # of the first load, compressed

ENGLISH = """A boat of 12 metres pays **30.00** [2]. At spring tide the gate is open for only \
**three hours** [1], so be there early:

| Tide | When | Range | Gate open |
|:-----|:-----|------:|----------:|
| Spring | new and full moon | largest | 3 h |
| Neap | half moon | smallest | 5 h |

At spring tide sun and moon pull in one line [1], at neap tide at right angles [3]. The fee is \
paid at the harbour office before noon [2]:

```python
def fee(metres: float) -> float:
    return metres * 2.5  # 12 m: 30.00
```"""
CHINESE = """大潮时，闸门**只开放三个小时** [1]。

| 潮汐 | 时间 | 潮差 |
|:--|:--|:--|
| 大潮 | 新月、满月 | 最大 |
| 小潮 | 上弦、下弦 | 最小 |

新月和满月时，太阳和月亮的引力在一条线上 [1]，所以：

1. 先查当天的高潮时间；
2. 提前半小时到闸门；
3. 正午之前到港务处缴费。"""
PAST = [  # days ago, title
    (0, "Which berth for a deep keel?"),
    (1, "Reading a tide table"),
    (1, "新月和满月的潮汐"),
    (4, "Fog signals at the north quay"),
    (6, "Converting feet to metres"),
    (19, "Checklist before leaving port"),
    (25, "为什么潮汐每天推迟五十分钟"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageHouse]:
    with page_house(tmp_path_factory.mktemp("looks")) as house:
        yield house
        assert house.problems == []


@pytest.fixture(autouse=True)
def one_at_a_time(house: PageHouse) -> Iterator[None]:
    yield
    house.close_pages()
    house.script.replies.clear()


def picture(page: Any, name: str) -> None:
    """Keep a picture of the page, where that is asked for."""
    if os.environ.get("CHATWRIGHT_SCREENSHOTS"):
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        page.wait_for_timeout(600)
        page.screenshot(path=IMAGES / name)
        assert (IMAGES / name).stat().st_size < 300_000


def live_in(house: PageHouse, page: Any) -> None:
    """Earlier chats of other days, a folder, and a pinned one."""
    page.evaluate(
        """async (text) => {
          const headers = {"Content-Type": "application/json"};
          const told = {method: "POST", headers, body: text};
          const answer = await fetch("/v1/chatwright/import", told);
          if (!answer.ok) throw new Error(await answer.text());
        }""",
        json.dumps([earlier(days, title) for days, title in PAST]),
    )
    folder = house.send(page, "POST", "/folders", {"name": "Summer cruise"})
    rows = {row["title"]: row["id"] for row in house.send(page, "GET", "/conversations")["data"]}
    inside = rows["Checklist before leaving port"]
    house.send(page, "PATCH", f"/conversations/{inside}", {"folder_id": folder["id"]})
    pinned = rows["Fog signals at the north quay"]
    house.send(page, "PATCH", f"/conversations/{pinned}", {"pinned": True})


def earlier(days: int, title: str) -> dict[str, Any]:
    """A chat as ChatGPT exports one."""
    at = time.time() - days * 86_400 - 60
    said = {"content_type": "text", "parts": [title]}
    message = {"id": "a", "author": {"role": "user"}, "content": said, "create_time": at}
    return {
        "title": title,
        "create_time": at,
        "update_time": at,
        "mapping": {"a": {"id": "a", "message": message, "parent": None, "children": []}},
        "current_node": "a",
    }


def test_the_picture_of_the_readme(house: PageHouse) -> None:
    wide = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
    page = house.open(**wide)
    live_in(house, page)
    page.reload()
    house.script.title = "Mooring at spring tide"
    house.script.replies = {"12 metre": ENGLISH, "大潮": CHINESE}
    question = "I arrive at spring tide with a boat of 12 metres. What does mooring cost, and how "
    answer = ask(page, question + "long is the gate open?")
    expect(answer.get_by_role("group", name="Sources").get_by_role("button")).to_have_count(3)
    expect(page).to_have_title(re.compile("Mooring at spring tide"))
    picture(page, "chat.png")

    page = house.open(**PHONE, locale="zh-CN", color_scheme="dark", device_scale_factor=2)
    page.locator(".model-name").first.click()
    page.get_by_role("menuitemradio", name="港口指南").click()
    house.script.title = "大潮的时候闸门开放多久"
    answer = ask(page, "大潮的时候闸门开放多久？")
    expect(answer.locator("table")).to_be_visible()
    picture(page, "chat-phone-zh.png")


EVERYTHING = """Text with `code`, [a link](https://fine.example/), **bold** and a source [1].

# One
## Two

| a | b |
|---|--:|
| 1 | 2 |

- [x] done
- [ ] to do

> quoted

$$\\frac{a}{b}$$

```python
def gate(hours: float) -> str:
    return f"{hours} h"  # a comment
```"""


def with_tool(messages: Sequence[Message]) -> str:
    last = messages[-1]
    if last.role == "tool" or "<tool_response>" in last.content:
        return EVERYTHING
    return '<tool_call>\n{"name": "weather", "arguments": {"place": "Harbour"}}\n</tool_call>'


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(house: PageHouse, width: int, theme: str) -> None:
    size = {"width": width, "height": 900}
    page = house.open(viewport=size, color_scheme=theme)
    found: list[str] = []

    def look(view: str) -> None:
        page.wait_for_timeout(250)  # what fades in has its colours then
        found.extend(f"{view}: {one}" for one in serious(page, ("moderate", "serious", "critical")))

    look("welcome")
    house.script.replies = {"everything": with_tool, "again": "A second version.", "fail": "CRASH"}
    page.get_by_role("button", name="Tools and knowledge").click()
    page.get_by_role("group", name="Tools").locator("label", has_text="Weather").first.click()
    look("tools")
    page.keyboard.press("Escape")
    answer = ask(page, "everything about spring tide")
    page.locator("details.tool summary").click()
    expect(page.locator("math")).to_be_visible()
    expect(page.locator("pre code span").first).to_be_visible()
    answer.get_by_role("button", name="Good answer").click()
    ask(page, "fail")
    look("conversation")
    answer.locator(".markdown .chip").first.click()
    expect(page.locator(".steps")).to_be_visible()
    look("drawer")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Instructions and parameters").click()
    look("parameters")
    page.keyboard.press("Escape")
    answer.get_by_role("button", name="Bad answer").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look("feedback")
    page.keyboard.press("Escape")
    if width > 1000:
        answer.get_by_role("button", name="More").click()
        look("menu")
        page.get_by_role("menuitem", name="Write a better answer").click()
        look("better answer")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Edit the question").first.click()
        look("editing")
        page.keyboard.press("Escape")
        answer.get_by_role("button", name="More").click()
        page.get_by_role("menuitem", name="Compare with another answer").click()
        expect(page.get_by_role("heading", name="Which answer is better?")).to_be_visible()
        look("comparison")
    assert found == [], "\n".join(found)


# Names and keys that are the same in Chinese.
SAME = {"Chatwright", "Ctrl", "Enter", "Shift", "Esc", "Markdown", "HTML", "PDF", "Word", "Top"} | {
    "English", "Summer", "cruise", "Harbour", "guide", "Small", "model"
}  # fmt: skip
WORDS = """() => {
  const said = [];
  const content = ".markdown, .question, .chat-row, .fold-body, .source-title, .source-place, " +
    ".palette-entry:has(.palette-at), .passage, .around, .steps, dd, .drawer header h2, option, " +
    ".page-link, pre";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const inside = node.parentElement;
    if (inside.closest(content) && !inside.closest("figcaption")) continue;
    if (inside.checkVisibility() || inside.closest(".visually-hidden")) said.push(node.data);
  }
  for (const one of document.querySelectorAll("*"))
    for (const key of ["aria-label", "placeholder", "data-tip", "title", "alt"])
      if (one.hasAttribute(key) && !one.closest(".chat-row, .steps") && !one.matches(".file-name"))
        said.push(one.getAttribute(key));
  return said;
}"""


def english(page: Any) -> set[str]:
    """English words that the page itself says, with what is read out."""
    text = " ".join(page.evaluate(WORDS))
    return set(re.findall(r"[A-Za-z]{2,}", text)) - SAME


def test_in_chinese_no_english_word_is_left(house: PageHouse) -> None:
    page = house.open(locale="zh-CN")
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    found: dict[str, set[str]] = {}

    def look(view: str) -> None:
        if words := english(page):
            found[view] = words

    # In English there are many: the helper sees them.
    other = house.open()
    assert {"New", "chat", "Ask", "question"} <= english(other)
    page.locator(".model-name").first.click()
    page.get_by_role("menuitemradio", name="港口指南").click()
    look("welcome")
    house.script.replies = {"大潮": CHINESE, "天气": with_tool, "坏": "写到一半 CRASH"}
    page.get_by_role("button", name="工具和知识库").click()
    page.get_by_role("group", name="工具").locator("label", has_text="天气").first.click()
    look("tools")
    page.keyboard.press("Escape")
    answer = ask(page, "大潮的时候闸门开放多久？")
    answer.locator(".markdown .chip").first.click()
    expect(page.locator(".facts")).to_contain_text("2024年5月17日")
    look("drawer")
    page.keyboard.press("Escape")
    ask(page, "今天天气怎么样？")
    page.locator("details.tool summary").click()
    house.script.replies["天气"] = "第二版。"
    page.get_by_role("button", name="重新回答").last.click()
    expect(page.locator("article.answer").last).to_contain_text("第二版")
    ask(page, "坏了")
    look("conversation")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["MZ\\0\\1"], "程序"));
          const told = {dataTransfer: data, bubbles: true, cancelable: true};
          document.body.dispatchEvent(new DragEvent("drop", told));
        }"""
    )
    expect(page.locator(".composer .of-problem")).to_contain_text("不能读取这种文件")
    look("a file that cannot be read")
    page.get_by_role("button", name="添加").first.click()
    look("menu")
    page.keyboard.press("Escape")
    answer.get_by_role("button", name="更多").click()
    look("more")
    page.get_by_role("menuitem", name="写一个更好的回答").click()
    look("better")
    page.keyboard.press("Escape")
    answer.get_by_role("button", name="回答得不好").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look("feedback")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="指令和参数").click()
    look("parameters")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    look("palette")
    page.keyboard.press("Escape")
    page.goto(house.address + "/?temporary")
    expect(page.get_by_role("heading", name="临时对话")).to_be_visible()
    look("temporary")
    page.goto(house.address + "/c/cnv_0")
    expect(page.get_by_role("heading", name="没有这个对话")).to_be_visible()
    look("missing")
    assert found == {}, found
    # Switched to English and back, it stays so.
    page.keyboard.press("Control+k")
    page.keyboard.type("English")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="New chat").first).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="New chat").first).to_be_visible()


def test_the_first_load_is_light(house: PageHouse) -> None:
    page = house.open("/favicon.svg", wait=False)
    loaded: dict[str, int] = {}

    def count(response: Any) -> None:
        if response.url.startswith(house.address) and response.status == 200:
            loaded[response.url] = len(gzip.compress(response.body(), 6))

    page.on("response", count)
    page.goto(house.address, wait_until="networkidle")
    expect(page.get_by_role("heading", name="Harbour guide")).to_be_visible()
    total = sum(loaded.values())
    print(f"first load: {total} bytes compressed in {len(loaded)} files")
    assert 20_000 < total < MOST_BYTES, loaded
    assert not any("typeset" in url or "highlight" in url or "admin" in url for url in loaded)
