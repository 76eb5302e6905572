"""Longer windows: RoPE scaling and sliding windows, against `transformers` and by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import FAMILIES, tiny_config, tiny_model, write_gguf
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from chatwright.errors import ModelError
from chatwright.model import ModelConfig, load_model, save_model
from chatwright.model.gguf_rope import frequency_divisors, long_context_metadata
from chatwright.model.rope import (
    RopeScaling,
    llama3_factors,
    parse_rope,
    rope_frequencies,
    with_rope,
)
from chatwright.model.transformer import causal_attention, visible

SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"type": "linear", "factor": 4.0},
    "dynamic": {"type": "dynamic", "factor": 2.5, "original_context": 32},
    "yarn": {"type": "yarn", "factor": 4.0, "original_context": 32},
    "yarn-all": {
        "type": "yarn", "factor": 8.0, "original_context": 64, "beta_fast": 4.0, "beta_slow": 0.25,
        "attention_factor": 1.3, "truncate": False,
    },
    "llama3": {
        "type": "llama3", "factor": 8.0, "original_context": 64, "low_freq_factor": 0.5,
        "high_freq_factor": 3.0,
    },
}  # fmt: skip
WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": {"qk_norm": False, "sliding_window": 9},
    "qwen2": {"qk_norm": False, "attention_bias": True, "sliding_window": 9},
    "qwen2-some-layers": {
        "qk_norm": False, "attention_bias": True, "sliding_window": 9, "window_from_layer": 2,
    },
    "qwen3-some-layers": {"qk_norm": True, "sliding_window": 5, "window_from_layer": 1},
}  # fmt: skip


def scaled_config(name: str, **options: Any) -> ModelConfig:
    """Its window is what the file makes of it: for dynamic scaling the longer one."""
    scaling = SCALINGS[name]
    context = {"dynamic": 80, "yarn-all": 512}.get(name, 128)
    return tiny_config(context=context, rope_scaling=scaling, **options)


def hf_config(config: ModelConfig) -> Any:
    return transformers.AutoConfig.for_model(**json.loads(json.dumps(config.to_hf())))


# -- frequencies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("theta", [5_000.0, 500_000.0])
def test_frequencies_equal_transformers(name: str, theta: float) -> None:
    config = scaled_config(name, rope_theta=theta, head_dim=128)
    theirs = hf_config(config)
    for length in (None, 20, 32, 33, 500, 40_000):
        expected, scale = ROPE_INIT_FUNCTIONS[config.rope_scaling.type](theirs, seq_len=length)
        ours, our_scale = rope_frequencies(config, length)
        np.testing.assert_allclose(ours, expected.numpy(), rtol=2e-6)
        assert our_scale == pytest.approx(scale, rel=1e-12)
        assert ours.dtype == np.float32 and not ours.flags.writeable
    plain, _ = rope_frequencies(tiny_config(rope_theta=theta, head_dim=128))
    assert ours[0] <= plain[0] and ours[-1] < plain[-1]


def test_frequencies_of_llama_3_1_at_the_bounds() -> None:
    """By its definition: short wavelengths stay, long ones are 8 times as long, smooth between."""
    scaling = {"type": "llama3", "factor": 8.0, "original_context": 8192}
    config = tiny_config(head_dim=128, rope_theta=500_000.0, rope_scaling=scaling)
    plain = 500_000.0 ** -(np.arange(64) / 64)
    ours, _ = rope_frequencies(config)
    for before, after in zip(plain, ours, strict=True):
        wavelength = 2 * math.pi / before
        if wavelength < 8192 / 4:
            assert after == pytest.approx(before, rel=1e-6)
        elif wavelength > 8192:
            assert after == pytest.approx(before / 8, rel=1e-6)
        else:
            assert before / 8 < after < before
    assert config.rope_scaling is not None
    divided = plain / llama3_factors(128, 500_000.0, config.rope_scaling)
    np.testing.assert_allclose(divided, ours, rtol=1e-6)


def test_linear_is_smaller_positions_and_dynamic_nothing_within_its_window() -> None:
    model = tiny_model(qk_norm=True)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        plain, halves = model(ids), model(ids, torch.arange(20)[None] * 3)
        model.config = with_rope(model.config, "linear", 3)
        assert model.config.context == 384
        torch.testing.assert_close(model(ids, torch.arange(20)[None] * 3), plain)
        model.config = with_rope(tiny_config(qk_norm=True), "dynamic", 4)
        torch.testing.assert_close(model(ids), plain, rtol=0, atol=0)
        assert (model.hidden(ids, rope_length=300) - model.hidden(ids)).abs().max() > 0.01
    assert not torch.allclose(plain, halves)


# -- models ----------------------------------------------------------------------------------------


def compare(model: Any, theirs: Any, length: int = 70) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, length), generator=torch.manual_seed(1))
    with torch.no_grad():
        ours, expected = model(ids), theirs(ids).logits
    assert expected.std() > 0.1
    assert (ours - expected).abs().max() < 1e-3


@pytest.mark.parametrize("name", SCALINGS)
def test_scaled_models_equal_transformers(name, tokenizer, tmp_path):
    model = tiny_model(qk_norm=False, **_scaled(name))
    folder = save_model(model, tokenizer, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for length in (30, 100):  # growing: they keep frequencies that they once stretched
        compare(model, theirs, length)
    model.config = tiny_config(qk_norm=False)
    with torch.no_grad():
        assert (model(torch.arange(60)[None]) - theirs(torch.arange(60)[None]).logits).std() > 0.02


def _scaled(name: str) -> dict[str, Any]:
    config = scaled_config(name)
    return {"rope_scaling": config.rope_scaling, "context": config.context}


@pytest.mark.parametrize("name", WINDOWS)
def test_windowed_models_equal_transformers(name, tokenizer, tmp_path):
    model = tiny_model(**WINDOWS[name])
    folder = save_model(model, tokenizer, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    compare(model, theirs)
    again, _ = load_model(folder, dtype=torch.float32, device="cpu")
    assert again.config == model.config


def test_what_transformers_saves_is_read(tokenizer, tmp_path):
    shape = {
        "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 256,
    }  # fmt: skip
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    configs = [
        transformers.MistralConfig(**shape, sliding_window=11),
        transformers.Qwen2Config(
            **shape, use_sliding_window=True, sliding_window=7, max_window_layers=1
        ),
        transformers.LlamaConfig(**shape, rope_parameters=yarn | {"rope_theta": 9_000.0}),
        transformers.Qwen3Config(
            **shape, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        ),
    ]
    for i, config in enumerate(configs):
        torch.manual_seed(i)
        theirs = transformers.AutoModelForCausalLM.from_config(config).eval().float()
        with torch.no_grad():
            for weight in theirs.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, 0.15)
        folder = tmp_path / str(i)
        theirs.save_pretrained(folder)
        tokenizer.save(folder)
        ours, _ = load_model(folder, dtype=torch.float32, device="cpu")
        compare(ours, theirs, 100)


# -- config.json -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SCALINGS, *WINDOWS])
@pytest.mark.parametrize("family", FAMILIES)
def test_config_round_trip(name: str, family: str) -> None:
    if name in SCALINGS:
        config = scaled_config(name, **FAMILIES[family])
    else:
        config = tiny_config(**WINDOWS[name], rope_scaling=SCALINGS["yarn"])
        config = config.model_copy(update={"attention_sinks": 4})
    written = json.loads(json.dumps(config.to_hf()))
    assert ModelConfig.from_hf(written) == config
    if config.rope_scaling is not None:  # what older programs read says the same
        older = {k: v for k, v in written.items() if k != "rope_parameters"}
        assert ModelConfig.from_hf(older) == config
        del written["rope_scaling"]
        assert ModelConfig.from_hf(written) == config


def test_older_files() -> None:
    hf = tiny_config(qk_norm=False).to_hf()
    del hf["rope_parameters"]
    linear = ModelConfig.from_hf(hf | {"rope_scaling": {"type": "linear", "factor": 2}})
    assert linear.rope_scaling == RopeScaling(type="linear", factor=2)
    assert (linear.rope_theta, linear.context) == (5_000.0, 128)
    # Qwen2.5 names the window before scaling in both places, Qwen3 and others the one after.
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    for named in (128, 512):
        read = ModelConfig.from_hf(hf | {"rope_scaling": yarn, "max_position_embeddings": named})
        assert (read.context, read.rope_scaling.original_context) == (512, 128)
    llama = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 32}  # fmt: skip
    assert ModelConfig.from_hf(hf | {"rope_scaling": llama}).rope_scaling == RopeScaling(
        type="llama3", factor=8, original_context=32
    )
    deepseek = yarn | {"mscale": 0.7, "mscale_all_dim": 0.5, "beta_fast": 16}
    read = ModelConfig.from_hf(hf | {"rope_scaling": deepseek})
    theirs = transformers.LlamaConfig(**(hf | {"rope_scaling": deepseek}))
    expected, scale = ROPE_INIT_FUNCTIONS["yarn"](theirs)
    ours, our_scale = rope_frequencies(read)
    assert our_scale == pytest.approx(scale) and scale != 1
    np.testing.assert_allclose(ours, expected.numpy(), rtol=2e-6)


def test_windows_in_files() -> None:
    hf = tiny_config(qk_norm=False).to_hf()
    mistral = hf | {"model_type": "mistral"}
    assert ModelConfig.from_hf(mistral).sliding_window == 4096  # as transformers understands it
    assert ModelConfig.from_hf(mistral | {"sliding_window": None}).sliding_window is None
    assert ModelConfig.from_hf(hf | {"sliding_window": 7}).sliding_window is None  # Llama has none
    qwen = hf | {"model_type": "qwen2", "sliding_window": 7, "max_window_layers": 1}
    assert ModelConfig.from_hf(qwen).sliding_window is None
    used = ModelConfig.from_hf(qwen | {"use_sliding_window": True})
    assert [used.window_of(layer) for layer in range(3)] == [None, 7, 7]
    never = {"use_sliding_window": True, "max_window_layers": 3}
    assert ModelConfig.from_hf(qwen | never).sliding_window is None
    full = {"use_sliding_window": True, "layer_types": ["full_attention"] * 3}
    assert ModelConfig.from_hf(qwen | full).sliding_window is None
    last = {
        "use_sliding_window": True,
        "layer_types": ["full_attention"] * 2 + ["sliding_attention"],
    }
    assert ModelConfig.from_hf(qwen | last).window_from_layer == 2


# -- GGUF ------------------------------------------------------------------------------------------

GGUF_SCALINGS: dict[str, tuple[dict[str, Any], RopeScaling | None]] = {
    "none": ({"rope.scaling.type": "none"}, None),
    "none-with-factor": ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, None),
    "factor-of-1": ({"rope.scaling.type": "linear", "rope.scaling.factor": 1.0}, None),
    "linear": (
        {"rope.scaling.type": "linear", "rope.scaling.factor": 2.1},
        RopeScaling(type="linear", factor=2.1),
    ),
    "linear-by-its-older-name": ({"rope.scale_linear": 4.0}, RopeScaling(type="linear", factor=4)),
    "yarn": (
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
        },
        RopeScaling(type="yarn", factor=4, original_context=32),
    ),
    "yarn-all": (
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 2.0,
            "rope.scaling.attn_factor": 0.5,
            "rope.scaling.yarn_beta_fast": 16.0,
            "rope.scaling.yarn_beta_slow": 0.5,
        },
        RopeScaling(
            type="yarn", factor=2, original_context=128, beta_fast=16, beta_slow=0.5,
            attention_factor=0.53465736,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GGUF_SCALINGS)
def test_scalings_in_gguf(name, tokenizer, tmp_path):
    extra, expected = GGUF_SCALINGS[name]
    write_gguf(tmp_path / "m.gguf", tiny_model(qk_norm=False), tokenizer, extra=extra)
    loaded, _ = load_model(tmp_path / "m.gguf", dtype=torch.float32, device="cpu")
    assert loaded.config == tiny_config(qk_norm=False, rope_scaling=expected)


@pytest.mark.parametrize("window", [None, 64])
def test_llama3_in_gguf_is_a_tensor_of_divisors(window, tokenizer, tmp_path):
    scaling = RopeScaling(type="llama3", factor=32, original_context=window or 8192)
    config = tiny_config(qk_norm=False, rope_theta=500_000.0, rope_scaling=scaling)
    model = tiny_model(qk_norm=False, rope_theta=500_000.0)
    divisors = frequency_divisors(config)
    assert divisors is not None and divisors[0] == 1 and divisors[-1] == 32
    path = tmp_path / "m.gguf"
    extra = {} if window is None else {"rope.scaling.original_context_length": window}
    write_gguf(path, model, tokenizer, extra=extra, rope_divisors=divisors)
    loaded, _ = load_model(path, dtype=torch.float32, device="cpu")
    assert loaded.config == config
    ones = np.ones(16, dtype=np.float32)
    write_gguf(path, model, tokenizer, rope_divisors=ones)
    assert load_model(path, device="cpu")[0].config.rope_scaling is None
    ones[3] = 7
    write_gguf(path, model, tokenizer, rope_divisors=ones)
    with pytest.raises(ModelError, match="not Llama 3's"):
        load_model(path, device="cpu")
    write_gguf(path, model, tokenizer, rope_divisors=divisors[:9].copy())
    with pytest.raises(ModelError, match=r"shape \[9\], not F32 of 16"):
        load_model(path, device="cpu")


def test_gguf_that_is_not_supported(tokenizer, tmp_path):
    cases: list[tuple[dict[str, Any], Any, str]] = [
        ({"rope.scaling.type": "longrope", "rope.scaling.factor": 2.0}, None, "longrope"),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": -2.0}, None, "factor"),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": math.nan}, None, "factor"),
        (
            {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 2.0,
                "rope.scaling.yarn_log_multiplier": 0.1,
            },
            None,
            "yarn_log_multiplier",
        ),
        ({"rope.scaling.factor": 2.0}, np.ones(16, dtype=np.float32), "both"),
    ]
    for extra, divisors, said in cases:
        path = tmp_path / "m.gguf"
        write_gguf(path, tiny_model(), tokenizer, extra=extra, rope_divisors=divisors)
        with pytest.raises(ModelError, match=said) as caught:
            load_model(path, device="cpu")
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["linear", "yarn", "llama3", "window"])
def test_metadata_round_trip(name, tokenizer, tmp_path):
    options: dict[str, Any] = {"rope_scaling": SCALINGS.get(name)}
    if name == "llama3":
        options = {"rope_scaling": {"type": name, "factor": 8, "original_context": 1024}}
        options["rope_theta"] = 500_000.0
    elif name == "window":
        options = {"sliding_window": 11}
    model = tiny_model(qk_norm=False, **options)
    metadata, divisors = long_context_metadata(model.config), frequency_divisors(model.config)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, extra=metadata, rope_divisors=divisors)
    loaded, _ = load_model(tmp_path / "m.gguf", dtype=torch.float32, device="cpu")
    assert loaded.config == model.config
    ids = torch.arange(60)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), model(ids))


def test_what_gguf_cannot_say() -> None:
    for options in (
        {"rope_scaling": SCALINGS["dynamic"]},
        {"rope_scaling": SCALINGS["yarn-all"]},
        {"rope_scaling": SCALINGS["llama3"]},
        {"sliding_window": 5, "attention_sinks": 2},
    ):
        with pytest.raises(ModelError, match="GGUF"):
            long_context_metadata(tiny_config(qk_norm=False, **options))


# -- windows and sinks -----------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    seen = visible(torch.arange(7), 7, window=3, sinks=2)
    expected = [
        "1......",
        "11.....",
        "111....",
        "1111...",
        "11111..",
        "11.111.",
        "11..111",
    ]
    assert ["".join(".1"[int(x)] for x in row) for row in seen.tolist()] == expected
    later = visible(torch.tensor([5, 6]), 9, window=2)
    assert later.int().tolist() == [[0, 0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0, 0]]


def test_causal_attention_with_window_and_sinks_is_attention_over_what_is_seen() -> None:
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(2, 4, 12, 8, generator=generator)
    k, v = (torch.randn(2, 2, 12, 8, generator=generator) for _ in range(2))
    ours = causal_attention(0, q, k, v, window=4, sinks=2)
    for t in range(12):
        kept = [s for s in range(t + 1) if s > t - 4 or s < 2]
        for head in range(4):
            scores = k[:, head // 2, kept] @ q[:, head, t, :, None] / math.sqrt(8)
            expected = (torch.softmax(scores, 1) * v[:, head // 2, kept]).sum(1)
            torch.testing.assert_close(ours[:, head, t], expected)
    wide = causal_attention(0, q, k, v, window=12)
    assert torch.equal(wide, causal_attention(0, q, k, v))


def test_gradients_flow_through_a_window() -> None:
    model = tiny_model(qk_norm=False, sliding_window=4, attention_sinks=1).train()
    embedded = model.embed_tokens.weight
    model(torch.arange(12)[None])[0, -1].sum().backward()
    # Token 5 is out of the last one's sight in one layer, but not in three.
    assert embedded.grad is not None and embedded.grad[5].abs().max() > 0


def test_an_attention_that_would_look_past_the_window_is_refused() -> None:
    model = tiny_model(qk_norm=False, sliding_window=8)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        with pytest.raises(ModelError, match="8 tokens back"):
            model(ids, attention=causal_attention)
        # Two packed rows of 8 do not look further than the window.
        positions = torch.cat((torch.arange(8), torch.arange(8)))[None]
        model(ids[:, :16], positions, causal_attention)


# -- longer windows at load ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "ntk", "dynamic", "yarn", "llama3"])
def test_extending_a_window_at_load(kind, tokenizer, tmp_path):
    model = tiny_model(qk_norm=False)
    save_model(model, tokenizer, tmp_path / "model")
    longer, _ = load_model(
        tmp_path / "model", dtype=torch.float32, device="cpu", rope={"type": kind, "factor": 2}
    )
    assert longer.config.context == 256
    assert all(map(torch.equal, longer.state_dict().values(), model.state_dict().values()))
    folder = save_model(longer, tokenizer, tmp_path / "longer")  # and what is saved stays longer
    again, _ = load_model(folder, dtype=torch.float32, device="cpu")
    assert again.config == longer.config
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    compare(longer, theirs, 200)


def test_static_ntk_is_a_larger_base() -> None:
    config = with_rope(tiny_config(), "ntk", 4.0)
    assert config.rope_theta == pytest.approx(5_000 * 4 ** (32 / 30))
    plain, _ = rope_frequencies(tiny_config())
    slow, _ = rope_frequencies(config)
    assert slow[0] == plain[0] == 1 and slow[-1] == pytest.approx(plain[-1] / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"type": "su", "factor": 2}, "su"),
        ({"type": "yarn", "factor": 0.5}, "0.5 times"),
        ({"type": "yarn", "factor": "4"}, "times"),
        ({"type": "yarn", "factor": float("nan")}, "times"),
        ({"type": "ntk", "factor": 2, "beta_fast": 3}, "beta_fast"),
        ({"type": "yarn", "factor": 2, "beta": 3}, "beta"),
        ({"type": "llama3", "factor": 2, "high_freq_factor": 0.5}, "high_freq_factor"),
    ],
)
def test_extensions_that_cannot_be(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        with_rope(tiny_config(), **arguments)


def test_extensions_in_one_word() -> None:
    assert parse_rope("yarn:4") == {"type": "yarn", "factor": 4.0}
    assert with_rope(tiny_config(), **parse_rope("ntk:1.5")).context == 192
    for text in ("yarn", "yarn:", "yarn:x", "su:2", "yarn:0.5", "yarn:nan", ":4", ""):
        with pytest.raises(ModelError, match="longer") as caught:
            parse_rope(text)
        assert "yarn:4" in (caught.value.hint or "")


def test_a_scaled_model_is_not_scaled_again() -> None:
    with pytest.raises(ModelError, match="scaled already"):
        with_rope(scaled_config("yarn"), "yarn", 2)


@pytest.mark.parametrize(
    "options",
    [
        {"rope_scaling": {"type": "yarn", "factor": 2}},
        {"rope_scaling": {"type": "linear", "factor": math.inf}},
        {"rope_scaling": SCALINGS["yarn"], "rope_theta": 1.0},
        {"rope_scaling": SCALINGS["dynamic"], "head_dim": 2},
        {"attention_sinks": 2},
        {"window_from_layer": 1},
        {"sliding_window": 0},
        {"sliding_window": 4, "attention_bias": True, "output_bias": True},
        {"sliding_window": 4, "window_from_layer": 1},
        {"sliding_window": 4, "window_from_layer": 3, "qk_norm": True},
    ],
)
def test_shapes_that_cannot_be(options: dict[str, Any]) -> None:
    shape = tiny_config(qk_norm=False).model_dump() | options
    with pytest.raises(ModelError):
        ModelConfig.checked(shape, "here")


def test_reading_a_shape_imports_no_torch() -> None:
    code = (
        "import sys, chatwright.model.gguf_config, chatwright.model.rope; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
