"""A preset as a table to read: `python -m chatwright.curate.measuring.tables gopher`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from chatwright.curate.measuring.lines import LineRules
from chatwright.curate.quality import Bound, Preset, load_presets

_NAMES = {"en": "English", "zh": "Chinese"}


def preset_table(preset: Preset) -> str:
    """What it asks of each language, in Markdown; languages that are asked the same share a column.

    A bound that every text keeps (a rule for any language that one's own switches off) is left out.
    """
    columns: dict[str | None, str] = {None: "any language"}
    for language in sorted(preset.languages(), key=lambda code: (code not in _NAMES, code)):
        twin = next((c for c in columns if c and _same(preset, c, language)), None)
        if twin is None:
            columns[language] = _NAMES.get(language, language)
        else:
            columns[twin] += f", {_NAMES.get(language, language)}"
    heads = " | ".join(columns.values())
    rows = [f"| measure | {heads} |", "|---|" + "---|" * len(columns)]
    names = dict.fromkeys(name for language in columns for name in preset.bounds(language))
    for name in names:
        cells = [_shown(preset.bounds(language).get(name), name) for language in columns]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    lines = [f"{columns[language]}: {_lines(rules)}." for language, rules in _line_rules(preset)]
    return "\n".join(rows) + "".join(f"\n\nLines taken out, {text}" for text in lines)


def _same(preset: Preset, one: str, other: str) -> bool:
    return (preset.bounds(one), preset.line_rules(one)) == (
        preset.bounds(other),
        preset.line_rules(other),
    )


def _shown(bound: Bound | None, name: str) -> str:
    if bound is None:
        return ""
    off = (bound.min in (None, 0)) and (bound.max is None or (bound.max == 1 and "ratio" in name))
    return "" if off else str(bound)


def _line_rules(preset: Preset) -> list[tuple[str, LineRules]]:
    return sorted(preset.lines.items())


def _lines(rules: LineRules) -> str:
    parts = []
    if rules.terminal_punctuation:
        parts.append("those without terminal punctuation")
    if rules.min_words:
        parts.append(f"those of fewer than {rules.min_words} words")
    if rules.max_word_length is not None:
        parts.append(f"those with a word of more than {rules.max_word_length:,} characters")
    for name, phrases in rules.phrases.items():
        parts.append(f"`line-{name}` those with {', '.join(phrases)}")
    if rules.citations:
        parts.append("and from the others citations such as [1]")
    return "; ".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the presets that are named."""
    for name in sys.argv[1:] if arguments is None else arguments:
        print(f"{preset_table(load_presets(name))}\n")


if __name__ == "__main__":
    main()
