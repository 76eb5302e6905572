"""Rounding to grids, GPTQ and AWQ, and the files that come out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_compress import random_model, token_rows, tokenizer

from chatwright.compress import calibration_texts, quantise_model
from chatwright.compress.awq import fold_scales
from chatwright.compress.gptq import gptq
from chatwright.compress.grids import Grid, fit, nearest, output_error, round_to_nearest
from chatwright.compress.layerwise import walk_blocks
from chatwright.compress.quantise import _observe
from chatwright.errors import DataError, ModelError, UsageError
from chatwright.model import ModelConfig, load_model
from chatwright.model.quants import dequantise, quantise
from chatwright.records import (
    Conversation,
    Document,
    Message,
    Preference,
    content_id,
    write_dataset,
)
from chatwright.workspace import Workspace

KINDS = ["Q8_0", "Q4_0", "Q4_1"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def words():
    return tokenizer()


def blocky(seed=0, **options):
    """A small model whose rows are whole blocks."""
    shape = {"width": 64, "head_dim": 32, "n_heads": 4, "n_kv_heads": 2, "mlp_width": 160}
    return random_model(seed, **(shape | {"n_layers": 2} | options))


def matrix(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * 0.05


def inputs(count, columns, seed=0):
    """Inputs of very different sizes that hang together, as a model's do."""
    generator = torch.Generator().manual_seed(seed + 50)
    mix = torch.randn(columns, columns, generator=generator) / columns**0.5
    sizes = torch.exp(torch.randn(columns, generator=generator))
    return torch.randn(count, columns, generator=generator) @ mix * sizes


def moment_of(x):
    return x.T @ x / len(x)


