"""The report's pictures: inline SVG that follows the page's colours and never asks the network."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn in these colours, which stand nowhere else, and then given the page's own, so that one
# picture serves light, dark and paper.
_INK, _FAINT, _GRID, _FIRST, _SECOND = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_VARIABLES = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--line)",
    _FIRST: "var(--first)",
    _SECOND: "var(--second)",
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: selectable, and Chinese in the reader's own font
    "svg.hashsalt": "chatwright",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _FAINT,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A value in 0…1 with its interval, for `interval_chart`."""

    value: float
    low: float
    high: float


def bar_chart(counts: Sequence[tuple[str, int]], name: str, label: str) -> str:
    """Horizontal bars with their numbers, the first at the top. `name` keeps ids apart."""
    with _figure(7.2, 0.5 + 0.32 * max(1, len(counts))) as (figure, axes):
        names = [_shorten(text, 34) for text, _ in counts]
        values = [value for _, value in counts]
        places = list(range(len(counts)))
        axes.barh(places, values, color=_FIRST, height=0.62)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xticks([])
        top = max(values, default=1) or 1
        axes.set_xlim(0, top * 1.14)
        for place, value in zip(places, values, strict=True):
            axes.text(value + top * 0.012, place, f"{value:,}", va="center", color=_INK)
        return _svg(figure, name, label)


