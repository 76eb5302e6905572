"""The arena's page in a real browser: people judge a real study over a real server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hatch_build
import pytest

from arena_house import ANSWERS, LABELS, PROMPTS, arena_app, make_study
from chat_server import running, until
from chatwright.evaluate.arena import Study

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
Opener = Callable[..., Any]


@pytest.fixture(scope="module")  # Playwright keeps an event loop running while it lives
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here (Debian's package of that name)")
    hatch_build.build_page()
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path, forms=("compare", "rate"))


@pytest.fixture
def address(tmp_path: Path, study: Study) -> Iterator[str]:
    with running(arena_app(tmp_path)) as url:
        yield url


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Opener]:
    """Opens pages in contexts of their own, and fails the test when one of them misbehaves:
    a script's error, a request to elsewhere, or a model's name in what was sent for judging."""
    contexts: list[Any] = []
    problems: list[str] = []

    def check(response: Any) -> None:
        if "/arena/" not in response.url or response.url.endswith("/results"):
            return
        try:
            text = response.text()
        except sync_api.Error:  # the page has gone on meanwhile
            return
        problems.extend(f"{label} in {response.url}" for label in LABELS if label in text)

    def open_page(path: str = "/arena", **options: Any) -> Any:
        options = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith(address) else problems.append(r.url),
        )
        page.on(
            "console",
            lambda m: problems.append(m.text) if "Content Security Policy" in m.text else None,
        )
        page.on("response", check)
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def begin(page: Any) -> None:
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Start: harbour, Side by side").click()
    close = page.get_by_role("dialog").get_by_role("button", name="Start judging")
    close.click()
    expect(prompt(page)).to_be_visible()
    expect(page.locator(".bar[aria-busy=true]")).to_have_count(0)


def prompt(page: Any) -> Any:
    return page.locator(".prompt > .question")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def confirmed(page: Any, study: Study, votes: int) -> None:
    until(lambda: len(study.votes()) + len(study.ratings()) == votes)
    expect(page.locator(".bar[aria-busy=true]")).to_have_count(0)


def test_a_whole_study_by_keyboard_alone(opened: Opener, study: Study) -> None:
    page = opened()
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("Ada")
    expect(page.get_by_role("button", name="Start: harbour, Side by side")).to_be_visible()
    press(page, "Tab", "Tab", "Enter")  # past "Results"
    expect(page.get_by_role("dialog", name="Guidelines")).to_contain_text("How to judge")
    press(page, "Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("region", name="Answer A")).to_be_visible()

    press(page, "Enter")  # nothing chosen: nothing happens, and it is said
    expect(page.get_by_role("status")).to_contain_text("Choose one first")
    press(page, "1")  # no side, no reason
    expect(page.get_by_role("button", name="More correct")).to_be_disabled()
    press(page, "ArrowLeft", "1", "5", "5", "9", "c")  # all before the page draws again
    page.keyboard.type("It is s b u t.")  # letters are letters here
    press(page, "Enter")
    confirmed(page, study, 1)
    [first] = study.votes()
    assert (first.choice, first.reasons, first.comment) == (
        "left", ("correct", "grounded"), "It is s b u t.",
    )  # fmt: skip
    assert first.seconds is not None and 0 < first.seconds < 60
    expect(page.get_by_role("status")).to_contain_text("Number 2 of 4.")
    expect(page.locator("main")).to_be_focused()

    press(page, "ArrowRight", "2", "t", "Enter")  # changed one's mind: a tie has no reason
    confirmed(page, study, 2)
    press(page, "b", "Enter")
    confirmed(page, study, 3)
    press(page, "s")
    expect(page.get_by_role("heading", name="Thank you, Ada.")).to_be_visible()
    assert [(v.choice, v.reasons) for v in study.votes()][1:] == [
        ("tie", ()), ("both_bad", ()), ("skip", ()),
    ]  # fmt: skip
    expect(page.locator(".tally")).to_have_text(re.compile(r"3\s*Judged\s*1\s*Skipped"))

    page.get_by_role("button", name="Go on to the scores").focus()
    press(page, "Enter")
    expect(page.get_by_role("form", name="Your scores")).to_be_visible()
    for done in range(1, 9):
        scales = page.locator("fieldset")
        count = scales.count()
        press(page, *"43215"[:count], "Enter")
        confirmed(page, study, 4 + done)
        said = study.ratings()[-1].scores
        order = ("helpful", "honest", "harmless", "fluent", "grounded")
        assert [said[scale] for scale in order[:count]] == [4, 3, 2, 1, 5][:count]
        assert ("grounded" in said) == (count == 5)
    expect(page.get_by_role("heading", name="Thank you, Ada.")).to_be_visible()
    # The other one is offered, and what is done stays done.
    page.get_by_role("button", name="Go on to side by side").click()
    expect(page.locator(".tally")).to_have_text(re.compile(r"3\s*Judged"))


def test_answers_are_text_and_never_live(opened: Opener, study: Study) -> None:
    page = opened()
    begin(page)
    for _ in PROMPTS:
        if prompt(page).text_content() == PROMPTS[3]:
            break
        before = prompt(page).text_content()
        press(page, "s")
        expect(prompt(page)).not_to_have_text(before)
    cards = page.locator(".pair")
    expect(cards).to_contain_text("<script>window.pwned = 1</script>")
    expect(cards).to_contain_text("right to left and a bell")
    assert page.evaluate("window.pwned") is None
    assert cards.locator("img, script, iframe").count() == 0
    hrefs = cards.locator("a").evaluate_all("links => links.map(a => a.href)")
    assert hrefs == ["https://evil.example/x.png"]  # a link, which nobody has followed
    assert not [label for label in LABELS if label in page.content()]


def test_two_judges_see_it_each_in_their_own_way(opened: Opener, study: Study) -> None:
    ada, lin = opened(), opened(locale="zh-CN")
    begin(ada)
    lin.get_by_label("你的名字").fill("小林")
    lin.get_by_role("button", name="开始: harbour, 并排比较").click()
    expect(lin.get_by_role("dialog", name="评判说明")).to_contain_text("正确先于好看")
    lin.get_by_role("button", name="开始评判").click()
    expect(prompt(lin)).to_be_visible()
    for round_number in range(1, 5):
        press(ada, "ArrowLeft", "Enter")
        press(lin, "ArrowRight", "1", "Enter")
        confirmed(ada, study, 2 * round_number)
        confirmed(lin, study, 2 * round_number)
    expect(ada.get_by_role("heading", name="Thank you, Ada.")).to_be_visible()
    expect(lin.get_by_role("heading", name="谢谢你，小林。")).to_be_visible()
    votes = study.votes()
    assert {v.judge: sum(w.judge == v.judge for w in votes) for v in votes} == {"Ada": 4, "小林": 4}
    assert {v.choice for v in votes if v.judge == "小林"} == {"right"}
    # Sides are balanced for each: who always says "left" has said each model twice.
    for judge in ("Ada", "小林"):
        winners = [v.winner for v in votes if v.judge == judge]
        assert sorted(winners) == sorted([*LABELS, *LABELS])  # type: ignore[type-var]


def test_undo_and_a_reload_in_the_middle(opened: Opener, study: Study) -> None:
    page = opened()
    begin(page)
    first = prompt(page).text_content()
    press(page, "ArrowRight", "3", "Enter")
    confirmed(page, study, 1)
    expect(prompt(page)).not_to_have_text(first)
    second = prompt(page).text_content()
    left = page.locator(".card").first.text_content()
    press(page, "ArrowLeft", "2")
    chosen = page.get_by_role("button", name="A is better")
    expect(chosen).to_have_attribute("aria-pressed", "true")
    reason = page.get_by_role("button", name="More complete")
    expect(reason).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(prompt(page)).to_have_text(second)
    expect(page.locator(".card").first).to_have_text(left)
    expect(chosen).to_have_attribute("aria-pressed", "true")
    expect(reason).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "1")
    assert len(study.votes()) == 1

    press(page, "u")
    expect(prompt(page)).to_have_text(first)
    expect(page.get_by_role("button", name="B is better")).to_have_attribute("aria-pressed", "true")
    assert study.votes() == []
    press(page, "t", "Enter")
    confirmed(page, study, 1)
    assert study.votes()[0].choice == "tie"
    expect(prompt(page)).to_have_text(second)
    page.get_by_role("button", name="Undo").click()
    expect(prompt(page)).to_have_text(first)
    press(page, "u")
    expect(page.get_by_role("status")).to_contain_text("nothing to take back")


def test_the_mouse_does_it_too_and_nothing_jumps(opened: Opener, study: Study) -> None:
    page = opened()
    begin(page)
    places = set()
    for done in range(1, 5):
        choice = page.get_by_role("button", name="B is better")
        box = choice.bounding_box()
        places.add((box["x"], box["y"], box["width"], box["height"]))
        choice.click()
        page.get_by_role("button", name="Clearer").click()
        if done % 2:
            page.get_by_role("button", name="Confirm").click()
        else:
            press(page, "Enter")  # the click has not taken the keyboard away
        confirmed(page, study, done)
    assert len(places) == 1
    assert [(v.choice, v.reasons) for v in study.votes()] == [("right", ("clear",))] * 4


def test_what_goes_wrong_is_said_and_mended(opened: Opener, study: Study, tmp_path: Path) -> None:
    page = opened()
    begin(page)
    page.context.set_offline(True)
    press(page, "ArrowLeft", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("connection to the server was lost")
    expect(page.get_by_role("button", name="A is better")).to_have_attribute("aria-pressed", "true")
    page.context.set_offline(False)
    press(page, "Enter")
    confirmed(page, study, 1)
    expect(page.get_by_role("alert")).to_have_count(0)

    other = page.context.new_page()  # the same judge in a second window
    other.goto(page.url)
    expect(prompt(other)).to_have_text(prompt(page).text_content())
    press(other, "t", "Enter")
    confirmed(other, study, 2)
    press(page, "b", "Enter")
    expect(page.get_by_role("status")).to_contain_text("judged in another window")
    expect(prompt(page)).to_have_text(prompt(other).text_content())
    assert [v.choice for v in study.votes()] == ["left", "tie"]

    study.close()
    shutil.move(study.path, tmp_path / "away")
    press(page, "ArrowLeft", "Enter")
    expect(page.get_by_role("heading", name="This study is no longer here.")).to_be_visible()
    page.get_by_role("main").get_by_role("button", name="All studies").click()
    expect(page.get_by_text("There is no study yet.")).to_be_visible()
    shutil.move(tmp_path / "away", study.path)
    page.go_back()
    expect(prompt(page)).to_be_visible()


def test_results_unblind_only_when_asked(opened: Opener, study: Study) -> None:
    for judge in ("Ada", "Grace"):
        while shown := study.next_comparison(judge):
            good = shown.left in ANSWERS["zebra-base"]
            study.vote(judge, shown.id, "left" if good else "right", reasons=["correct"])
        while task := study.next_rating(judge):
            study.rate(judge, task.id, {"helpful": 4, "fluent": 3 + (judge == "Ada")})
    page = opened()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.get_by_role("button", name="Results").click()
    expect(page.get_by_text("no longer judges blindly")).to_be_visible()
    assert not [url for url in asked if url.endswith("/results")]
    assert not [label for label in LABELS if label in page.content()]
    page.get_by_role("button", name="Show the results").click()
    people = page.get_by_role("region", name="What people said")
    ratings = people.get_by_role("table").first
    expect(ratings.get_by_role("rowheader")).to_have_text(["zebra-base", "okapi-tuned"])
    expect(people.locator(".matrix")).to_contain_text("100 %")
    expect(people).to_contain_text("The left answer won 4 of 8 decisions")
    expect(people).to_contain_text("Ada · Grace")
    expect(people.locator(".forest-plot circle").first).to_be_visible()
    expect(page.get_by_role("region", name="What model judges said")).to_have_count(0)
    page.reload()  # a link that somebody follows warns again
    expect(page.get_by_text("no longer judges blindly")).to_be_visible()


def test_on_a_phone(opened: Opener, study: Study) -> None:
    page = opened(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    begin(page)
    cards = page.locator(".card")
    first, second = cards.nth(0).bounding_box(), cards.nth(1).bounding_box()
    assert first["x"] >= 0 and first["x"] + first["width"] < 390  # whole, and beside it
    assert second["x"] < 390 < second["x"] + second["width"]  # a part of the other one
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("A is better", "Tie", "Both bad", "B is better", "Confirm", "Skip", "Undo"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["height"] >= 36 and box["x"] >= 0 and box["x"] + box["width"] <= 390, name
    page.get_by_role("button", name="B is better").tap()
    page.get_by_role("button", name="Confirm").tap()
    confirmed(page, study, 1)
    assert study.votes()[0].choice == "right"


def test_the_chat_page_leads_there_and_a_link_asks_for_a_name(opened: Opener) -> None:
    page = opened("/")
    page.get_by_role("button", name="Account This machine").click()
    page.get_by_role("menuitem", name="Judge answers").click()
    expect(page.get_by_role("heading", name="Which answer is better?")).to_be_visible()
    start = page.get_by_role("button", name="Start: harbour, Scores")
    start.click()
    expect(page.get_by_role("alert")).to_have_text("Give your name first.")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.goto(page.url + "?study=harbour&form=rate")
    expect(page.get_by_label("Your name")).to_be_visible()
    page.get_by_label("Your name").fill("model:tiny")
    expect(page.get_by_text("are for models that judge")).to_be_visible()
    page.get_by_label("Your name").fill("Bea")
    start.click()
    page.get_by_role("button", name="Start judging").click()
    expect(page.get_by_role("form", name="Your scores")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    press(page, "?")
    expect(page.get_by_role("dialog", name="Guidelines")).to_contain_text("How to judge")
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    press(page, "2", "0", "4")  # taken back on the next scale only: 0 clears where one is
    expect(page.get_by_role("radio", name="2 of 5").first).to_be_checked()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("input:checked")).to_have_count(0)
