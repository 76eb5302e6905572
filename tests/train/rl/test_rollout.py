"""Prompts and the answers to them: which, in what order, with what chance; and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.errors import DataError, TrainingError
from chatwright.generate import Completion
from chatwright.generate.native_runner import slow_kernels
from chatwright.model import ModelConfig, Transformer, add_lora
from chatwright.records import Conversation, Document, Message
from chatwright.tokenizer import Tokenizer
from chatwright.train.fused import fused_blocks
from chatwright.train.packing import IGNORED
from chatwright.train.preference.pairs import place_of
from chatwright.train.rl.policy import adapters_off, answering_engine, look, merged_copy
from chatwright.train.rl.prompts import Prompts, prompt_of
from chatwright.train.rl.rollout import Rollouts, draw, seed_of
from chatwright.train.rl.settings import GrpoSettings, RolloutSettings

from ..conftest import make_documents, tiny_model
from .conftest import make_preferences, make_prompts, prepare, settings


def trained_lora(model: Transformer) -> Transformer:
    """Adapters that do something."""
    add_lora(model, rank=2, seed=3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_(0, 0.1, generator=generator)
    return model


def prompts_of(tokenizer: Tokenizer, rows: Any, longest: int = 60, seed: int = 0) -> Prompts:
    return Prompts([(rows, 1.0)], tokenizer, longest=longest, seed=seed, stage="rl")


# -- prompts ---------------------------------------------------------------------------------------


def test_the_last_answer_is_taken_off() -> None:
    row = make_prompts(1)[0]
    messages, reference = prompt_of(row)
    assert [m.role for m in messages] == ["user"] and reference == "#### 0"
    row.messages.append(Message("user", "and now?"))
    messages, reference = prompt_of(row)
    assert [m.role for m in messages] == ["user", "assistant", "user"] and reference is None
    pair = make_preferences(1)[0]
    assert prompt_of(pair) == (pair.prompt, "yes 0")
    with pytest.raises(DataError, match="this is a document"):
        prompt_of(make_documents(1)[0])


def test_what_cannot_be_answered_is_in_the_ledger(tokenizer: Tokenizer) -> None:
    rows = make_prompts(3)
    rows[0].messages[:1] = []  # nobody asked
    rows[1].messages[0] = Message("user", "much too long " * 40)
    prompts = prompts_of(tokenizer, rows)
    assert [(e.row_id, e.action, e.rule) for e in prompts.ledger] == [
        (rows[0].id, "drop", "no prompt"),
        (rows[1].id, "drop", "too long"),
    ]
    assert [p.row_id for p in prompts.all] == [rows[2].id]
    with pytest.raises(TrainingError, match="2 rows were left out"):
        prompts_of(tokenizer, rows[:2])


def test_order_is_a_function_of_the_seed(tokenizer: Tokenizer) -> None:
    rows = make_prompts(5)
    whole = prompts_of(tokenizer, rows).take(0, 15)
    for epoch in range(3):
        assert sorted(whole[5 * epoch : 5 * epoch + 5]) == list(range(5))
    assert whole[:5] != whole[5:10]
    other = prompts_of(tokenizer, rows)
    assert [other.take(n, 1)[0] for n in (14, 3, 7)] == [whole[n] for n in (14, 3, 7)]
    assert prompts_of(tokenizer, rows, seed=1).take(0, 15) != whole


def test_weights_of_a_mixture(tokenizer: Tokenizer) -> None:
    rows = make_prompts(6)
    prompts = Prompts([(rows[:2], 2.0), (rows[2:], 0.5)], tokenizer, longest=60, seed=0, stage="")
    epoch = prompts.take(0, prompts.per_epoch)
    assert len(epoch) == 6 and sorted(epoch)[:4] == [0, 0, 1, 1]


def test_only_prompts_of_a_range(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The split of reward models and DPO: what they have seen, and what nobody has."""
    rows = make_preferences(40)

    def taken(preference: dict[str, Any]) -> set[str]:
        wanted = settings("grpo", preference=preference)
        ready = prepare(tiny_model(tokenizer), tokenizer, wanted, tmp_path, data=[(rows, 1.0)])
        assert not ready.source.ledger
        return {p.row_id for p in ready.source._prompts.all}  # type: ignore[attr-defined]

    lower, upper = taken({"prompts": [0, 0.5]}), taken({"prompts": [0.5, 1]})
    assert lower | upper == {r.id for r in rows} and not lower & upper and lower and upper
    less = taken({"prompts": [0, 0.5], "held_out": 0.4})
    assert less == {r.id for r in rows if place_of(r.prompt) < 0.3} < lower


# -- the policy from its sides ---------------------------------------------------------------------


def test_adapters_off_is_the_model_before_them(tokenizer: Tokenizer) -> None:
    model = tiny_model(tokenizer)
    tokens = torch.arange(8)[None]
    before = model(tokens)
    trained_lora(model)
    with_them = model(tokens)
    with adapters_off(model):
        assert torch.equal(model(tokens), before)
        with fused_blocks(model):  # as in the loop
            torch.testing.assert_close(model(tokens), before, atol=1e-5, rtol=1e-5)
    with fused_blocks(model), adapters_off(model):
        torch.testing.assert_close(model(tokens), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(tokens), with_them) and not torch.allclose(with_them, before)


def test_a_merged_copy_is_the_adapted_model(tokenizer: Tokenizer) -> None:
    model = trained_lora(tiny_model(tokenizer))
    names = {n: p.clone() for n, p in model.named_parameters()}
    copy = merged_copy(model)
    assert copy is not None
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(copy(tokens), model(tokens), atol=1e-5, rtol=1e-5)
    assert copy.embed_tokens.weight.data_ptr() == model.embed_tokens.weight.data_ptr()
    assert all(torch.equal(p, names[n]) for n, p in model.named_parameters())
    wide = merged_copy(model.to(torch.bfloat16), torch.float32)
    assert wide is not None and wide.dtype == torch.float32


