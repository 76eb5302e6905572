"""The arena at a terminal: one full screen, drawn anew by a pure function after every key."""

from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.utils import get_cwidth

from chatwright.cli.arena_booth import Booth

Line = list[tuple[str, str]]

_READABLE = 96  # columns of running text
_NARROW = 76  # columns; under that, answers stand below each other
_BAR, _DIM, _BOLD, _ON = "reverse", "fg:ansibrightblack", "bold", "bold reverse"
_EDGE = "fg:ansicyan"
_LEAST_ROWS = 3
_CLOSING = "，。！？；：、）》」』】”’…"  # no line begins with one of these


def run_screen(booth: Booth) -> None:
    """Judge at a full screen until everything is judged or the judge leaves."""
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.keys import Keys
    from prompt_toolkit.layout import FormattedTextControl, Layout, Window

    keys = KeyBindings()
    names = {"c-m": "enter", "c-j": "enter", "c-i": "tab", "s-tab": "backtab", "c-h": "backspace"}

    @keys.add(Keys.Any)
    def typed(event: KeyPressEvent) -> None:
        for press in event.key_sequence:
            name = press.key.value if isinstance(press.key, Keys) else press.key
            booth.press(names.get(name, name))
        if booth.done:
            event.app.exit()

    @keys.add(Keys.BracketedPaste)
    def pasted(event: KeyPressEvent) -> None:
        if booth.page == "comment":  # a paste is words, never a vote
            booth.draft += " ".join(event.data.split())

    @keys.add("c-c")
    @keys.add("c-d")
    def leave(event: KeyPressEvent) -> None:
        event.app.exit()

    def text() -> StyleAndTextTuples:
        size = app.output.get_size()
        out: StyleAndTextTuples = []
        for number, line in enumerate(draw(booth, size.columns, size.rows)):
            out += [("", "\n")] if number else []
            out += line
        return out

    app: Application[None] = Application(
        layout=Layout(Window(FormattedTextControl(text, focusable=True, show_cursor=False))),
        key_bindings=keys,
        full_screen=True,
    )
    app.timeoutlen = app.ttimeoutlen = 0.05  # Esc alone should not wait for more
    if not booth.done:
        app.run()


