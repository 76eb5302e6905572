"""Takes `chat.png`, the picture of the chat page in the README, from a running server.

    chatwright serve quickstart
    python docs/images/make_chat_picture.py http://127.0.0.1:8000 "How do I commit a session?"

Needs Playwright for Python and a Chromium. With `--drawer` the first source is open.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    """Ask the questions, wait for the answers, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("chat.png"))
    parser.add_argument("--drawer", action="store_true")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=FLAGS
        )
        page = browser.new_page(
            viewport={"width": asked.width, "height": asked.height},
            color_scheme="dark" if asked.dark else "light",
            locale="en-GB",
        )
        page.goto(asked.address)
        page.get_by_role("heading").first.wait_for()
        for count, question in enumerate(asked.questions, start=1):
            page.get_by_role("textbox").fill(question)
            page.keyboard.press("Enter")
            written = page.locator('article.answer[aria-busy="false"]')
            written.nth(count - 1).wait_for(timeout=300_000)
        if asked.drawer:
            page.locator(".sources button").first.click()
            page.locator(".steps").wait_for()
        page.wait_for_timeout(400)
        page.screenshot(path=asked.out)
        browser.close()
    print(f"{asked.out}: {asked.out.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
