"""What alignment did: reward and length of sampled answers, distance from the start, who wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatwright.errors import DataError
from chatwright.evaluate.items import Page, choose
from chatwright.evaluate.likelihood import sequence_likelihoods, text_windows, total_nats
from chatwright.evaluate.statistics import Estimate, bootstrap, wilson
from chatwright.records import Conversation, Dataset, Message, Preference

if TYPE_CHECKING:
    from chatwright.model import Transformer
    from chatwright.tokenizer import Tokenizer

_TOKENS_AT_ONCE = 1024
_POSITIONS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and the row that it is from."""

    row_id: str
    uri: str
    messages: tuple[Message, ...]


@dataclass(slots=True)
class Said:
    """A model's answers to all prompts, in their order, and what is known of each.

    `ids` are the sampled tokens, the end of the turn included where it came; `kl` is how far each
    answer is from what the start would have said (`divergences`).
    """

    texts: list[str]
    ids: list[list[int]]
    ended: list[bool]
    kl: list[float] = field(default_factory=list)
    rewards: dict[str, list[float]] = field(default_factory=dict)
    perplexity: float | None = None


def read_prompts(
    dataset: Dataset, places: tuple[float, float], limit: int | None, seed: int
) -> list[Asked]:
    """The prompts of preference rows or conversations whose place is within `places`.

    Places are those that training goes by (`PreferenceSettings.prompts`), so a range that no
    training had is held out from all of them. Each prompt once. Raises `DataError` for none.
    """
    from chatwright.train.preference.pairs import place_of
    from chatwright.train.rl.prompts import prompt_of

    if dataset.row_type not in (Preference, Conversation):
        raise DataError(
            f"prompts come from preferences or conversations, and this holds {dataset.info.kind}s",
            where=str(dataset.path),
        )
    low, high = places
    found: dict[tuple[Message, ...], Asked] = {}
    for row in dataset.rows:
        messages, _ = prompt_of(row)
        if messages and low <= place_of(messages) < high:
            found.setdefault(tuple(messages), Asked(row.id, row.uri, tuple(messages)))
    if not found:
        raise DataError(
            f"no prompt lies within [{low:g}, {high:g}]",
            where=str(dataset.path),
            hint="widen `prompts`",
        )
    return choose(list(found.values()), limit, seed, lambda asked: asked.row_id)


def answer(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Asked],
    *,
    temperature: float,
    max_tokens: int,
    seed: int,
    max_batch: int = 16,
) -> Said:
    """One answer per prompt, drawn at `temperature`; prompt i has the same seed for every model."""
    from chatwright.generate import SamplingParams
    from chatwright.generate.load import engine_of

    with engine_of(model, tokenizer, max_batch=max_batch) as engine:
        requests = []
        for number, asked in enumerate(prompts):
            params = SamplingParams(
                temperature=temperature, max_tokens=max_tokens, seed=seed + number
            )
            ids = tokenizer.chat(list(asked.messages), add_generation_prompt=True)
            requests.append(engine.submit(ids, params))
        completions = [request.result() for request in requests]
    return Said(
        [c.text for c in completions],
        [list(c.token_ids) for c in completions],
        [c.finish_reason == "stop" for c in completions],
    )


def divergences(
    model: Transformer,
    start: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Asked],
    answers: Sequence[Sequence[int]],
    *,
    temperature: float,
) -> list[float]:
    """KL(model ‖ start) in nats along each answer that `model` drew: summed over its tokens.

    At each token the divergence of the two whole distributions, not the ratio of the one token that
    was drawn: the same expectation, never negative, and with much less noise (Amini et al. 2025).
    """
    import torch
    from torch import Tensor

    from chatwright.train.logprobs import packed_hidden
    from chatwright.train.packing import IGNORED, make_batch

    def at(states: tuple[Tensor, Tensor]) -> Tensor:
        own, other = (
            torch.log_softmax(m.logits(h) / temperature, dim=-1)
            for m, h in zip((model, start), states, strict=True)
        )
        return (own.exp() * (own - other)).sum(-1).double()

    sums: list[float] = []
    pending: list[tuple[np.ndarray, np.ndarray]] = []

    def flush() -> None:
        if not pending:
            return
        batch = make_batch(pending, ()).padded(128).to(model.device)
        learnt = batch.targets != IGNORED
        with torch.inference_mode():
            hidden = [packed_hidden(m, batch)[learnt] for m in (model, start)]
            parts = zip(*(h.split(_POSITIONS_AT_ONCE) for h in hidden), strict=True)
            found = torch.cat([at((own, other)) for own, other in parts])
        lengths = [int((targets != IGNORED).sum()) for _, targets in pending]
        sums.extend(float(part.sum()) for part in found.split(lengths))
        pending.clear()

    model.eval()
    start.eval()
    for asked, ids in zip(prompts, answers, strict=True):
        before = tokenizer.chat(list(asked.messages), add_generation_prompt=True)
        whole = np.asarray([*before, *ids], np.int64)
        targets = np.full(len(whole) - 1, IGNORED, np.int64)
        targets[len(before) - 1 :] = ids
        if sum(len(inputs) for inputs, _ in pending) + len(targets) > _TOKENS_AT_ONCE:
            flush()
        pending.append((whole[:-1], targets))
    flush()
    return sums


