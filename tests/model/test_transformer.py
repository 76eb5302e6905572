"""The decoder against `transformers`, and the contracts that other rooms build on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import transformers
from tiny import FAMILIES, tiny_config, tiny_model

import chatwright.model.transformer as module
from chatwright.errors import ModelError
from chatwright.model import ModelConfig, Transformer, load_model, save_model
from chatwright.model.rope import rope_frequencies
from chatwright.model.transformer import RMSNorm, rope_tables, rotate

PROMPTS = [
    "The capital of France is",
    "def add(a, b):\n    return a + b\n",
    "你好，世界！机器学习是人工智能的一个分支。",
]


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-3) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() < tolerance


def test_smollm2_logits_equal_transformers(smollm2, smollm2_folder):
    model, tokenizer = smollm2
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2_folder, dtype=torch.float32
    ).eval()
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt)])
        with torch.no_grad():
            close(model(ids), theirs(ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_equal_transformers(family, tokenizer, tmp_path):
    model = tiny_model(**FAMILIES[family])
    folder = save_model(model, tokenizer, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert sum(p.numel() for p in theirs.parameters()) == model.config.n_parameters
    ids = torch.randint(0, model.config.vocab_size, (2, 70), generator=torch.manual_seed(1))
    with torch.no_grad():
        ours, expected = model(ids), theirs(ids).logits
    assert expected.std() > 0.1  # logits that say something
    close(ours, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_save_load_is_identical(family, tokenizer, tmp_path):
    model = tiny_model(**FAMILIES[family])
    save_model(model, tokenizer, tmp_path / "model", lineage={"fingerprint": "f"}, card="# card\n")
    again, tokenizer_again = load_model(tmp_path / "model", dtype=torch.float32, device="cpu")
    assert again.config == model.config
    state, state_again = model.state_dict(), again.state_dict()
    assert state.keys() == state_again.keys()
    assert all(torch.equal(state[k], state_again[k]) for k in state)
    assert tokenizer_again.spec == tokenizer.spec
    assert json.loads((tmp_path / "model/lineage.json").read_text()) == {"fingerprint": "f"}
    assert (tmp_path / "model/README.md").read_text() == "# card\n"


def test_opens_what_transformers_saves_in_shards(tokenizer, tmp_path):
    config = transformers.Qwen3Config(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, attention_bias=True,
        tie_word_embeddings=False, max_position_embeddings=64, rope_theta=777.0,
    )  # fmt: skip
    torch.manual_seed(3)
    theirs = transformers.Qwen3ForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="100KB")
    tokenizer.save(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    ours, _ = load_model(tmp_path, dtype=torch.float32, device="cpu")
    assert ours.config.qk_norm and ours.config.output_bias
    ids = torch.randint(0, 320, (2, 20), generator=torch.manual_seed(1))
    with torch.no_grad():
        close(ours(ids), theirs(ids).logits)


def test_attention_hook_packs_rows():
    """Two texts in one row, kept apart by the caller's mask, are two rows."""
    model = tiny_model(qk_norm=True)
    first, second = torch.arange(3, 12)[None], torch.arange(40, 55)[None]
    row = torch.cat((first, second), dim=1)
    positions = torch.cat((torch.arange(9), torch.arange(15)))[None]
    segment = torch.tensor([0] * 9 + [1] * 15)
    mask = (segment[:, None] == segment[None]) & torch.ones(24, 24).tril().bool()
    layers = []

    def attend(layer, q, k, v):
        layers.append(layer)
        assert q.shape == (1, 6, 24, 32) and k.shape == v.shape == (1, 2, 24, 32)
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, enable_gqa=True
        )

    with torch.no_grad():
        packed = model(row, positions, attend)
        close(packed[:, :9], model(first), 1e-4)
        close(packed[:, 9:], model(second), 1e-4)
    assert layers == [0, 1, 2]