# -- grids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.5, 20.0, 1000.0]),
    group=st.sampled_from([32, 64, None]),
)
def test_rounding_errs_by_half_a_step_at_most(kind, seed, scale, group):
    """Without a search the grid spans the group, so that no number lies outside it."""
    weights = matrix(5, 96, seed) * scale
    rounded = round_to_nearest(weights, Grid(kind, group), search=False)
    step = rounded.scale.abs().repeat_interleave(32, dim=1)
    # The scale's own rounding to float16 moves the far ends by up to 127 · 2⁻¹¹ steps; Q4_0's
    # other end has only 7 codes for what may be 8 steps away.
    ends = {"Q8_0": 0.5 + 127 * 2**-11, "Q4_0": 1.01, "Q4_1": 0.5 + 15 * 2**-11 + 0.1}[kind]
    lost = (rounded.values() - weights).abs()
    low = 0 if rounded.low is None else rounded.low.abs().repeat_interleave(32, dim=1)
    assert bool((lost <= step * ends + low * 2**-11 + 1e-7).all())
    assert int(rounded.codes.min()) >= Grid(kind).lowest
    assert int(rounded.codes.max()) <= Grid(kind).highest


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), measured=st.booleans())
def test_the_search_never_loses(kind, seed, measured):
    """Group by group, in the measure that it is given; and without one against ggml's rounding."""
    weights, grid = matrix(6, 32, seed), Grid(kind)
    moment = moment_of(inputs(80, 32, seed)) if measured else torch.eye(32)
    plain = round_to_nearest(weights, grid, search=False).values()
    if not measured:
        plain = dequantise(quantise(weights, kind), kind, torch.float32).view(6, 32)
    found = round_to_nearest(weights, grid, moment if measured else None).values()

    def cost(values):
        return (((values - weights) @ moment) * (values - weights)).sum(dim=1)

    assert bool((cost(found) <= cost(plain) * 1.001 + 1e-12).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", [32, 64, 128, None])
def test_what_lies_on_a_grid_stays(kind, group):
    grid = Grid(kind, group)
    plain = round_to_nearest(matrix(7, 160), grid, search=False)
    again = round_to_nearest(plain.values(), grid, moment_of(inputs(300, 160, 1)))
    assert torch.equal(again.values(), plain.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", [32, 128, None])
def test_blocks_say_what_the_values_are(kind, group):
    rounded = round_to_nearest(matrix(4, 160), Grid(kind, group))
    by_hand = rounded.codes * rounded.scale.repeat_interleave(32, dim=1)
    if rounded.low is not None:
        by_hand = by_hand + rounded.low.repeat_interleave(32, dim=1)
    assert torch.equal(rounded.values(), by_hand)
    read = dequantise(rounded.blocks().reshape(-1), kind, torch.float32).view(4, 160)
    assert torch.equal(read, by_hand)
    shared = {32: 5, 128: 2, None: 1}[group]  # 160 = 128 + 32: the last group is shorter
    assert all(len(set(row.tolist())) <= shared for row in rounded.scale)
    assert group is None or len(set(rounded.scale[0].tolist())) == shared


def test_scales_that_float16_cannot_hold():
    with pytest.raises(ValueError, match="too large"):
        round_to_nearest(torch.full((2, 32), 1e8), Grid("Q8_0")).blocks()
    tiny = round_to_nearest(matrix(2, 32) * 1e-12, Grid("Q4_1"))
    assert bool(tiny.values().isfinite().all())


# -- GPTQ ------------------------------------------------------------------------------------------


def gptq_by_the_book(weights, hessian, scales, lows, lowest, highest, damping, order):
    """Algorithm 1 of the paper with explicit inverses: after each column, the inverse Hessian of
    the columns that are left is worked out anew. Python and float64, fixed grids."""
    rows, columns = weights.shape
    left = weights.astype(np.float64).copy()
    h = hessian.astype(np.float64).copy()
    h += np.eye(columns) * damping * np.mean(np.diag(h))
    todo = sorted(range(columns), key=lambda i: -h[i, i]) if order else list(range(columns))
    codes = np.zeros((rows, columns))
    for at, column in enumerate(todo):
        rest = todo[at:]
        inverse = np.linalg.inv(h[np.ix_(rest, rest)])
        for row in range(rows):
            scale, low = scales[row, column // 32], lows[row, column // 32]
            w = left[row, column]
            q = min(max(round((w - low) / scale), lowest), highest)
            codes[row, column] = q
            error = (w - (q * scale + low)) / inverse[0, 0]
            for k, other in enumerate(rest):
                left[row, other] -= error * inverse[0, k]
    return codes


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_gptq_equals_the_papers_algorithm(kind, order):
    weights, moment = matrix(3, 64, 4), moment_of(inputs(200, 64, 4))
    grid = Grid(kind)
    ours = gptq(weights, moment, grid, damping=0.05, order=order)
    # The grids that ours chose: fitted as it went, or beforehand.
    scales = ours.scale.numpy()
    lows = ours.low.numpy() if ours.low is not None else np.zeros_like(scales)
    book = gptq_by_the_book(
        weights.numpy(), moment.numpy(), scales, lows, grid.lowest, grid.highest, 0.05, order
    )
    same = (book == ours.codes.numpy()).mean()
    assert same == 1.0
    if order:  # all grids fitted to the weights as they were
        for group in range(2):
            part = slice(32 * group, 32 * group + 32)
            scale, _ = fit(weights[:, part], grid, moment[part, part])
            assert torch.equal(scale[:, 0], ours.scale[:, group])


@pytest.mark.parametrize("group", [32, 64, 96, 160, None])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_gptq_loses_less_than_rounding(kind, group):
    """Also where groups and the stretches of columns that are corrected at once do not match."""
    weights, moment = matrix(24, 416, 7), moment_of(inputs(2000, 416, 7))
    grid = Grid(kind, group)
    plain = round_to_nearest(weights, grid).values()
    careful = round_to_nearest(weights, grid, moment).values()
    for order in (False, True):
        found = gptq(weights, moment, grid, order=order).values()
        lost = output_error(found - weights, moment)
        assert lost < 0.8 * output_error(plain - weights, moment)
        assert lost < output_error(careful - weights, moment)


def test_gptq_with_inputs_that_are_never_there():
    weights, x = matrix(8, 64), inputs(300, 64)
    x[:, [0, 5, 40]] = 0
    found = gptq(weights, moment_of(x), Grid("Q4_1"))
    step = found.scale.repeat_interleave(32, dim=1)
    lost = (found.values() - weights).abs() / step
    assert float(lost[:, [5, 40]].max()) < 8 and bool(found.values().isfinite().all())
    assert bool(gptq(weights, torch.zeros(64, 64), Grid("Q4_1")).values().isfinite().all())
    few = inputs(3, 64)  # three tokens for 64 inputs
    assert bool(gptq(weights, moment_of(few), Grid("Q4_1"), damping=0.0).values().isfinite().all())
    with pytest.raises(ModelError, match="not finite"):
        gptq(weights, torch.full((64, 64), float("nan")), Grid("Q4_1"))


def test_nearest_is_nearest():
    weights, grid = matrix(3, 32), Grid("Q4_1")
    scale, low = fit(weights, grid)
    choices = torch.arange(16) * scale[..., None] + low[..., None]
    best = (choices - weights[..., None]).abs().argmin(dim=-1)
    assert torch.equal(best.float(), nearest(weights, scale, low, grid))


# -- AWQ -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family",
    [
        {},
        {"qk_norm": True},
        {"attention_bias": True},
        {"attention_bias": True, "output_bias": True},
    ],
)
def test_awq_folding_changes_nothing_before_rounding(family):
    torch.manual_seed(3)
    model, ids = blocky(**family), torch.tensor(token_rows())
    with torch.no_grad():  # inputs of different sizes: otherwise there is nothing to scale
        for block in model.layers:
            block.input_layernorm.weight.mul_(torch.exp(torch.randn(64) * 1.5))
            block.mlp.up_proj.weight.mul_(torch.exp(torch.randn(160, 1)))
            block.self_attn.v_proj.weight.mul_(torch.exp(torch.randn(64, 1)))
        before = model(ids)
    model.requires_grad_(False)
    weights = {n: p.clone() for n, p in model.named_parameters()}
    exponents = {}
    for run in walk_blocks(model, token_rows()):
        seen = _observe(run)
        for name, value in fold_scales(run.block, seen, Grid("Q4_0")).items():
            exponents[f"{run.index}.{name}"] = value
        after = _observe(run)  # what it says of the inputs is what they now are
        for name, one in seen.items():
            torch.testing.assert_close(one.moment, after[name].moment, rtol=1e-2, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), before, rtol=1e-4, atol=1e-4)
    assert sum(value > 0 for value in exponents.values()) >= len(exponents) // 2
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, weights[n])}
    assert {"layers.0.input_layernorm.weight", "layers.0.mlp.down_proj.weight"} <= changed