def text_perplexity(
    model: Transformer, tokenizer: Tokenizer, pages: Sequence[Page], window: int
) -> float:
    """Perplexity: e to the mean −ln p per token, over windows without overlap (`text_windows`)."""
    start = tokenizer.end_of_text_id
    start = min(tokenizer.eos_ids, default=0) if start is None else start
    window = min(window, model.config.context)
    likelihoods = []
    for page in pages:
        windows = text_windows(tokenizer.encode(page.text), start, window=window)
        for first in range(0, len(windows), 4):
            likelihoods += sequence_likelihoods(model, windows[first : first + 4])
    whole = total_nats(likelihoods)
    return math.exp(whole.nll / whole.tokens)


@dataclass(frozen=True, slots=True)
class Line:
    """One model in the comparison.

    `rewards` by judge; `kl` is per answer and `kl_per_token` per token, in nats; `wins` is how
    often its answer is better than the start's in the eyes of the judge that nobody was trained on
    (ties count half).
    """

    model: str
    rewards: dict[str, Estimate]
    kl: Estimate
    kl_per_token: float
    length: Estimate
    ended: float
    wins: Estimate | None
    perplexity: float | None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Line:
        """From what `to_json` gave."""

        def read(found: Mapping[str, Any]) -> Estimate:
            return Estimate(found["value"], found["low"], found["high"], found["count"])

        wins = raw["win_rate"]
        return cls(
            raw["model"],
            {name: read(found) for name, found in raw["rewards"].items()},
            read(raw["kl"]),
            raw["kl_per_token"],
            read(raw["length"]),
            raw["ended"],
            None if wins is None else read(wins),
            raw["perplexity"],
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""

        def plain(found: Estimate | None) -> dict[str, float] | None:
            if found is None:
                return None
            return {
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "count": found.count,
            }

        return {
            "model": self.model,
            "rewards": {name: plain(found) for name, found in self.rewards.items()},
            "kl": plain(self.kl),
            "kl_per_token": self.kl_per_token,
            "length": plain(self.length),
            "ended": self.ended,
            "win_rate": plain(self.wins),
            "perplexity": self.perplexity,
        }


def compare(said: Mapping[str, Said], judge: str | None, seed: int) -> list[Line]:
    """The table, from what each model said; the first is the start that others are held against."""
    start = next(iter(said.values()))
    lines = []
    for name, answers in said.items():
        lengths = np.array([len(ids) for ids in answers.ids], float)
        divergence = np.array(answers.kl)
        wins = None
        if judge is not None and answers is not start:
            ours, theirs = np.array(answers.rewards[judge]), np.array(start.rewards[judge])
            wins = wilson(float((ours > theirs).sum() + (ours == theirs).sum() / 2), len(ours))
        lines.append(
            Line(
                name,
                {k: bootstrap(np.array(v), seed=seed) for k, v in answers.rewards.items()},
                bootstrap(divergence, seed=seed),
                float(divergence.sum() / lengths.sum()),
                bootstrap(lengths, seed=seed),
                sum(answers.ended) / len(answers.ended),
                wins,
                answers.perplexity,
            )
        )
    return lines


def cells(lines: Sequence[Line]) -> list[list[str]]:
    """The comparison as texts, its head first; intervals hold 95 %."""
    judges = list(lines[0].rewards)
    head = [
        "model",
        *(f"reward by {judge}" for judge in judges),
        "KL (nats)",
        "tokens",
        "ended",
        "better than the start",
        "perplexity",
    ]
    rows = [head]
    for line in lines:
        rows.append(
            [
                line.model,
                *(_interval(line.rewards[judge]) for judge in judges),
                f"{line.kl.value:.2f} ({line.kl_per_token:.3f} a token)",
                f"{line.length.value:.0f}",
                f"{line.ended:.0%}",
                "" if line.wins is None else _interval(line.wins, percent=True),
                "" if line.perplexity is None else f"{line.perplexity:.2f}",
            ]
        )
    return rows


def table(lines: Sequence[Line]) -> str:
    """The comparison as Markdown."""
    head, *rows = cells(lines)
    return "\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows]) + "\n"


def _interval(found: Estimate, *, percent: bool = False) -> str:
    if percent:
        return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def read_text(dataset: Path, most_bytes: int) -> list[Page]:
    """Pages of a documents dataset up to `most_bytes` UTF-8 bytes in all, from the first row on."""
    from chatwright.evaluate.items import read_pages

    pages, _ = read_pages(Dataset.open(dataset), None, most_bytes)
    kept: list[Page] = []
    for page in pages:
        left = most_bytes - sum(len(p.text.encode()) for p in kept)
        if left <= 0:
            break
        kept.append(Page(page.id, page.uri, page.text.encode()[:left].decode("utf-8", "ignore")))
    return kept
