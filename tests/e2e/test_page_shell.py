"""The page around the chat, in a real browser: accounts, history, settings, administration."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hatch_build
import pyotp
import pytest

from chat_server import ScriptedEngine, build_corpus, running, scripted
from chatwright.serve import create_app
from chatwright.serve.accounts.setup import make_setup_token
from chatwright.serve.service import ServeOptions
from chatwright.serve.store import open_store

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PASSWORD = "correct horse battery"
AXE = hatch_build.WEB / "node_modules" / "axe-core" / "axe.min.js"


@dataclass
class Place:
    """A server with one administrator, and the browser's state of being signed in as her."""

    address: str
    signed_in: Any
    open: Callable[..., Any]
    problems: list[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here (Debian's package of that name)")
    hatch_build.build_page()
    folder = tmp_path_factory.mktemp("shell")
    registry, _ = scripted(ScriptedEngine(lambda _: "Three hours [1]."), build_corpus(folder))
    store = open_store(None, folder=folder, master=b"k" * 32)
    options = ServeOptions(accounts=True, sign_up="invitation", cheap_passwords=True)
    token = make_setup_token(store)
    app = create_app(registry, store=store, options=options)
    problems: list[str] = []
    with running(app) as address, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        contexts: list[Any] = []

        def open_page(path: str, signed_in: Any = None, **more: Any) -> Any:
            asked = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}} | more
            context = browser.new_context(storage_state=signed_in, **asked)
            contexts.append(context)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "request",
                lambda r: None if r.url.startswith((address, "blob:")) else problems.append(r.url),
            )
            page.on(
                "console",
                lambda m: problems.append(m.text) if "Content Security" in m.text else None,
            )
            page.goto(address + path)
            return page

        page = open_page(f"/setup#{token}")
        page.get_by_label("Name").fill("Mei Lindqvist")
        page.get_by_label("Email").fill("mei@harbour.example")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Begin").click()
        for question in ("When is spring tide?", "\u4ec0\u4e48\u662f\u5927\u6f6e"):
            expect(page.get_by_role("heading", name="Harbour guide")).to_be_visible()
            page.get_by_role("textbox").fill(question)
            page.keyboard.press("Enter")
            expect(page.locator("article.answer")).to_contain_text("Three hours")
            expect(page).to_have_url(re.compile("/c/cnv_"))
            page.get_by_role("link", name="New chat").first.click()
        expect(page.get_by_role("heading", name="Harbour guide")).to_be_visible()
        yield Place(address, page.context.storage_state(), open_page, problems)
        for context in contexts:
            context.close()
        browser.close()


@pytest.fixture(autouse=True)
def no_problems(place: Place) -> Iterator[None]:
    yield
    assert place.problems == []


def account(page: Any, item: str) -> None:
    page.get_by_role("button", name="Account Mei").click()
    page.get_by_role("menuitem", name=item).click()


def test_the_sidebar_orders_chats_by_keyboard_and_mouse(place: Place) -> None:
    page = place.open("/", place.signed_in)
    rows = page.locator(".chat-link")
    expect(rows).to_have_count(2)
    rows.first.focus()
    page.keyboard.press("F2")
    page.keyboard.type("<img src=x onerror=alert(1)>")
    page.keyboard.press("Enter")
    expect(rows.first).to_have_text("<img src=x onerror=alert(1)>")
    expect(rows.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()

    page.get_by_role("button", name="More about chats").click()
    page.get_by_role("menuitem", name="New folder").click()
    page.keyboard.type("Harbour")
    page.keyboard.press("Enter")
    folder = page.get_by_role("button", name="Harbour", exact=True)
    rows.first.drag_to(folder)
    expect(page.locator(".folder-chats .chat-link")).to_have_count(1)

    def act(item: str) -> None:
        page.locator(".loose .chat-row").first.hover()
        page.locator(".loose .row-more").first.click()
        page.get_by_role("menuitem", name=item, exact=True).click()

    act("Delete")
    expect(page.locator(".loose .chat-link")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".loose .chat-link")).to_have_count(1)
    act("Pin")
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    act("Tags")
    page.get_by_label("New tag").fill("physics")
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox", name="physics")).to_be_checked()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Only chats tagged").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Only chats tagged").click()
    act("Archive")
    page.get_by_role("button", name="More about chats").click()
    page.get_by_role("menuitem", name="Show archived chats").click()
    expect(page.locator(".loose .chat-link")).to_have_count(1)
    act("Put back")
    page.reload()  # and the server knows it all
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    expect(folder).to_be_visible()


def test_search_by_keyboard(place: Place) -> None:
    page = place.open("/", place.signed_in)
    page.get_by_role("textbox").fill("half a thought")
    page.keyboard.press("Control+k")
    page.keyboard.type("\u5927\u6f6e")
    found = page.get_by_role("option").filter(has=page.locator(".palette-detail"))
    expect(found.first.locator("mark").first).to_have_text("\u5927\u6f6e")
    page.keyboard.press("Escape")
    expect(page.get_by_role("textbox")).to_be_focused()
    expect(page.get_by_role("textbox")).to_have_value("half a thought")
    page.keyboard.press("Control+k")
    page.keyboard.type("knowl")
    page.keyboard.press("Enter")
    expect(page).to_have_url(place.address + "/knowledge")
    page.get_by_role("link", name="Back to the chats").click()
    expect(page.get_by_role("textbox")).to_have_value("half a thought")