# -- whole models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
def test_calibration_loses_less_on_what_it_has_seen(symmetric, words):
    torch.manual_seed(4)
    model = blocky(3, n_layers=2)
    with torch.no_grad():
        for block in model.layers:
            block.input_layernorm.weight.mul_(torch.exp(torch.randn(64)))
    texts = calibration_texts()[:2]
    made = {
        calibrate: quantise_model(
            model, words, "int4", calibrate=calibrate, symmetric=symmetric, calibration=texts
        )
        for calibrate in ("awq", "gptq")
    }
    # The first layer's inputs are the same for all methods: its errors can be compared.
    plain = {}
    for run in walk_blocks(model, _rows(words, texts)):
        seen = _observe(run)
        for name, watched in {
            "self_attn.k_proj": "self_attn.q_proj", "mlp.up_proj": "mlp.gate_proj",
            "self_attn.q_proj": "self_attn.q_proj", "mlp.gate_proj": "mlp.gate_proj",
        }.items():  # fmt: skip
            weights, moment = run.block.get_submodule(name).weight, seen[watched].moment
            grid = Grid("Q4_0" if symmetric else "Q4_1")
            lost = output_error(round_to_nearest(weights, grid).values() - weights, moment)
            plain[f"layers.0.{name}.weight"] = lost / output_error(weights, moment)
        break
    for calibrate, one in made.items():
        for name, error in plain.items():
            assert one.errors[name] < error, (calibrate, name)


