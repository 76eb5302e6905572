"""Adapters: arithmetic, freezing, merging, and PEFT's files both ways."""

from __future__ import annotations

import json

import peft
import pytest
import torch
import transformers
from tiny import tiny_model

from chatwright.errors import ModelError
from chatwright.model import (
    add_lora,
    load_adapter,
    load_model,
    lora_parameters,
    merge_lora,
    save_adapter,
    save_model,
)

IDS = torch.arange(5, 45)[None]


def shaken(model):
    """Adapters that do something."""
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(0, 0.1)
    return model.eval()


def logits(model):
    with torch.no_grad():
        out = model(IDS)
    return out if isinstance(out, torch.Tensor) else out.logits


def test_starts_as_the_base_and_trains_only_adapters():
    model = tiny_model(qk_norm=True, attention_bias=True, output_bias=True)
    before = logits(model)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters()}
    parameters = add_lora(model, rank=4, alpha=8, targets=("q_proj", "down_proj"))
    assert torch.equal(logits(model), before)
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert (
        trainable == set(lora_parameters(model)) and len(parameters) == len(trainable) == 3 * 2 * 2
    )
    assert {p.dtype for p in parameters} == {torch.float32}
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(IDS)[0, :-1], IDS[0, 1:])
        loss.backward()
        optimizer.step()
    assert not torch.equal(logits(model), before)
    now = dict(model.named_parameters())
    assert all(torch.equal(now[n], p) for n, p in frozen.items())


def test_seed_gives_the_same_start():
    starts = []
    for seed in (1, 1, 2):
        model = tiny_model()
        add_lora(model, rank=2, seed=seed)
        starts.append(torch.cat([p.flatten() for p in lora_parameters(model).values()]))
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_merge_is_the_same_function():
    model = tiny_model(qk_norm=False)
    names = list(model.state_dict())
    add_lora(model, rank=4, alpha=16)
    adapted = logits(shaken(model))
    merge_lora(model)
    torch.testing.assert_close(logits(model), adapted, rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == names and not lora_parameters(model)
    assert all(p.requires_grad for p in model.parameters())


def test_dropout_only_in_training():
    model = tiny_model()
    add_lora(model, rank=4, dropout=0.5)
    shaken(model)
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert not torch.equal(logits(model), logits(model))


def test_bfloat16_base():
    model = tiny_model().to(torch.bfloat16)
    add_lora(model, rank=4)
    shaken(model)
    model(IDS).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32
               for p in lora_parameters(model).values())  # fmt: skip
    adapted = logits(model)
    merge_lora(model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert (logits(model) - adapted).abs().mean() < 0.1 * adapted.abs().mean()


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), None])
def test_peft_opens_ours(targets, tokenizer, tmp_path):
    model = tiny_model(qk_norm=False, tied=True)
    save_model(model, tokenizer, tmp_path / "base")
    add_lora(model, rank=4, alpha=12, **({"targets": targets} if targets else {}))
    expected = logits(shaken(model))
    save_adapter(model, tmp_path / "adapter", base=str(tmp_path / "base"))
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(theirs), expected, rtol=1e-3, atol=1e-3)


def test_we_open_pefts(tokenizer, tmp_path):
    save_model(tiny_model(qk_norm=False, tied=True), tokenizer, tmp_path / "base")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    config = peft.LoraConfig(
        r=4, lora_alpha=10, target_modules=["k_proj", "o_proj", "gate_proj"],
        init_lora_weights=False, task_type="CAUSAL_LM",
    )  # fmt: skip
    theirs = peft.get_peft_model(base, config).eval()
    expected = logits(theirs)
    theirs.save_pretrained(tmp_path / "adapter")
    ours, _ = load_model(tmp_path / "base", dtype=torch.float32, device="cpu")
    before = logits(ours)
    load_adapter(ours, tmp_path / "adapter")
    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(logits(ours), expected, rtol=1e-3, atol=1e-3)
    # And out again: nothing is lost on the way.
    save_adapter(ours, tmp_path / "again", base="base")
    third, _ = load_model(tmp_path / "base", dtype=torch.float32, device="cpu")
    load_adapter(third, tmp_path / "again")
    assert torch.equal(logits(third), logits(ours))


def test_refusals(tokenizer, tmp_path):
    model = tiny_model(qk_norm=False)
    with pytest.raises(ModelError, match="no layer is called x_proj"):
        add_lora(model, targets=("x_proj",))
    with pytest.raises(ModelError, match="no LoRA"):
        save_adapter(model, tmp_path / "a", base="b")
    add_lora(model, rank=2)
    with pytest.raises(ModelError, match="already"):
        add_lora(model, rank=2)
    with pytest.raises(ModelError, match="not merged"):
        save_model(model, tokenizer, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    save_adapter(model, tmp_path / "adapter", base="b")
    config_file = tmp_path / "adapter/adapter_config.json"
    config = json.loads(config_file.read_text())
    for change, match in [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 3}, "do not fit"),
        ({"r": "x"}, "missing or wrong"),
    ]:
        config_file.write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=match):
            load_adapter(tiny_model(qk_norm=False), tmp_path / "adapter")
    config_file.write_text(json.dumps(config))
    other = tiny_model(qk_norm=False, width=128)
    with pytest.raises(ModelError, match="do not fit"):
        load_adapter(other, tmp_path / "adapter")
    assert not lora_parameters(other)
    weights = tmp_path / "adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="safetensors"):
        load_adapter(tiny_model(qk_norm=False), tmp_path / "adapter")
