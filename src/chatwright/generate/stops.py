"""Ending a stream at a stop string, without ever showing a part of one."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes text through until a stop string begins, in whatever pieces the text comes.

    `push` returns what can be shown: text that is not, and cannot become, part of a stop string.
    Once `stopped` is true the rest is dropped. Of several stop strings in the text, the one that
    begins first counts, and of those the one that ends first.

    >>> stops = StopMatcher(["END"])
    >>> stops.push("one E"), stops.push("N"), stops.push("ough END two"), stops.stopped
    ('one ', '', 'ENough ', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._held = ""

    def push(self, text: str) -> str:
        """Add `text`; return what may be shown now."""
        if self.stopped:
            return ""
        if not self.stops:
            return text
        self._held += text
        found = [at for stop in self.stops if (at := self._held.find(stop)) >= 0]
        held_from = self._first_possible_start()
        if found and min(found) <= held_from:
            # Nothing that began earlier can still become a stop string: this one it is.
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        shown, self._held = self._held[:held_from], self._held[held_from:]
        return shown

    def flush(self) -> str:
        """What was held back, when the stream ends and it did not become a stop string.

        A whole stop string can still be in it, where a longer one that began earlier was possible.
        """
        if self.stopped:
            return ""
        found = [at for stop in self.stops if (at := self._held.find(stop)) >= 0]
        shown, self._held = self._held, ""
        if found:
            self.stopped = True
            return shown[: min(found)]
        return shown

    def _first_possible_start(self) -> int:
        """Where in the held text the first unfinished stop string could begin (its end if none)."""
        text = self._held
        longest = max(map(len, self.stops))
        for start in range(max(0, len(text) - longest + 1), len(text)):
            tail = text[start:]
            if any(len(tail) < len(stop) and stop.startswith(tail) for stop in self.stops):
                return start
        return len(text)
