"""A picture of a search: how results went, and each setting against them."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.records import disk_errors, write_atomic
from chatwright.train.tune.journal import Trial
from chatwright.train.tune.search import best_of
from chatwright.train.tune.space import Choices, Range, Space, varied

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DONE, _BEST, _CUT, _FAILED, _FAINT = "#2563a8", "#c2410c", "#8a8f98", "#b91c1c", "#d7dbe0"
_ACROSS = 3
_MARGIN = 0.04
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef1",
    "legend.frameon": False,
}


def plot_search(
    path: Path,
    trials: Sequence[Trial],
    space: Space,
    *,
    metric: str,
    maximise: bool,
    shares: Mapping[str, float],
    title: str,
) -> None:
    """Write `search.png`: results by trial with the best so far, and a panel for each setting.

    Pruned trials are crosses at the value where they were stopped, failed ones triangles at the
    bad edge. `shares` say how much of the variance each setting explains.
    """
    import warnings

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    searched = varied(space)
    names = sorted(searched, key=lambda k: -shares.get(k, 0.0))
    across = max(1, min(_ACROSS, len(names)))
    rows = -(-len(names) // across)
    view = _View(trials, metric, maximise, _bounds(trials, maximise))
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(10, 3.2 + 2.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(1 + rows, across)
        figure.suptitle(title.replace("$", r"\$"), fontsize=11, x=0.01, ha="left")
        _history(figure.add_subplot(grid[0, :]), view)
        for place, name in enumerate(names):
            axes = figure.add_subplot(grid[1 + place // across, place % across])
            _slice(axes, view, name, searched[name])
            share = f"  (explains {100 * shares[name]:.0f} %)" if name in shares else ""
            axes.set_title(name + share, fontsize=9, loc="left")
            if place % across == 0:
                axes.set_ylabel(metric)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    with disk_errors(path):
        write_atomic(path, picture.getvalue())


@dataclass(frozen=True, slots=True)
class _View:
    """What every panel shows: the trials, and from where to where results go."""

    trials: Sequence[Trial]
    metric: str
    maximise: bool
    bounds: tuple[float, float]


def _history(axes: Axes, view: _View) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = [float(t.number) for t in view.trials]
    _points(axes, view, numbers, labels=True)
    best: list[float] = []
    for count in range(1, len(view.trials) + 1):
        found = best_of(view.trials[:count], view.maximise)
        best.append(math.nan if found is None or found.result is None else found.result)
    axes.step(numbers, best, where="post", color=_BEST, lw=1.4, label="best so far")
    axes.set_xlabel("trial")
    axes.set_ylabel(view.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, max(len(numbers) + 0.5, 1.5))
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5, fontsize=8)


def _slice(axes: Axes, view: _View, name: str, values: Range | Choices) -> None:
    if isinstance(values, Choices):
        places = {value: place for place, value in enumerate(values.values)}
        # A little to the side of each other, by the trial's number, so that none hides another.
        x = [places[t.values[name]] + 0.09 * ((t.number % 5) - 2) for t in view.trials]
        shown = ["null" if v is None else str(v) for v in values.values]
        axes.set_xticks(range(len(shown)), shown)
        axes.set_xlim(-0.5, len(shown) - 0.5)
        axes.grid(visible=False, axis="x")
    else:
        x = [float(t.values[name]) for t in view.trials]
        if values.log:
            axes.set_xscale("log")
            factor = (values.high / values.low) ** _MARGIN
            axes.set_xlim(values.low / factor, values.high * factor)
        else:
            wide = _MARGIN * (values.high - values.low)
            axes.set_xlim(values.low - wide, values.high + wide)
    _points(axes, view, x)


def _points(axes: Axes, view: _View, x: Sequence[float], labels: bool = False) -> None:
    low, high = view.bounds
    edge = low if view.maximise else high
    best = best_of(view.trials, view.maximise)
    kinds: dict[str, tuple[list[float], list[float]]] = {}
    for place, trial in zip(x, view.trials, strict=True):
        value = edge if trial.result is None else min(max(trial.result, low), high)
        xs, ys = kinds.setdefault("best" if trial is best else trial.state, ([], []))
        xs.append(place)
        ys.append(value)
    failed = {"marker": "v" if view.maximise else "^", "color": _FAILED, "s": 26}
    looks: list[tuple[str, str, dict[str, Any]]] = [
        ("complete", "finished", {"marker": "o", "color": _DONE, "s": 22, "alpha": 0.75}),
        ("pruned", "pruned", {"marker": "x", "color": _CUT, "s": 22, "lw": 1.1}),
        ("failed", "failed", failed),
        ("best", "best", {"marker": "*", "color": _BEST, "s": 130, "zorder": 4}),
    ]
    for kind, label, look in looks:
        if kind in kinds:
            axes.scatter(*kinds[kind], **look, label=label if labels else None, clip_on=False)
    axes.set_ylim(low, high)


def _bounds(trials: Sequence[Trial], maximise: bool) -> tuple[float, float]:
    """From the best result to the worst, leaving out what lies far beyond three quarters of them.

    Those few are drawn at the bad edge, so that they do not flatten all others.
    """
    sign = -1 if maximise else 1
    values = sorted(sign * t.result for t in trials if t.result is not None) or [0.0, 1.0]
    low = values[0]
    most = low + 2 * (values[3 * len(values) // 4] - low)
    worst = max(value for value in values if value <= most)
    margin = 0.08 * ((worst - low) or abs(low) or 1.0)
    bounds = (low - margin, worst + margin)
    return (-bounds[1], -bounds[0]) if maximise else bounds