def _rows(words, texts):
    from chatwright.compress.layerwise import calibration_rows

    return calibration_rows(words.encode, texts, count=64, length=64)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"method": "int8", "granularity": "channel"}, "Q8_0"),
        ({"method": "int8"}, "Q8_0"),
        ({"method": "int4", "group": 64}, "Q4_1"),
        ({"method": "int4", "symmetric": True, "calibrate": "gptq"}, "Q4_0"),
        ({"method": "int4", "calibrate": "awq", "group": 128}, "Q4_1"),
    ],
)
def test_a_quantised_model_is_a_folder_that_opens(options, kind, words, tmp_path):
    model = blocky(tied=False, qk_norm=False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    made = quantise_model(model, words, calibration=calibration_texts()[:1], **options)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    said = {"fingerprint": "f00", "parents": [{"name": "sft", "fingerprint": "ab", "path": ".."}]}
    folder = made.save(tmp_path / "small", lineage=said, card="# Small\n")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "config.json", "lineage.json", "model.gguf", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert ModelConfig.load(folder) == model.config
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["parents"] == said["parents"]
    assert lineage["quantisation"]["type"] == kind
    assert lineage["quantisation"]["method"] == options["method"]
    loaded, its_words = load_model(folder, dtype=torch.float32, device="cpu")
    for (name, ours), theirs in zip(
        made.model.named_parameters(), loaded.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert its_words.spec == words.spec and its_words.chat_template == words.chat_template
    stored = sum(
        p.stat().st_size for p in folder.glob("*.gguf")
    )  # the tokenizer and the names are the rest
    assert made.bytes < stored < made.bytes + 60_000
    head = {name: k for name, (k, _) in made.blocks.items()}
    assert head["lm_head.weight"] == head["embed_tokens.weight"] == "Q8_0"


def test_eight_bits_answer_nearly_as_before_and_four_less_so(words):
    model, ids = blocky(5), torch.tensor(token_rows())
    with torch.no_grad():
        before = model(ids)

        def lost(**options):
            made = quantise_model(model, words, **options)
            return float((made.model(ids) - before).square().mean() / before.square().mean())

        eight, channel = lost(method="int8"), lost(method="int8", granularity="channel")
        four, coarse = lost(method="int4"), lost(method="int4", group=64)
    assert eight < channel < 1e-3
    assert 10 * channel < four < coarse < 0.2


def test_the_same_again_is_the_same(words):
    made = [quantise_model(blocky(), words, "int4", calibrate="gptq", order=True) for _ in range(2)]
    for name, (kind, data) in made[0].blocks.items():
        assert kind == made[1].blocks[name][0] and torch.equal(data, made[1].blocks[name][1])
    assert made[0].settings == made[1].settings
    assert made[0].settings["calibration"] == "built-in sample"


def test_rows_that_are_no_whole_blocks(words, tmp_path):
    made = quantise_model(blocky(width=80), words, "int4", calibrate="awq")
    assert "layers.0.mlp.up_proj.weight" not in made.blocks
    assert made.blocks["layers.0.mlp.down_proj.weight"][0] == "Q4_1"
    loaded, _ = load_model(made.save(tmp_path / "m"), dtype=torch.float32, device="cpu")
    for ours, theirs in zip(made.model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_embedding_on_four_bits_when_asked(words):
    made = quantise_model(blocky(), words, "int4", embedding="same")
    assert made.blocks["embed_tokens.weight"][0] == "Q4_1"


def test_settings_that_make_no_sense(words):
    model = blocky()
    for options, match in (
        ({"method": "int3"}, "int3"),
        ({"method": "int4", "group": 48}, "multiple of 32"),
        ({"method": "int4", "group": 0}, "multiple of 32"),
        ({"method": "int4", "granularity": "row"}, "row"),
        ({"method": "int4", "calibrate": "magic"}, "magic"),
        ({"method": "int4", "embedding": "none"}, "none"),
    ):
        with pytest.raises(UsageError, match=match):
            quantise_model(model, words, **options)
    with pytest.raises(DataError, match="no calibration text"):
        quantise_model(model, words, "int4", calibrate="gptq", calibration=[""])
    with torch.no_grad():
        model.layers[1].mlp.up_proj.weight[3, 3] = float("inf")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        quantise_model(model, words, "int4")


# -- calibration text ------------------------------------------------------------------------------


def test_the_built_in_sample_is_english_and_chinese():
    text = "\n".join(calibration_texts())
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in text)
    assert len(text) > 30_000 and chinese > 1_000 and "\ufffd" not in text


def test_calibration_from_files(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("一段文字。 Some text.", encoding="utf-8")
    assert calibration_texts(file) == ["一段文字。 Some text."]
    for bad, match in ((b"\xff\xfe\x00", "UTF-8"), (b"  \n", "no text")):
        file.write_bytes(bad)
        with pytest.raises(DataError, match=match):
            calibration_texts(file)
    with pytest.raises(UsageError, match="no dataset"):
        calibration_texts("nothing/there", workspace=Workspace(tmp_path))


def test_calibration_from_datasets(tmp_path):
    place = Workspace(tmp_path)
    chat = [Message("user", "什么是引擎？"), Message("assistant", "An engine.")]
    rows = {
        "pages": Document(content_id("t", "a"), "A page.", "file:a", "t"),
        "chats": Conversation(content_id("t", "b"), chat, "file:b", "t"),
        "prefs": Preference(content_id("t", "c"), chat[:1], "Good.", "Bad.", "me", "file:c", "t"),
    }
    for name, row in rows.items():
        path = place.datasets / name
        with write_dataset(path, type(row), stage="s", fingerprint="f", settings={}) as out:
            out.write(row)
    assert calibration_texts("pages", workspace=place) == ["A page."]
    assert calibration_texts("chats", workspace=place) == ["什么是引擎？\n\nAn engine."]
    assert calibration_texts(place.datasets / "prefs") == ["什么是引擎？\n\nGood."]
