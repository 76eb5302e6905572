"""The chat page in headless Chromium: how much it loads, and how soon there is something to see.

    script/bench page [--runs 5]

The server and the browser run on this machine. Sizes are of what the browser really asked for,
compressed with gzip as a proxy would (the server sends it plain). Each run has a new browser
profile, so nothing is cached. "Ready" is when the question can be typed. Needs
`script/bootstrap --e2e`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import socket
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

from _machine import ROOT, machine, must, report

sys.path.insert(0, str(ROOT))

MOST_KIB = 200
MOST_MS = 1000
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PAINT = """() => new Promise(done => new PerformanceObserver(list => {
  const found = list.getEntriesByName("first-contentful-paint")[0];
  if (found) done(found.startTime);
}).observe({type: "paint", buffered: true}))"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium here: script/bootstrap --e2e")
    import hatch_build
    from playwright.sync_api import sync_playwright

    hatch_build.build_page()
    about = machine()
    address, stop = serve()
    paints: list[float] = []
    ready: list[float] = []
    sizes: dict[str, int] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        visit(browser, address)  # the first one pays for reading Chromium from the disk
        for _ in range(asked.runs):
            paint, typed, sizes = visit(browser, address)
            paints.append(paint)
            ready.append(typed)
        browser.close()
    stop()
    kinds = {
        kind: sum(size for name, size in sizes.items() if name.endswith(kind))
        for kind in (".js", ".css")
    }
    total = sum(sizes.values())
    print(f"first load: {total / 1024:.1f} KiB compressed in {len(sizes)} files {kinds}")
    print(f"first contentful paint: {sorted(round(one) for one in paints)} ms")
    print(f"ready for a question: {sorted(round(one) for one in ready)} ms")
    figures = {
        "first_load_bytes": total,
        "files": len(sizes),
        "script_bytes": kinds[".js"],
        "style_bytes": kinds[".css"],
        "first_contentful_paint_ms": round(statistics.median(paints)),
        "ready_ms": round(statistics.median(ready)),
        "runs": asked.runs,
    }
    musts = [
        must("KiB of the first load, compressed", round(total / 1024, 1), f"<= {MOST_KIB}"),
        must(
            "ms to the first contentful paint, median",
            figures["first_contentful_paint_ms"],
            f"<= {MOST_MS}",
        ),
    ]
    report("page", about, figures, {}, musts)
    return 0


def visit(browser: Any, address: str) -> tuple[float, float, dict[str, int]]:
    """(ms to the first contentful paint, ms until a question can be typed, bytes of each file)."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108
    began = time.perf_counter()
    page.goto(address)
    page.locator(".composer textarea").wait_for()
    page.locator(".examples").wait_for()
    typed = (time.perf_counter() - began) * 1000
    paint = page.evaluate(PAINT)
    page.wait_for_load_state("networkidle")
    sizes = {one.url: len(gzip.compress(one.body(), 6)) for one in answers if one.status == 200}
    context.close()
    return paint, typed, sizes


def serve() -> tuple[str, Any]:
    """A server with one assistant that is never asked; its address, and what stops it."""
    import uvicorn

    from chatwright.serve import Registry, Served, create_app

    def load(_: str) -> Any:
        raise RuntimeError("nothing is asked here")

    served = Served(
        name="guide",
        kind="assistant",
        title="Guide",
        description="Answers questions.",
        examples=("What is there?", "Where is it?"),
        knowledge=Path("nowhere"),
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(Registry(lambda: [served], load)), log_level="error")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join(20)

    return f"http://127.0.0.1:{listening.getsockname()[1]}", stop


if __name__ == "__main__":
    sys.exit(main())