# -- drawing ---------------------------------------------------------------------------------------


def kernel_model(tokenizer: Tokenizer) -> Transformer:
    """Of a shape that the compiled kernels take."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, width=32, n_layers=2, n_heads=2, n_kv_heads=1,
        head_dim=16, mlp_width=64, context=128, tied=True,
    )  # fmt: skip
    return Transformer.random(config, 1).requires_grad_(False)


def answers(
    tokenizer: Tokenizer, model: Transformer, slots: list[int], s: RolloutSettings, seed: int = 7
) -> dict[int, list[Completion]]:
    prompts = prompts_of(tokenizer, make_prompts())
    with answering_engine(model, tokenizer, s, 64) as engine:
        found = draw(engine, [(i, prompts.all[i]) for i in slots], s, seed=seed, iteration=2)
    return dict(zip(slots, found, strict=True))


def ids(found: list[Completion]) -> list[list[int]]:
    return [a.token_ids for a in found]


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_answers_do_not_hang_on_their_neighbours(tokenizer: Tokenizer, engine: Any) -> None:
    if engine == "auto" and (reason := slow_kernels()):
        pytest.skip(reason)
    model = trained_lora(kernel_model(tokenizer))
    s = GrpoSettings(answers=3, max_new_tokens=8, engine=engine, engine_batch=4)
    together = answers(tokenizer, model, [0, 1, 2, 3, 4], s)
    again = answers(tokenizer, model, [0, 1, 2, 3, 4], s)
    assert {i: ids(a) for i, a in together.items()} == {i: ids(a) for i, a in again.items()}
    for slot in (3, 1):
        assert ids(answers(tokenizer, model, [slot], s)[slot]) == ids(together[slot])
    assert len({tuple(x) for x in ids(together[0])}) == 3  # each answer has chances of its own
    other = answers(tokenizer, model, [0], s, seed=8)
    assert ids(other[0]) != ids(together[0])


def test_seeds_are_all_different() -> None:
    seeds = {seed_of(s, i, slot) for s in range(4) for i in range(-1, 8) for slot in range(8)}
    assert len(seeds) == 4 * 9 * 8 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_what_is_known_of_each_token(tokenizer: Tokenizer, temperature: float) -> None:
    """Log-probabilities and entropies against whole logits, one sequence at a time."""
    model = trained_lora(tiny_model(tokenizer)).requires_grad_(False)
    s = GrpoSettings(answers=2, max_new_tokens=5, temperature=temperature, engine="torch")
    prompts = prompts_of(tokenizer, make_prompts())
    found = answers(tokenizer, model, [0, 1, 2], s)
    rollouts = Rollouts.of(
        0, [0, 1, 2], prompts.all[:3],
        [[(a.token_ids, a.finish_reason != "stop") for a in found[i]] for i in range(3)],
    )  # fmt: skip
    assert len(rollouts) == 6
    batch = rollouts.batch([4, 0, 3], ["x"], {"count": torch.arange(6.0)})
    assert batch.extra["count"].tolist() == [4, 0, 3]
    seen = look(model, batch, temperature, entropy=True)
    at = 0
    for number in (4, 0, 3):
        prompt, answer = prompts.all[number // 2].ids, found[number // 2][number % 2]
        whole = torch.tensor([[*prompt, *answer.token_ids]])
        likely = (model(whole)[0].double() / temperature).log_softmax(-1)
        for i, token in enumerate(answer.token_ids):
            row = likely[len(prompt) + i - 1]
            assert float(seen["log_probs"][at]) == pytest.approx(float(row[token]), abs=1e-5)
            spread = -float((row.exp() * row).sum())
            assert float(seen["entropy"][at]) == pytest.approx(spread, abs=1e-5)
            if temperature == 1.0:
                assert answer.logprobs is not None
                assert answer.logprobs[i] == pytest.approx(float(row[token]), abs=1e-4)
            at += 1
    assert at == int((batch.targets != IGNORED).sum()) == len(seen["log_probs"])


def test_rollouts_are_kept_whole(tokenizer: Tokenizer) -> None:
    prompts = prompts_of(tokenizer, make_prompts()).all[:2]
    rollouts = Rollouts.of(3, [0, 1], prompts, [[([5, 6], True)], [([7, 8, 9], False)]])
    rollouts.by_token["values"] = torch.arange(5.0)
    assert rollouts.rows(torch.arange(5.0)).tolist() == [[0, 1, 0], [2, 3, 4]]
    assert rollouts.flat(rollouts.rows(torch.arange(5.0))).tolist() == [0, 1, 2, 3, 4]
    again = Rollouts.from_state(rollouts.state())
    assert again.state().keys() == rollouts.state().keys()
    assert all(torch.equal(t, again.state()[n]) for n, t in rollouts.state().items())
    batch = again.batch([1], ["a"], {})
    assert batch.extra["values"][0, -3:].tolist() == [2, 3, 4]
    assert batch.targets[0, -3:].tolist() == [7, 8, 9]
    assert (batch.targets[0, :-3] == IGNORED).all()


def test_rows_without_text_or_messages(tokenizer: Tokenizer) -> None:
    empty = Conversation("empty", [], "file:x", "test")
    with pytest.raises(TrainingError, match="1 rows were left out"):
        prompts_of(tokenizer, [empty])
    with pytest.raises(DataError, match="row d"):
        prompts_of(tokenizer, [Document("d", "text", "file:d", "test")])
