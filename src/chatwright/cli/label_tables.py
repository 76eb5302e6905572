"""Where a queue of labels stands, as tables for people to read."""

from __future__ import annotations

from chatwright.cli.console import console, print_table
from chatwright.curate.label.summary import Status


def print_status(found: Status) -> None:
    """Progress, labellers and agreement; people and models apart."""
    out = console()
    out.print(f"{found.name}: labels {', '.join(found.labels)} of {found.dataset}", markup=False)
    out.print(
        f"{found.given:,} of {found.wanted:,} labels given, {found.complete:,} of {found.items:,} "
        f"items complete; {found.disputes:,} to decide, {found.decided:,} decided",
        markup=False,
    )
    if not found.labellers:
        out.print("nobody has labelled yet", markup=False)
        return
    print_table(
        ["labeller", "labels#", "skipped#", "known ones right#", "same again#", "seconds#",
         *(f"{name}#" for name in found.labels)],
        [
            (one.name, one.labels, one.skips, _share(one.gold, one.gold_seen),
             _share(one.repeats, one.repeats_seen),
             "\u2013" if one.median_seconds is None else f"{one.median_seconds:.1f}",
             *(one.counts[name] for name in found.labels))
            for one in found.labellers
        ],
    )  # fmt: skip
    people = found.people
    if people.items:
        out.print(
            f"\nagreement on {people.items} items: the same {_figure(people.same, percent=True)}, "
            f"Fleiss' kappa {_figure(people.fleiss)} ({people.fleiss_items} items), "
            f"Krippendorff's alpha {_figure(people.alpha)}",
            markup=False,
        )
    rows = [*found.pairs, *found.models]
    if rows:
        print_table(
            ["pair", "items#", "same#", "Cohen's kappa#"],
            [
                (f"{p.first} and {p.second}", p.items, f"{p.same:.0%}", _figure(p.kappa))
                for p in rows
            ],
        )


def _share(value: tuple[float, float, float] | None, count: int) -> str:
    if value is None:
        return "\u2013"
    return f"{value[0]:.0%} of {count} ({value[1]:.0%}\u2013{value[2]:.0%})"


def _figure(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "\u2013"
    return f"{value:.0%}" if percent else f"{value:.2f}"