def test_causal_by_default():
    model = tiny_model(qk_norm=False)
    ids = torch.randint(0, 320, (1, 16), generator=torch.manual_seed(2))
    changed = ids.clone()
    changed[0, 10] += 1
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_rope_is_relative_and_in_float32():
    q, k = torch.randn(1, 1, 1, 64), torch.randn(1, 1, 1, 64)
    config = tiny_config(head_dim=64, rope_theta=100_000.0)
    frequencies = torch.tensor(rope_frequencies(config)[0])

    def score(at_q: int, at_k: int) -> float:
        tables = [rope_tables(torch.tensor([[at]]), frequencies) for at in (at_q, at_k)]
        return float((rotate(q, *tables[0]) * rotate(k, *tables[1])).sum())

    assert score(7, 3) == pytest.approx(score(8007, 8003), abs=2e-3)
    cos, sin = rope_tables(torch.tensor([[8191]]), frequencies)
    assert cos.dtype == sin.dtype == torch.float32
    model = tiny_model(qk_norm=False).to(torch.bfloat16)
    with torch.no_grad():
        logits = model(torch.arange(20)[None])
    assert logits.dtype == torch.float32 and model.hidden(torch.arange(4)[None]).dtype == (
        torch.bfloat16
    )


def test_norm_accumulates_in_float32():
    """300² is past float16's range, and 4096 ones cannot be added in bfloat16."""
    norm = RMSNorm(4096, 1e-6)
    for dtype in (torch.float16, torch.bfloat16):
        out = norm.to(dtype)(torch.full((1, 4096), 300.0, dtype=dtype))
        assert torch.all(out == 1)


def test_bfloat16_stays_near_float32(smollm2):
    model, tokenizer = smollm2
    ids = torch.tensor([tokenizer.encode(PROMPTS[0])])
    import copy

    half = copy.deepcopy(model).to(torch.bfloat16)
    with torch.no_grad():
        wide, narrow = model(ids)[0].log_softmax(-1), half(ids)[0].log_softmax(-1)
    top = wide.argmax(-1)
    assert (narrow.argmax(-1) == top).float().mean() > 0.8
    rows = torch.arange(len(top))
    assert (wide[rows, top] - narrow[rows, top]).abs().max() < 0.3


def test_random_is_the_seed():
    config = ModelConfig.from_depth(2, 300)
    a, b, c = (Transformer.random(config, s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["embed_tokens.weight"], c["embed_tokens.weight"])
    # A fresh model must be near the uniform guess, whatever its depth.
    deep = Transformer.random(ModelConfig.from_depth(12, 300), 1)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(
            deep(torch.arange(64)[None])[0, :-1], torch.arange(1, 64)
        )
    assert loss.item() == pytest.approx(math.log(300), rel=0.1)


@pytest.mark.parametrize("depth", [1, 2, 4, 7, 12])
def test_one_dial(depth):
    config = ModelConfig.from_depth(depth, 8192, context=512)
    assert config.width == depth * 64 and config.n_heads == depth == config.n_layers
    assert config.n_heads % config.n_kv_heads == 0 and config.mlp_width % 64 == 0
    assert config.mlp_width >= config.width * 8 / 3 > config.mlp_width - 64
    model = Transformer.empty(config)
    assert config.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_config_round_trip(family):
    config = tiny_config(**FAMILIES[family])
    assert ModelConfig.from_hf(config.to_hf()) == config
    assert config.n_parameters == sum(p.numel() for p in Transformer.empty(config).parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "RoPE scaling 'longrope'"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "factor"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "rope_scaling.*factor"),
        ({"rope_scaling": {"type": "yarn", "factor": "two"}}, "rope_scaling.*factor"),
        ({"rope_scaling": ["linear", 2]}, "rope_scaling is not a JSON object"),
        ({"rope_parameters": "linear"}, "rope_parameters is not a JSON object"),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5}},
            "part",
        ),
        ({"partial_rotary_factor": 0.25}, "part of each head"),
        ({"model_type": "mistral", "sliding_window": -3}, "sliding_window"),
        ({"model_type": "mistral", "attention_bias": True, "sliding_window": 8}, "no known family"),
        (
            {
                "model_type": "qwen2",
                "use_sliding_window": True,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                "max_window_layers": 0,
            },
            "layer_types",
        ),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"mlp_bias": True}, "bias"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"num_key_value_heads": 4}, "multiple"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"hidden_size": "many"}, "width"),
        ({"head_dim": 31}, "odd"),
        ({"num_attention_heads": 0}, "n_heads"),
        ({"num_hidden_layers": None}, "n_layers"),
    ],
)
def test_config_refuses(change, said):
    hf = tiny_config(qk_norm=False).to_hf() | change
    with pytest.raises(ModelError, match=said):
        ModelConfig.from_hf(hf)


def test_the_model_is_one_short_file():
    assert len(Path(module.__file__).read_text().splitlines()) < 300
