"""Proposals for all sequences of a step, whoever makes them."""

from __future__ import annotations

from chatwright.generate.draft import DraftModel, DraftProposer
from chatwright.generate.group import Sequence
from chatwright.generate.speculation import Proposer


def propose(guessing: list[tuple[Sequence, Proposer, int]]) -> None:
    """Set the proposals of sequences; those that one draft model makes are made side by side."""
    drafts: dict[DraftModel, list[tuple[Sequence, DraftProposer, int]]] = {}
    for sequence, proposer, most in guessing:
        if isinstance(proposer, DraftProposer):
            drafts.setdefault(proposer.model, []).append((sequence, proposer, most))
            continue
        proposal = proposer.propose(sequence.tokens, most)
        sequence.proposal = proposal if proposal.tokens else None
    for model, wants in drafts.items():
        proposals = model.propose([(p, sequence.tokens, most) for sequence, p, most in wants])
        for (sequence, _, _), proposal in zip(wants, proposals, strict=True):
            sequence.proposal = proposal if proposal.tokens else None
