"""How likely a model finds each of several continuations, every shared token computed once.

The options of an item share their beginning: four answers to one question differ in their last few
tokens only. Their tokens form a tree, and a tree is one row of the batch in which each token
attends to its ancestors; positions are depths. What all items share (worked examples) is computed
once before them and kept as keys and values. Logits are made only where a token is followed by one
that counts.

Letters in shapes: B rows, N tokens of a batch laid end to end, T the longest row (rounded up), P
tokens of the shared prefix, H heads, K key-value heads, G = H/K, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chatwright.evaluate.packed import Head, packed_weights

if TYPE_CHECKING:
    from torch import Tensor

    from chatwright.model import Transformer

# Tokens of one batch. More gains nothing on a CPU, where products are compute-bound from a few
# hundred rows on, and logits of 128 positions stay in its caches.
_TOKENS = 1024
_LOGITS_AT_A_TIME = 128
# oneDNN compiles code for each new shape of a bfloat16 product, which takes longer than the
# product; lengths are rounded up so that there are few.
_ROUND_LENGTH = 16
_ROUND_TOKENS = 64
_LEAST_PREFIX = 2  # one shared token ("Question") is as cheap computed with each item

Pair = tuple[Sequence[int], Sequence[int]]  # context and continuation, as tokens


@dataclass(frozen=True, slots=True)
class OptionScore:
    """One option: −ln p of its continuation (nats), its tokens, and whether greedy gives it."""

    nll: float
    tokens: int
    greedy: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """An item's sequences merged: token, parent (−1: the root's) and depth of each node.

    `steps[i]` are the (node before, node) pairs of option i's counted tokens; a node before of −1
    is the last token of the shared prefix.
    """

    tokens: list[int]
    parents: list[int]
    depths: list[int]
    steps: list[list[tuple[int, int]]]


def make_tree(pairs: Sequence[Pair], prefix: int = 0) -> Tree:
    """The tree of context + continuation of each pair, without their first `prefix` tokens."""
    tree = Tree([], [], [], [])
    children: dict[tuple[int, int], int] = {}
    for context, continuation in pairs:
        node = -1
        steps: list[tuple[int, int]] = []
        whole = [*context, *continuation]
        for place in range(prefix, len(whole)):
            key = (node, whole[place])
            child = children.get(key)
            if child is None:
                child = children[key] = len(tree.tokens)
                tree.tokens.append(whole[place])
                tree.parents.append(node)
                tree.depths.append(place)
            if place >= len(context):
                steps.append((node, child))
            node = child
        tree.steps.append(steps)
    return tree


def shared_prefix(items: Sequence[Sequence[Pair]]) -> list[int]:
    """The tokens that every context of every item begins with; none where that is too few.

    At least one token of each context stays outside, so that it has a place in its tree.
    """
    contexts = [context for item in items for context, _ in item]
    if len(contexts) < 2:
        return []
    # The first and last in order differ at least as early as any two.
    first, last = min(map(tuple, contexts)), max(map(tuple, contexts))
    most = min(len(c) for c in contexts) - 1
    count = 0
    while count < most and first[count] == last[count]:
        count += 1
    return list(first[:count]) if count >= _LEAST_PREFIX else []


def score_options(
    model: Transformer,
    items: Sequence[Sequence[Pair]],
    *,
    wanted: Callable[[Sequence[int]], bool] = lambda batch: True,
    vocabulary: int | None = None,
) -> Iterator[tuple[list[int], list[list[OptionScore]]]]:
    """Score every option of every item, batch by batch: (indices of items, their scores).

    Each context must hold a token or more and each continuation too. Batches are made over all
    items, longest first, and depend on nothing else; one is left out where `wanted(its indices)`
    is false (all of it is known already), so an interrupted run has the same rounding as one that
    was left in peace. `vocabulary` leaves out the logits of rows that stand for no token. Raises
    `ValueError` for an item that does not fit the model's context.
    """
    import torch

    prefix = shared_prefix(items)
    trees = [make_tree(item, len(prefix)) for item in items]
    for tree in trees:
        if tree.depths and max(tree.depths) >= model.config.context:
            raise ValueError(
                f"{max(tree.depths) + 1} tokens do not fit in a context of {model.config.context}"
            )
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), packed_weights(model) as head:
            kept: _Prefix | None = None
            for batch in group([len(tree.tokens) for tree in trees]):
                if not wanted(batch):
                    continue
                if prefix and kept is None:
                    kept = _read_prefix(model, prefix)
                yield batch, _score(model, head, [trees[i] for i in batch], kept, vocabulary)
    finally:
        model.train(training)


def group(lengths: Sequence[int], tokens: int = _TOKENS) -> list[list[int]]:
    """Indices in groups of like length, longest first, of about `tokens` tokens each."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    room = 0
    width = 0
    for index in order:
        length = _up(lengths[index], _ROUND_LENGTH)
        if not groups or lengths[index] > room or length != width:
            groups.append([])
            room, width = max(tokens, lengths[index]), length
        groups[-1].append(index)
        room -= lengths[index]
    return groups


