"""A study's results as tables for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chatwright.cli.console import console, print_table
from chatwright.evaluate.arena import JudgePair, PairResult, ScaleResult, Section, StudyResults
from chatwright.evaluate.arena.results import PositionBias


def print_results(results: StudyResults) -> None:
    """Everything that was found: people first, then model judges, never together."""
    out = console()
    answered = ", ".join(f"{model} {count}" for model, count in results.answered.items())
    out.print(f"{results.name}", style="bold", markup=False)
    out.print(f"{results.items} prompts; answers: {answered}", markup=False)
    if results.identical:
        out.print(
            f"{results.identical} pairs of answers are the same text: shown to nobody, no votes",
            markup=False,
        )
    for note in results.notes:
        out.print(f"! {note}", style="yellow", markup=False)
    _print_section(results.people, "People")
    if results.model_judges.judges:
        _print_section(results.model_judges, "Models as judges (not people's votes)")
        _print_verdicts(results)


def _print_section(section: Section, title: str) -> None:
    out = console()
    out.print(f"\n── {title} ──", style="bold cyan", markup=False)
    if not section.judges:
        out.print("nobody has judged yet", markup=False)
        return
    print_table(
        ["judge", "votes#", "scored#", "skipped#", "left won#", "median seconds#"],
        [
            (j.judge.name, j.votes, j.ratings, j.skips, percent(j.left_share),
             f"{j.seconds[1]:.1f}" if j.seconds else "–")
            for j in section.judges
        ],
    )  # fmt: skip
    if section.votes:
        _print_votes(section)
    if section.scales:
        _heading("Scores, 1 to 5 (mean and 95 % interval)")
        _print_scales(section.scales)
    for note in section.notes:
        out.print(f"! {note}", style="yellow", markup=False)


def _print_votes(section: Section) -> None:
    _heading("Ratings (Bradley–Terry on the Elo scale, 95 % interval)")
    groups = len({s.group for s in section.strengths}) > 1
    print_table(
        ["model", "rating#", "from#", "to#", "votes#", *(["group#"] if groups else [])],
        [
            (s.model, f"{s.rating:.0f}", f"{s.low:.0f}", f"{s.high:.0f}", s.votes,
             *([s.group + 1] if groups else []))
            for s in section.strengths
        ],
    )  # fmt: skip
    _heading("Win rates (row against column; a tie is half a win)")
    order = [s.model for s in section.strengths]
    _print_matrix(section.matrix, order)
    if len(section.by_language) > 1:
        for language, pairs in section.by_language.items():
            _heading(f"Win rates, {language}")
            _print_matrix(pairs, order)
    if any(section.reasons.values()):
        _heading("Reasons for wins")
        names = sorted({reason for counts in section.reasons.values() for reason in counts})
        print_table(
            ["model", *(f"{name}#" for name in names)],
            [
                (model, *(section.reasons.get(model, {}).get(n, 0) for n in names))
                for model in order
            ],
        )
    _heading("Agreement")
    found = section.agreement
    out = console()
    if found.units:
        out.print(
            f"Krippendorff's alpha {number(found.alpha)} on {found.units} pairs judged by two or "
            f"more; Fleiss' kappa {number(found.fleiss)} on the {found.fleiss_units} judged by "
            f"{found.fleiss_judges}",
            markup=False,
        )
        _print_pairs(found.pairs)
    if found.note:
        out.print(found.note, style="dim", markup=False)
    _heading("Position")
    out.print(position_line(section.position), markup=False)


def position_line(position: PositionBias) -> str:
    """Whether sides decide, in one line."""
    if position.p_value is None:
        return "no decision yet"
    verdict = "a bias" if position.biased else "no sign of a bias"
    return (
        f"left won {position.left} of {position.count} decisions ({percent(position.share)}; "
        f"{percent(position.low)} to {percent(position.high)}), {p_value(position.p_value)}: "
        f"{verdict}"
    )


def _print_matrix(pairs: Iterable[PairResult], order: Sequence[str]) -> None:
    by_pair = {(pair.model, pair.other): pair for pair in pairs}

    def cell(model: str, other: str) -> str:
        pair = by_pair.get((model, other))
        if model == other or pair is None or pair.rate is None:
            return "–"
        return (
            f"{percent(pair.rate)} [{percent(pair.low)}, {percent(pair.high)}] "
            f"{pair.wins}/{pair.ties + pair.both_bad}/{pair.losses}"
        )

    print_table(
        ["won/tied/lost", *(f"{other}#" for other in order)],
        [(model, *(cell(model, other) for other in order)) for model in order],
    )


def _print_pairs(pairs: Sequence[JudgePair]) -> None:
    print_table(
        ["judges", "in common#", "the same#", "Cohen's kappa#"],
        [
            (f"{p.first} and {p.second}", p.count, percent(p.same), number(p.kappa))
            for p in pairs
        ],
    )  # fmt: skip


def _print_scales(scales: Sequence[ScaleResult]) -> None:
    models = list(dict.fromkeys(model for scale in scales for model in scale.means))
    print_table(
        ["scale", *(f"{model}#" for model in models), "ordinal alpha#"],
        [
            (
                scale.scale,
                *(
                    f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]"
                    if (m := scale.means.get(model))
                    else "–"
                    for model in models
                ),
                number(scale.alpha),
            )
            for scale in scales
        ],
    )
    rows = [
        (scale.scale, f"{model} − {models[0]}", f"{d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]",
         p_value(d.p_value), "yes" if d.significant else "no", d.count)
        for scale in scales
        for model, d in scale.differences.items()
    ]  # fmt: skip
    if rows:
        _heading("Differences on the same prompts")
        print_table(["scale", "models", "difference#", "chance#", "significant", "prompts#"], rows)
    pairs = [(scale.scale, pair) for scale in scales for pair in scale.kappas]
    if pairs:
        _heading("Agreement on scores")
        print_table(
            ["scale", "judges", "in common#", "the same#", "weighted kappa#"],
            [
                (s, f"{p.first} and {p.second}", p.count, percent(p.same), number(p.kappa))
                for s, p in pairs
            ],
        )


def _print_verdicts(results: StudyResults) -> None:
    _heading("Both ways round")
    print_table(
        ["judge", "consistent#", "inconsistent (tie)#", "no verdict (no vote)#"],
        [(v.judge, v.consistent, v.inconsistent, v.none) for v in results.verdicts],
    )
    if results.with_people:
        _heading("Model judges against the people's majority")
        _print_pairs(results.with_people)


def percent(share: float | None) -> str:
    """A share as whole per cent."""
    return "–" if share is None else f"{100 * share:.0f} %"


def p_value(value: float) -> str:
    """How likely chance alone gives this much."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def number(value: float | None) -> str:
    """A kappa or alpha; a dash where it is undefined."""
    return "–" if value is None else f"{value:.2f}"


def _heading(text: str) -> None:
    console().print(f"\n{text}", style="bold", markup=False)