def test_share_revoke_export_and_import(place: Place, tmp_path: Path) -> None:
    page = place.open("/", place.signed_in)
    page.locator(".chat-link").last.click()
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    reader = place.open(link.removeprefix(place.address), viewport={"width": 390, "height": 844})
    expect(reader.locator("main")).to_contain_text("Three hours")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog", name="Revoke this link?").get_by_role(
        "button", name="Revoke"
    ).click()
    expect(page.get_by_text("This chat is not shared.")).to_be_visible()
    reader.reload()
    expect(reader.get_by_role("heading", name="This link does not work")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Actions for").last.click()
    page.get_by_role("menuitem", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    download.value.save_as(tmp_path / "chat.json")
    page.get_by_role("button", name="More about chats").click()
    page.get_by_role("menuitem", name="Import chats").click()
    page.locator("dialog input[type=file]").set_input_files(tmp_path / "chat.json")
    expect(page.get_by_text("1 chat imported")).to_be_visible()


def test_settings_keys_second_factor_and_an_ended_session(place: Place) -> None:
    page = place.open("/settings/keys", place.signed_in)
    page.get_by_role("button", name="New key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("notebook")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_label("Key", exact=True)).to_have_value(re.compile(".{20}"))
    page.get_by_role("button", name="I have copied it").click()
    page.get_by_role("link", name="Memory").click()
    page.get_by_label("Add a note").fill("Likes tides")
    page.keyboard.press("Enter")
    expect(page.locator(".row-main").filter(has_text="Likes tides")).to_be_visible()
    page.get_by_role("link", name="Data").click()
    expect(page.get_by_role("switch", name="Let my chats be used")).not_to_be_checked()

    page.get_by_role("link", name="Security").click()
    page.get_by_role("button", name="Set up").click()
    expect(page.locator(".qr path")).to_be_visible()
    secret = page.locator(".secret").inner_text().replace(" ", "")
    page.get_by_label("Code", exact=True).fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Turn on").click()
    code = page.locator(".recovery li").first.inner_text()
    page.get_by_role("button", name="I have kept them").click()
    expect(page.get_by_role("button", name="Turn off")).to_be_visible()

    # Another browser: a wrong password, then the second factor.
    other = place.open("/sign-in")
    other.get_by_label("Email").fill("mei@harbour.example")
    other.get_by_label("Password").fill("wrong")
    other.keyboard.press("Enter")
    expect(other.get_by_role("alert")).to_have_text("Email or password is wrong.")
    other.get_by_label("Password").fill(PASSWORD)
    other.keyboard.press("Enter")
    other.get_by_label("Code").fill(code)
    other.keyboard.press("Enter")
    expect(other.get_by_role("button", name="Account Mei")).to_be_visible()

    # Its session ends under its hands: what was typed stays.
    other.get_by_role("textbox").fill("not lost")
    page.reload()
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_text("That device is signed out.")).to_be_visible()
    other.locator(".chat-link").first.click()
    expect(other.get_by_role("dialog", name="Sign in again")).to_be_visible()
    page.get_by_role("button", name="Turn off").click()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("dialog").get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("The second factor is off.")).to_be_visible()
    other.get_by_label("Password").fill(PASSWORD)
    other.keyboard.press("Enter")
    expect(other.get_by_role("dialog")).to_be_hidden()


def test_somebody_invited_is_no_administrator(place: Place) -> None:
    page = place.open("/admin/people", place.signed_in)
    page.get_by_role("button", name="Invite").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    guest = place.open(link.removeprefix(place.address), locale="zh-CN")
    guest.get_by_label("\u59d3\u540d").fill("\u738b\u82b3")
    guest.get_by_label("\u90ae\u7bb1").fill("fang@harbour.example")
    guest.get_by_label("\u5bc6\u7801").fill(PASSWORD)
    guest.get_by_role("button", name="\u5f00\u59cb\u4f7f\u7528").click()
    expect(guest.get_by_text("\u8fd8\u6ca1\u6709\u5bf9\u8bdd")).to_be_visible()
    guest.goto(place.address + "/admin/audit")
    forbidden = guest.get_by_role("heading", level=1)
    expect(forbidden).to_contain_text("\u53ea\u6709\u7ba1\u7406\u5458")
    page.reload()
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text(re.compile("Account|Signed"))


def test_the_server_goes_away_and_comes_back(place: Place) -> None:
    page = place.open("/", place.signed_in)
    page.get_by_role("textbox").fill("typed while away")
    page.context.set_offline(True)
    expect(page.get_by_text("This device is offline.")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("Connected again.")).to_be_visible(timeout=10_000)
    expect(page.get_by_role("textbox")).to_have_value("typed while away")


def test_on_a_phone_the_sidebar_is_a_drawer(place: Place) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = place.open("/", place.signed_in, **phone)
    page.get_by_role("button", name="Open the sidebar").tap()
    drawer = page.get_by_role("dialog", name="Chats and folders")
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    for path in ("/", "/settings/keys", "/admin/people", "/admin/server", "/knowledge"):
        page.goto(place.address + path)
        expect(page.locator("main:visible")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(place: Place, width: int, theme: str) -> None:
    size = {"width": width, "height": 900}
    page = place.open("/", place.signed_in, viewport=size, color_scheme=theme)
    script = AXE.read_text(encoding="utf-8")
    views = ["/", "/settings/general", "/settings/data", "/settings/security", "/admin/people"]
    found: list[str] = []
    for path in [*views, "/admin/usage", "/admin/audit", "/admin/server", "/knowledge", "palette"]:
        if path == "palette":
            page.keyboard.press("Control+k")
            page.wait_for_timeout(300)  # it fades in
        else:
            page.goto(place.address + path)
            expect(page.locator("h1:visible")).to_have_count(1)
            expect(page.locator(".waiting:visible")).to_have_count(0)
        page.evaluate(script)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            f"{path}: {rule['id']} {[node['html'][:120] for node in rule['nodes'][:3]]}"
            for rule in result["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
    assert found == []
