"""The picture of what was made from what: boxes in layers, parents above children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from chatwright.govern.facts import rows_of
from chatwright.records.results import Result

_BOX_WIDTH, _BOX_HEIGHT = 168, 46
_GAP_X, _GAP_Y = 22, 40


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float


def lineage_picture(chain: Sequence[Result]) -> str:
    """One SVG of the chain (parents first): each result's name, kind and size.

    Each result lies below all its parents, one layer above the highest of its children; within a
    layer, results are ordered by the middle of their parents, so that few lines cross.
    """
    paths = {str(r.path): r for r in chain}
    above = {
        key: [q for p in r.parents if (q := str(r.parent_path(p))) in paths]
        for key, r in paths.items()
    }
    layer: dict[str, int] = {}
    for key in paths:
        layer[key] = 1 + max((layer[p] for p in above[key] if p in layer), default=-1)
    for key in reversed(paths):  # as low as its children allow: long lines would cross other boxes
        below = [layer[child] for child in paths if key in above[child]]
        if below:
            layer[key] = min(below) - 1
    layers: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for key in paths:
        layers[layer[key]].append(key)
    widest = max((len(keys) for keys in layers), default=1)
    width = widest * _BOX_WIDTH + (widest - 1) * _GAP_X
    boxes: dict[str, _Box] = {}
    for depth, keys in enumerate(layers):
        keys.sort(key=lambda k: _middle([boxes[p].x for p in above[k] if p in boxes], width))
        start = (width - len(keys) * _BOX_WIDTH - (len(keys) - 1) * _GAP_X) / 2
        for place, key in enumerate(keys):
            x = start + place * (_BOX_WIDTH + _GAP_X)
            boxes[key] = _Box(x, depth * (_BOX_HEIGHT + _GAP_Y))
    height = len(layers) * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y
    lines = [_line(boxes[p], boxes[key]) for key in paths for p in above[key]]
    drawn = [_box(boxes[key], paths[key]) for key in paths]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width + 4:g} {height + 4:g}" '
        f'style="max-width:{width + 4:g}px" role="img" aria-label="What was made from what">'
        + "".join(lines + drawn)
        + "</svg>"
    )


def _note(result: Result) -> str:
    """What stands under a result's name: its kind and size."""
    rows = rows_of(result)
    if rows is not None:
        kind = str(result.info.get("kind", "row"))
        return f"{rows:,} {kind}{'' if rows == 1 else 's'}"
    return {"missing": "not there any more"}.get(result.kind, result.kind)


def _middle(places: Sequence[float], width: float) -> float:
    return sum(places) / len(places) if places else width / 2


def _line(parent: _Box, child: _Box) -> str:
    x1, y1 = parent.x + _BOX_WIDTH / 2, parent.y + _BOX_HEIGHT
    x2, y2 = child.x + _BOX_WIDTH / 2, child.y
    bend = _GAP_Y * 0.6
    return (
        f'<path class="edge" d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} '
        f'{x2:g} {y2:g}"/>'
    )


def _box(box: _Box, result: Result) -> str:
    middle = box.x + _BOX_WIDTH / 2
    name = result.name if len(result.name) <= 22 else f"{result.name[:21]}…"
    return (
        f'<g class="node {result.kind}"><title>{escape(result.name)} {escape(result.fingerprint)}'
        f'</title><rect x="{box.x:g}" y="{box.y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" '
        f'rx="7"/><text x="{middle:g}" y="{box.y + 19:g}" class="name">{escape(name)}</text>'
        f'<text x="{middle:g}" y="{box.y + 35:g}" class="note">{escape(_note(result))}</text></g>'
    )