def loss_chart(
    points: Sequence[tuple[float, float]],
    name: str,
    label: str,
    *,
    held_out: Sequence[tuple[float, float]] = (),
    unit: str = "nats per token",
) -> str:
    """Loss over steps: every point faint, and a running mean over a fiftieth of them.

    `held_out` is the loss on data that is not trained on, measured now and then. Where the first
    steps lose several times as much as all later ones, the axis ends above what nearly all lose.
    """
    with _figure(7.2, 2.9) as (figure, axes):
        steps = [step for step, _ in points]
        losses = [loss for _, loss in points]
        axes.plot(steps, losses, color=_FIRST, alpha=0.28, linewidth=1)
        mean = _running_mean(losses, max(1, len(losses) // 50))
        axes.plot(steps, mean, color=_FIRST, lw=1.8, label="training")
        if held_out:
            style: Any = {"color": _SECOND, "lw": 1.2, "marker": "o", "markersize": 3.5}
            axes.plot(*zip(*held_out, strict=True), **style, label="held out")
            axes.legend(loc="upper right", ncols=2)
        shown = sorted([*losses, *(loss for _, loss in held_out)])
        usual = shown[(len(shown) - 1) * 19 // 20]
        if shown[0] >= 0 and shown[-1] > 3 * usual > 0:
            axes.set_ylim(0.9 * shown[0], 1.2 * usual)
        axes.set_xlabel("step")
        axes.set_ylabel(f"loss ({unit})" if unit else "loss")
        axes.margins(x=0.01)
        return _svg(figure, name, label)


def interval_chart(
    rows: Sequence[tuple[str, Mapping[str, Interval]]], models: Sequence[str], name: str, label: str
) -> str:
    """For each metric, each model's value as a dot on its interval, 0–100 %."""
    with _figure(7.2, 0.9 + 0.5 * max(1, len(rows))) as (figure, axes):
        colours = [_SECOND, _FIRST, _FAINT]
        step = 0.34 / max(1, len(models) - 1) if len(models) > 1 else 0
        for index, model in enumerate(models):
            offset = (index - (len(models) - 1) / 2) * step
            found = [(y, cells[model]) for y, (_, cells) in enumerate(rows) if model in cells]
            colour = colours[index % len(colours)]
            heights = [y + offset for y, _ in found]
            lows, highs = [100 * i.low for _, i in found], [100 * i.high for _, i in found]
            axes.hlines(heights, lows, highs, color=colour, linewidth=2.2, alpha=0.55)
            values = [100 * i.value for _, i in found]
            marker = "os^D"[index % 4]
            shown = _shorten(model, 24)
            axes.plot(values, heights, marker, color=colour, markersize=6, label=shown)
        axes.set_yticks(range(len(rows)), [_shorten(text, 30) for text, _ in rows])
        axes.invert_yaxis()
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("per cent, with 95 % intervals")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(3, len(models)))
        return _svg(figure, name, label)


def reliability_chart(
    bins: Sequence[tuple[float, float, float, float, int]], label: str, index: int = 0
) -> str:
    """Accuracy over confidence, both 0 … 1: (confidence, accuracy, low, high, items) of each bin.

    On the diagonal a model is as often right as it is sure. A dot's area shows its items. Drawn
    by hand and small, so that several stand side by side and a phone shows them one below another.
    """
    from html import escape

    size, left, top = 200.0, 34.0, 8.0

    def x(value: float) -> float:
        return round(left + size * value, 1)

    def y(value: float) -> float:
        return round(top + size * (1 - value), 1)

    parts = []
    for tick in (0.0, 0.5, 1.0):
        parts.append(
            f'<path class="grid" d="M{x(0)} {y(tick)}H{x(1)}M{x(tick)} {y(0)}V{y(1)}"/>'
            f'<text class="tick end" x="{left - 6:g}" y="{y(tick) + 4:g}">{100 * tick:g}</text>'
            f'<text class="tick mid" x="{x(tick)}" y="{y(0) + 16:g}">{100 * tick:g}</text>'
        )
    parts.append(f'<path class="even" d="M{x(0)} {y(0)}L{x(1)} {y(1)}"/>')
    line = " ".join(f"{x(confidence)},{y(accuracy)}" for confidence, accuracy, *_ in bins)
    parts.append(f'<polyline class="line" points="{line}"/>')
    most = max((count for *_, count in bins), default=1)
    for confidence, accuracy, low, high, count in bins:
        radius = 2.5 + 6 * (count / most) ** 0.5
        parts.append(
            f'<path class="range" d="M{x(confidence)} {y(low)}V{y(high)}"/>'
            f'<circle cx="{x(confidence)}" cy="{y(accuracy)}" r="{radius:.1f}"><title>'
            f"{count:,} items: {100 * confidence:.0f} % sure, {100 * accuracy:.0f} % right"
            "</title></circle>"
        )
    parts.append(
        f'<text class="axis mid" x="{x(0.5)}" y="{y(0) + 33:g}">how sure (%)</text>'
        f'<text class="axis mid" transform="translate(10 {y(0.5)}) rotate(-90)">right (%)</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="reliability m{index % 4}" '
        f'viewBox="0 0 {left + size + 10:g} {top + size + 40:g}" role="img" '
        f'aria-label="{escape(label, quote=True)}">' + "".join(parts) + "</svg>"
    )


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    import warnings

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def _svg(figure: Figure, name: str, label: str) -> str:
    """The picture as one `<svg>` element for inlining, the same bytes each time."""
    from html import escape

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # matplotlib's own style sheet would reach the whole page that the picture stands in.
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.S)
    for drawn, variable in _VARIABLES.items():
        text = text.replace(drawn, variable)
    # Several pictures share one page, and ids must not.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    head = re.search(r'viewBox="([^"]+)"', text)
    box = head[1] if head else "0 0 500 200"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" role="img" aria-label="{escape(label, quote=True)}">'
    )
    return opening + text[text.index(">") + 1 :].strip()


def _running_mean(values: Sequence[float], half: int) -> list[float]:
    """Mean over `half` neighbours on each side, fewer at the ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    out = []
    for i in range(len(values)):
        low, high = max(0, i - half), min(len(values), i + half + 1)
        out.append((sums[high] - sums[low]) / (high - low))
    return out


def _shorten(text: str, most: int) -> str:
    """One line, the middle left out where it is long; `$` must not start mathematics."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(flat) > most:
        flat = f"{flat[: most // 2]}…{flat[-(most // 2 - 1) :]}"
    return flat.replace("$", r"\$")