def draw(booth: Booth, columns: int, rows: int) -> list[Line]:
    """The whole screen: at most `rows` lines of at most `columns` cells."""
    head = _header(booth, columns)
    if booth.page in ("guidelines", "more"):
        source = booth.more if booth.page == "more" else booth.study.guidelines(booth.language)
        width = min(columns - 4, _READABLE)
        body = [line for text in paragraphs(source) for line in wrap(text, width)]
        room = rows - 3
        booth.page_scroll = min(booth.page_scroll, max(0, len(body) - room))
        shown = body[booth.page_scroll : booth.page_scroll + room]
        lines: list[Line] = [[(_BOLD if t.startswith("#") else "", "  " + t)] for t in shown]
        lines += [[] for _ in range(room - len(lines))]
        return [head, [], *lines, [(_DIM, fit(booth.words["page_keys"], columns))]][:rows]
    if booth.task is None:
        said = f"  {booth.message}" if booth.message else ""
        end: list[Line] = [[(_BOLD, f"  {booth.words['all']}")], [], [(_DIM, fit(said, columns))]]
        return [head, [], *end, [(_DIM, fit(f"  {booth.words['end_keys']}", columns))]][:rows]
    foot = _footer(booth, columns)
    room = max(_LEAST_ROWS, rows - 2 - len(foot))
    asked = _prompt(booth, columns, max(2, room // 3))
    answers = _answers(booth, columns, max(_LEAST_ROWS, room - len(asked) - 1))
    return [head, *asked, [], *answers, *foot][:rows]


def _header(booth: Booth, columns: int) -> Line:
    place = booth.place
    right = booth.words["of"].format(done=place.done, total=place.total) + " "
    left = f" {booth.study.name} · {booth.judge}"
    gap = max(1, columns - get_cwidth(left) - get_cwidth(right))
    return [(_BAR, fit(left + " " * gap + right, columns))]


def _prompt(booth: Booth, columns: int, most: int) -> list[Line]:
    """The conversation, its end in full view where not all of it fits."""
    turns = booth.prompt
    lines: list[Line] = []
    for number, (role, text) in enumerate(turns):
        last = number == len(turns) - 1
        label = booth.words["prompt"] if last else role
        for first, row in enumerate(wrap(f"{label}: {text}", columns - 2)):
            if first == 0 and row.startswith(f"{label}:"):
                rest = row[len(label) + 1 :]
                lines.append([(_DIM, f" {label}:"), (_BOLD if last else _DIM, rest)])
            else:
                lines.append([(_BOLD if last else _DIM, " " + row)])
    if len(lines) > most:
        lines = [[(_DIM, " …")], *lines[len(lines) - most + 1 :]]
    return lines


def _answers(booth: Booth, columns: int, room: int) -> list[Line]:
    """The answers in frames: side by side, or below each other on a narrow screen."""
    found = booth.answers
    stacked = columns < _NARROW or len(found) == 1
    width = columns if stacked else columns // 2
    inner = max(1, width - 4)
    height = max(1, (room // len(found) if stacked else room) - 2)
    wrapped = [[row for part in text.split("\n") for row in wrap(part, inner)] for _, text in found]
    longest = max((len(rows) for rows in wrapped), default=0)
    booth.marks.scroll = min(booth.marks.scroll, max(0, longest - height))
    boxes = [
        _box(head, rows, inner, height, booth.marks.scroll)
        for (head, _), rows in zip(found, wrapped, strict=True)
    ]
    if stacked:
        return [line for box in boxes for line in box]
    return [left + right for left, right in zip(*boxes, strict=True)]


def _box(head: str, rows: list[str], inner: int, height: int, scroll: int) -> list[Line]:
    scroll = min(scroll, max(0, len(rows) - height))  # the shorter answer stops at its end
    shown = rows[scroll : scroll + height]
    more = len(rows) - scroll - height
    title = f" {head} "
    top = "╭─" + title + "─" * max(0, inner - get_cwidth(title) + 1) + "╮"
    note = f" ↓ {more} " if more > 0 else ""
    bottom = "╰" + "─" * max(0, inner + 1 - len(note)) + note + "─╯"
    body: list[Line] = []
    for number in range(height):
        text = shown[number] if number < len(shown) else ""
        pad = " " * max(0, inner - get_cwidth(text))
        body.append([(_EDGE, "│ "), ("", text + pad), (_EDGE, " │")])
    return [[(_EDGE, top)], *body, [(_EDGE, bottom)]]


def _footer(booth: Booth, columns: int) -> list[Line]:
    words = booth.words
    lines: list[Line] = []
    if booth.form == "compare":
        lines.append([(_DIM, fit(f" {words['reasons']}", columns))])
        entries = [(_ON if on else "", f" {n} {label} ") for n, label, on in booth.reason_labels()]
        lines += _flow(entries, columns)
    else:
        for label, score, current in booth.scale_labels():
            row: Line = [
                (_BOLD if current else "", fit(f" {'›' if current else ' '} {label}", columns - 20))
            ]
            row.append(("", " " * max(1, columns - 20 - get_cwidth(row[0][1]))))
            row += [(_ON if score == n else _DIM, f" {n} ") for n in range(1, 6)]
            lines.append(row)
    if booth.page == "comment":
        lines.append(
            [
                (_BOLD, f" {words['comment']}: "),
                ("", fit_end(booth.draft, columns - 14)),
                (_ON, " "),
            ]
        )
        lines.append([(_DIM, fit(" " + words["comment_keys"], columns))])
        return lines
    if booth.marks.comment:
        lines.append([(_DIM, fit(f" {words['comment']}: {booth.marks.comment}", columns))])
    keys = words["vote_keys" if booth.form == "compare" else "rate_keys"].split("   ")
    keys += [words["more_key"]] if booth.more else []
    lines += _flow([(_DIM, f" {key} ") for key in keys], columns)
    lines.append([("fg:ansigreen", fit(f" {booth.message}", columns))])
    return lines


def _flow(entries: list[tuple[str, str]], columns: int) -> list[Line]:
    """Entries one after the other, on as many lines as they need."""
    lines: list[Line] = [[]]
    used = 0
    for style, text in entries:
        width = get_cwidth(text)
        if used and used + width > columns:
            lines.append([])
            used = 0
        lines[-1].append((style, text))
        used += width
    return lines


def paragraphs(markdown: str) -> list[str]:
    """The text's paragraphs, each on one line: the file's own line ends fit no other width."""
    found: list[str] = []
    for line in markdown.replace("**", "").splitlines():
        text = line.strip()
        goes_on = found and found[-1] and not found[-1].startswith("#")
        starts = not text or text[0] in "#-*>|" or text.split(".")[0].isdigit()
        if goes_on and not starts:
            between = "" if get_cwidth(text[0]) > 1 or get_cwidth(found[-1][-1]) > 1 else " "
            found[-1] += between + text
        else:
            found.append(text)
    return found


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells: between words, and anywhere between wide characters."""
    width = max(2, width)
    lines, line, used = [], "", 0
    for word in _words(text.replace("\t", "    ")):
        cells = get_cwidth(word)
        if used + cells > width and line.strip():
            lines.append(line.rstrip())
            line, used = "", 0
            word = word.lstrip()  # noqa: PLW2901 (the space went with the line's end)
            cells = get_cwidth(word)
        while cells > width:  # a word longer than a line
            head = fit(word, width)
            lines.append(head)
            word = word[len(head) :]  # noqa: PLW2901
            cells = get_cwidth(word)
        line += word
        used += cells
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _words(text: str) -> list[str]:
    """Pieces between which a line may end, each with the space before it."""
    pieces: list[str] = []
    current = ""
    for character in text:
        if character in _CLOSING and (current.strip() or pieces):
            if current.strip():
                pieces.append(current)
                current = ""
            pieces[-1] += character
        elif get_cwidth(character) > 1:
            pieces += [current + character] if current.isspace() else [current, character]
            current = ""
        elif character == " " and current.strip():
            pieces.append(current)
            current = character
        else:
            current += character
    return [piece for piece in [*pieces, current] if piece]


def fit(text: str, columns: int) -> str:
    """The beginning of `text` that fits."""
    used = 0
    for number, character in enumerate(text):
        used += get_cwidth(character)
        if used > columns:
            return text[:number]
    return text


def fit_end(text: str, columns: int) -> str:
    """The end of `text` that fits: where somebody is typing."""
    return fit(text[::-1], max(1, columns))[::-1]