@dataclass(frozen=True, slots=True)
class _Prefix:
    """Keys and values of the shared prefix, per layer [1, K, P, D], and its last hidden state."""

    keys: list[Tensor]
    values: list[Tensor]
    state: Tensor
    length: int


def _read_prefix(model: Transformer, tokens: Sequence[int]) -> _Prefix:
    import torch

    from chatwright.model import causal_attention

    keys: list[Tensor] = []
    values: list[Tensor] = []

    def keeping(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys.append(k)
        values.append(v)
        return causal_attention(layer, q, k, v)

    hidden = model.hidden(torch.tensor([list(tokens)], device=model.device), attention=keeping)
    return _Prefix(keys, values, hidden[0, -1:], len(tokens))


def _score(
    model: Transformer,
    head: Head,
    trees: Sequence[Tree],
    prefix: _Prefix | None,
    vocabulary: int | None,
) -> list[list[OptionScore]]:
    import torch

    device = model.device
    starts = np.cumsum([0, *(len(t.tokens) for t in trees)])
    total = int(starts[-1])
    padding = -total % _ROUND_TOKENS
    tokens = [token for tree in trees for token in tree.tokens] + [0] * padding
    positions = [depth for tree in trees for depth in tree.depths] + [0] * padding
    attention = _ForestAttention(trees, total, prefix, model)
    hidden = model.hidden(
        torch.tensor([tokens], device=device), torch.tensor([positions], device=device), attention
    )[0]
    # Each node that a counted token follows needs logits once, however many follow it.
    before = [
        int(start) + node if node >= 0 else -1
        for start, tree in zip(starts, trees, strict=False)
        for steps in tree.steps
        for node, _ in steps
    ]
    wanted = [tree.tokens[node] for tree in trees for steps in tree.steps for _, node in steps]
    nodes, places = np.unique(np.array(before, dtype=np.int64), return_inverse=True)
    states = hidden[torch.from_numpy(np.maximum(nodes, 0)).to(device)]
    if len(nodes) and nodes[0] < 0 and prefix is not None:
        states[0] = prefix.state[0]
    nll, best = _token_nats(head, states, places, np.array(wanted, dtype=np.int64), vocabulary)
    scores: list[list[OptionScore]] = []
    at = 0
    for tree in trees:
        scores.append([])
        for steps in tree.steps:
            part = slice(at, at + len(steps))
            scores[-1].append(
                OptionScore(float(nll[part].sum()), len(steps), bool(best[part].all()))
            )
            at += len(steps)
    return scores


def _token_nats(
    head: Head,
    states: Tensor,
    places: np.ndarray,
    wanted: np.ndarray,
    vocabulary: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """−ln p of each wanted token, predicted at row `places[i]` of `states`, and whether it is top.

    Sorted by place, so that a slice of the states serves a slice of the tokens.
    """
    import torch

    order = np.argsort(places, kind="stable")
    places, tokens = places[order], wanted[order]
    nll = np.empty(len(tokens))
    best = np.empty(len(tokens), dtype=bool)
    for start in range(0, len(states), _LOGITS_AT_A_TIME):
        end = min(start + _LOGITS_AT_A_TIME, len(states))
        # The same number of rows each time: see _ROUND_TOKENS.
        rows = torch.arange(start, end + -(end - start) % _ROUND_LENGTH).clamp_(max=end - 1)
        logits = head(states[rows.to(states.device)])[: end - start, :vocabulary]
        low, high = np.searchsorted(places, [start, end])
        row = torch.from_numpy(places[low:high] - start).to(logits.device)
        picked = logits[row, torch.from_numpy(tokens[low:high]).to(logits.device)]
        top = logits.amax(-1)
        # exp(x − max) overwrites the logits: they are wanted no more, and memory is the bound.
        total = logits.sub_(top[:, None]).exp_().sum(-1).log_().add_(top)
        nll[low:high] = (total[row] - picked).double().cpu().numpy()
        best[low:high] = (picked >= top[row]).cpu().numpy()
    out_nll, out_best = np.empty_like(nll), np.empty_like(best)
    out_nll[order], out_best[order] = nll, best
    return out_nll, out_best


class _ForestAttention:
    """Each token of the packed row attends to the prefix, its ancestors and itself."""

    def __init__(
        self, trees: Sequence[Tree], total: int, prefix: _Prefix | None, model: Transformer
    ) -> None:
        import torch

        self._prefix = prefix
        self._total = total
        rows = len(trees)
        self._width = width = _up(max(len(t.tokens) for t in trees), _ROUND_LENGTH)
        self._rows = rows
        device = model.device
        gather = np.zeros((rows, width), dtype=np.int64)
        sees = np.zeros((rows, width, width), dtype=bool)
        sees[:, :, 0] = True  # padding must see something: a softmax over nothing is NaN
        scatter = np.empty(total, dtype=np.int64)
        at = 0
        for row, tree in enumerate(trees):
            count = len(tree.tokens)
            gather[row, :count] = np.arange(at, at + count)
            scatter[at : at + count] = row * width + np.arange(count)
            own = sees[row]
            for node, parent in enumerate(tree.parents):
                if parent >= 0:
                    own[node, :node] = own[parent, :node]
                elif node:
                    own[node, 0] = False
                own[node, node] = True
            at += count
        self._gather = torch.from_numpy(gather.reshape(-1)).to(device)
        self._scatter = torch.from_numpy(scatter).to(device)
        before = prefix.length if prefix is not None else 0
        allowed = torch.ones(rows, width, before + width, dtype=torch.bool)
        allowed[:, :, before:] = torch.from_numpy(sees)
        self._fold = device.type == "cpu" and model.dtype == torch.bfloat16
        groups, kv_heads = model.config.n_heads // model.config.n_kv_heads, model.config.n_kv_heads
        mask = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf")).to(model.dtype)
        if self._fold:  # [B·K, G·T, P+T]: one product per row and key head
            mask = mask[:, None, None].expand(rows, kv_heads, groups, width, before + width)
            mask = mask.reshape(rows * kv_heads, groups * width, before + width)
        else:
            mask = mask[:, None]
        self._mask = mask.to(device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`q` [1, H, N, D], `k` and `v` [1, K, N, D] → [1, H, N, D].

        In bfloat16 on a CPU the query heads that share a key head become rows of one product:
        844 µs for 16 rows of 64 tokens where `scaled_dot_product_attention` took 2,450.
        """
        import torch
        import torch.nn.functional as F

        rows, width, size = self._rows, self._width, q.shape[-1]
        query, key, value = (
            x[0].index_select(1, self._gather).view(x.shape[1], rows, width, size).transpose(0, 1)
            for x in (q, k, v)
        )
        if self._prefix is not None:
            key, value = (
                torch.cat((kept[layer].expand(rows, -1, -1, -1), own), dim=2)
                for kept, own in ((self._prefix.keys, key), (self._prefix.values, value))
            )
        heads, kv_heads = q.shape[1], k.shape[1]
        if self._fold:
            folded = query.reshape(rows * kv_heads, heads // kv_heads * width, size)
            keys, values = (x.reshape(rows * kv_heads, -1, size) for x in (key, value))
            scores = torch.baddbmm(self._mask, folded, keys.transpose(1, 2), alpha=size**-0.5)
            mixed = torch.bmm(torch.softmax(scores, -1), values)
        else:
            mixed = F.scaled_dot_product_attention(
                query, key, value, attn_mask=self._mask, enable_gqa=heads != kv_heads
            )
        out = mixed.view(rows, heads, width, size).transpose(0, 1).reshape(heads, -1, size)
        result = q.new_zeros(heads, q.shape[2], size)
        result[:, : self._total] = out.index_select(1, self._scatter)
        return result[None]


def _up(count: int, multiple: int) -> int:
    return count + -count % multiple
