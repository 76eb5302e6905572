"""Stop strings: never shown, not even in part, however the text is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chatwright.generate.stops import StopMatcher

letters = st.text(alphabet="ab停", max_size=30)
stop_lists = st.lists(st.text(alphabet="ab停", min_size=1, max_size=5), max_size=3)


def cut(text: str, stops: list[str]) -> str:
    """What may be shown of `text`, seen as a whole."""
    found = [text.find(stop) for stop in stops if stop in text]
    return text[: min(found)] if found else text


@given(letters, stop_lists, st.lists(st.integers(0, 30)))
def test_pieces_joined_are_the_text_up_to_the_first_stop(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    matcher = StopMatcher(stops)
    edges = [0, *sorted(c for c in cuts if c < len(text)), len(text)]
    shown = ""
    for start, end in pairwise(edges):
        shown += matcher.push(text[start:end])
        # Whatever comes next, what was shown stays right: it holds no stop string …
        assert cut(shown, stops) == shown
        # … and nothing that may still become one is in it.
        assert all(cut(text[:end] + more, stops).startswith(shown) for more in ("", *stops, "a"))
    shown += matcher.flush()
    assert shown == cut(text, stops)
    assert matcher.stopped == any(stop in text for stop in stops)


@given(letters, stop_lists.filter(bool))
def test_no_more_is_held_back_than_could_become_a_stop(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = ""
    for character in text:
        shown += matcher.push(character)
    if not matcher.stopped:
        assert len(text) - len(shown) < max(map(len, stops))


def test_without_stops_all_passes_at_once() -> None:
    matcher = StopMatcher([])
    assert [matcher.push(p) for p in ("ab", "", "c")] == ["ab", "", "c"]
    assert matcher.flush() == ""
    assert not matcher.stopped


def test_after_the_stop_nothing_more() -> None:
    matcher = StopMatcher(["\n\n"])
    assert matcher.push("one\n") == "one"
    assert matcher.push("\ntwo") == ""
    assert matcher.stopped
    assert matcher.push("three") == ""
    assert matcher.flush() == ""


def test_an_earlier_longer_stop_wins_over_a_later_short_one() -> None:
    matcher = StopMatcher(["abcd", "c"])
    assert matcher.push("xabc") == "x"  # "c" is there, but "abcd" would begin before it
    assert not matcher.stopped
    assert matcher.push("d") == ""
    assert matcher.stopped
    matcher = StopMatcher(["abcd", "c"])
    assert matcher.push("xabc") + matcher.push("e") == "xab"
    assert matcher.stopped
