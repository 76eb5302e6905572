"""The parts of an audit: each takes rows through the model and leaves its result in the audit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chatwright.evaluate.journal import Journal
from chatwright.evaluate.likelihood import Floats, Scored, token_losses
from chatwright.evaluate.results import Skipped
from chatwright.govern.audit import canaries as secrets
from chatwright.govern.audit import counterfactual, extraction
from chatwright.govern.audit.canaries import Canary
from chatwright.govern.audit.losses import losses_of
from chatwright.govern.audit.membership import Observed
from chatwright.govern.audit.membership import membership as judge_all
from chatwright.govern.audit.results import Audit, CanaryResult, Match, Memorisation
from chatwright.govern.audit.rows import Sample, TrainingData, count_holders, draw, encode
from chatwright.progress import Progress
from chatwright.records import Conversation, Dataset, Document

if TYPE_CHECKING:
    from chatwright.generate import Engine
    from chatwright.govern.audit.runner import AuditOptions

_MODEL = "model"  # its name in the journal; the reference has another
_CONTROL_SEED = 1_000_003  # controls must not be the canaries that a recipe's seed gives
_CANARIES_AT_ONCE = 32


@dataclass(slots=True)
class Run:
    """What every part needs."""

    how: AuditOptions
    engine: Engine
    data: TrainingData | None
    journal: Journal
    progress: Progress
    audit: Audit

    @property
    def window(self) -> int:
        return min(self.how.window, self.engine.context - 1)

    def draw(self, datasets: list[Dataset]) -> list[Sample]:
        """Rows by lot; those that cannot be used are listed in the audit."""
        samples, skipped = draw(
            datasets,
            self.engine.tokenizer,
            limit=self.how.limit,
            seed=self.how.seed,
            prefixes=self.how.prefixes,
            suffix=self.how.suffix,
            window=self.window,
        )
        known = {(s.id, s.reason) for s in self.audit.skipped}
        self.audit.skipped += [s for s in skipped if (s.id, s.reason) not in known]
        return samples


def memorisation(run: Run) -> None:
    """The extraction attack on training rows, and the same on held-out rows."""
    how, data, tokenizer = run.how, run.data, run.engine.tokenizer
    assert data is not None
    if run.engine.context <= max(how.prefixes) + how.suffix:
        run.audit.why["memorisation"] = (
            f"the model's context of {run.engine.context} tokens does not hold a prefix of "
            f"{max(how.prefixes)} and a target of {how.suffix}"
        )
        return
    training = [Dataset.open(path) for path in data.datasets]
    inside = run.draw(training)
    if not inside:
        run.audit.why["memorisation"] = _nothing(run.audit, "training row")
        return
    outside = run.draw([Dataset.open(data.held_out)]) if data.held_out else []
    texts = {
        f"{side}:{s.id}": text
        for side, samples in (("in", inside), ("out", outside))
        for s in samples
        if (text := tokenizer.decode(s.target).strip("\ufffd").strip())
    }
    holders = count_holders(training, texts)
    unknown = [s for s in outside if not holders.get(f"out:{s.id}")]
    known = len(outside) - len(unknown)
    found: list[dict[int, dict[str, Match]]] = []
    for title, samples in (("extraction: training", inside), ("extraction: held out", unknown)):
        with run.progress.task(title, total=len(samples) * len(how.prefixes)) as task:
            matches, skipped = extraction.attack(
                run.engine,
                samples,
                how.prefixes,
                model=f"{_MODEL}:{title}",
                journal=run.journal,
                task=task,
            )
        found.append(matches)
        run.audit.skipped += skipped
    copies = {s.id: holders.get(f"in:{s.id}", 1) for s in inside}
    longest = found[0][max(how.prefixes)]
    shown = [s for s in inside if longest[s.id].exact][: how.examples]
    run.audit.memorisation = Memorisation(
        suffix=how.suffix,
        near_threshold=extraction.NEAR,
        training=extraction.rates(found[0], seed=how.seed),
        held_out=extraction.rates(found[1], seed=how.seed),
        by_copies=extraction.rates_by_copies(longest, copies),
        duplicated=sum(count > 1 for count in copies.values()),
        known=known,
        examples=[extraction.example(s, longest[s.id], tokenizer) for s in shown],
    )


def _nothing(audit: Audit, what: str) -> str:
    reason = f"; the last: {audit.skipped[-1].reason}" if audit.skipped else ""
    return f"no {what} can be used{reason}"


@dataclass(slots=True)
class Side:
    """Members or non-members: their sequences and what is known of each."""

    sequences: dict[str, Scored]
    rows: dict[str, Observed]


@dataclass(slots=True)
class Observation:
    """Both sides. `own`: the members are rows of the model's own training, not of its base's."""

    kind: str
    own: bool
    sides: dict[str, Side]


def observe(run: Run) -> Observation | None:
    """Losses of training rows and held-out rows of one kind; None where that cannot be measured."""
    data, audit = run.data, run.audit
    assert data is not None
    if data.held_out is None:
        audit.why["membership"] = "no held-out rows are known; name them with --held-out"
        return None
    outside = Dataset.open(data.held_out)
    own = [d for path in data.own if (d := Dataset.open(path)).row_type is outside.row_type]
    earlier = [d for p in data.earlier if (d := Dataset.open(p)).row_type is outside.row_type]
    if not own and not earlier:
        kind = outside.info.kind
        audit.why["membership"] = f"the held-out rows are {kind}s and no training row is one"
        return None
    found = Observation(outside.info.kind, bool(own), {})
    trained_on = {i for d in own or earlier for i in d.table(["id"])["id"].to_pylist()}
    for name, datasets in (("members", own or earlier), ("others", [outside])):
        samples = run.draw(datasets)
        if name == "others":
            both = [s.id for s in samples if s.id in trained_on]
            audit.skipped += [Skipped(i, "held out, and in the training data too") for i in both]
            samples = [s for s in samples if s.id not in trained_on]
        if len(samples) < 2:
            audit.why["membership"] = _nothing(audit, f"pair of rows ({name})")
            return None
        found.sides[name] = _observe_side(run, name, samples)
    return found


def _observe_side(run: Run, name: str, samples: list[Sample]) -> Side:
    sequences = {s.id: Scored(s.tokens, s.counted) for s in samples}
    losses = _losses(run, run.engine, sequences, model=_MODEL, side=name)
    decode = run.engine.tokenizer.decode
    return Side(
        sequences, {i: Observed(losses[i], decode(_counted(s))) for i, s in sequences.items()}
    )


def _counted(sequence: Scored) -> list[int]:
    pairs = zip(sequence.tokens, sequence.counted, strict=True)
    return [token for token, counted in pairs if counted]


def _losses(
    run: Run, engine: Engine, sequences: Mapping[str, Scored], *, model: str, side: str
) -> dict[str, Floats]:
    kind = f"losses-{side}"
    known = {
        name: np.array(record["losses"])
        for name in sequences
        if (record := run.journal.get(model, kind, name)) is not None
    }
    with run.progress.task(f"losses: {side} ({model})", total=len(sequences)) as task:
        task.advance(len(known))

        def done(found: dict[str, Floats]) -> None:
            run.journal.add(model, kind, {n: {"losses": v.tolist()} for n, v in found.items()})
            task.advance(len(found))

        return losses_of(engine.model, sequences, done, known)


def add_reference(observed: Observation, run: Run, engine: Engine) -> bool:
    """What the same rows cost the model behind `engine`, which was not trained on them.

    False, with the reason in the audit, where it cuts text into other tokens (a conversation in
    another template would be another text) or its context is too short.
    """
    for side in observed.sides.values():
        for name, sequence in side.sequences.items():
            if (
                max(sequence.tokens) >= engine.tokenizer.vocab_size
                or engine.tokenizer.decode(_counted(sequence)) != side.rows[name].text
                or len(sequence.tokens) > engine.model.config.context
            ):
                run.audit.why["reference"] = "it has another tokenizer or a shorter context"
                return False
    for title, side in observed.sides.items():
        losses = _losses(run, engine, side.sequences, model="reference", side=title)
        side.rows = {
            name: replace(row, reference=float(losses[name].sum()))
            for name, row in side.rows.items()
        }
    return True


def membership(observed: Observation, audit: Audit, reference: str | None, seed: int) -> None:
    """Judge the attacks on what `observe` and `add_reference` found."""
    audit.membership = judge_all(
        observed.sides["members"].rows,
        observed.sides["others"].rows,
        kind=observed.kind,
        reference=reference,
        seed=seed,
    )


def canaries(run: Run) -> None:
    """Exposure of the canaries that the training data hold, beside as many that it does not."""
    assert run.data is not None
    found = _inserted(run)
    if not found:
        run.audit.why["canaries"] = "the training data hold no canaries (`kind: canaries`)"
        return
    languages = list(dict.fromkeys(canary.language for canary, _ in found))
    fresh = secrets.make_canaries(
        len(found), copies=[0], languages=languages, seed=run.how.seed + _CONTROL_SEED
    )
    kinds = [kind for _, kind in found]
    ranked = [*found, *zip(fresh, kinds, strict=True)]
    results = []
    with run.progress.task("canaries", total=len(ranked)) as task:
        for canary, kind in ranked:
            record = run.journal.get(_MODEL, "canary", canary.id)
            if record is None:
                record = {"rank": _rank(run, canary, kind)}
                run.journal.add(_MODEL, "canary", {canary.id: record})
            place = record["rank"]
            bits = round(secrets.exposure(place, run.how.candidates), 6)
            results.append(CanaryResult(canary.id, canary.language, canary.copies, place, bits))
            task.advance()
    run.audit.canaries = secrets.summarise(results, run.how.candidates, seed=run.how.seed)


def _inserted(run: Run) -> list[tuple[Canary, type[Document] | type[Conversation]]]:
    """Each canary of the training data once, with the kind of row that it stands in."""
    assert run.data is not None
    found: dict[str, tuple[Canary, type[Document] | type[Conversation]]] = {}
    for path in run.data.datasets:
        dataset = Dataset.open(path)
        kind = Document if dataset.row_type is Document else Conversation
        table = dataset.table(["id", "meta"])
        for row_id, meta in zip(table["id"].to_pylist(), table["meta"].to_pylist(), strict=True):
            if '"canary":' not in (meta or ""):
                continue
            try:
                canary = Canary.from_meta(json.loads(meta).get("canary"))
                found.setdefault(canary.id, (canary, kind))
            except ValueError as error:
                run.audit.skipped.append(Skipped(row_id, str(error)))
    return [found[name] for name in sorted(found)]


def _rank(run: Run, canary: Canary, kind: type[Document] | type[Conversation]) -> int:
    """The canary's place among itself and other secrets, by what its text costs the model."""
    others = secrets.candidates(canary, run.how.candidates, run.how.seed)
    versions = [canary, *(canary.with_secret(secret) for secret in others)]
    rows = [
        secrets.canary_rows(replace(version, copies=1), kind, "chatwright:canaries")[0]
        for version in versions
    ]
    scored = [Scored(*encode(row, run.engine.tokenizer)) for row in rows]
    nats: list[float] = []
    for start in range(0, len(scored), _CANARIES_AT_ONCE):
        part = scored[start : start + _CANARIES_AT_ONCE]
        nats += [float(losses.sum()) for losses in token_losses(run.engine.model, part)]
    return secrets.rank(nats[0], nats[1:])


def bias(run: Run, scorers: Mapping[str, counterfactual.Scorer]) -> None:
    """Continue every prompt for every group, and compare what was said."""
    how = run.how
    asked = counterfactual.prompts(how.bias_languages, how.bias_samples)
    with run.progress.task("bias", total=len(asked)) as task:
        said = counterfactual.continue_all(
            run.engine,
            asked,
            seed=how.seed,
            max_tokens=how.bias_tokens,
            model=_MODEL,
            journal=run.journal,
            task=task,
        )
    run.audit.bias = counterfactual.measure(asked, said, scorers, seed=how.seed)
