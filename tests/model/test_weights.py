"""Weights in: every GGUF type, every way that a file can be broken."""

from __future__ import annotations

import json
import struct
import zipfile

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, tiny_model, tiny_tokenizer, write_gguf

from chatwright.errors import ChatwrightError, ModelError
from chatwright.model import load_model, save_model
from chatwright.model.quants import dequantise
from chatwright.model.references import KNOWN_MODELS, resolve
from chatwright.workspace import Workspace

KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"]


def load(path):
    return load_model(path, dtype=torch.float32, device="cpu")


# -- dequantising ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [1, 3, 2100])
def test_dequantise_equals_the_gguf_package(kind, blocks):
    number = gguf.GGMLQuantizationType[kind]
    per_block, size = gguf.GGML_QUANT_SIZES[number]
    rng = np.random.default_rng(blocks)
    raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    if kind in ("F32", "F16", "BF16"):
        values = rng.normal(size=(blocks, per_block)).astype(np.float32)
        raw = gguf.quants.quantize(values, number).view(np.uint8).reshape(blocks, size)
    else:  # random bytes make infinite or huge scales: put ordinary ones where the format has them
        places = {"Q4_1": (0, 2), "Q4_K": (0, 2), "Q6_K": (208,)}.get(kind, (0,))
        for at in places:
            half = rng.normal(0, 0.1, (blocks, 1)).astype(np.float16)
            raw[:, at : at + 2] = half.view(np.uint8)
    expected = gguf.quants.dequantize(raw, number).reshape(-1)
    ours = dequantise(torch.from_numpy(raw.copy()).view(-1), kind, torch.float32)
    assert ours.shape == (blocks * per_block,)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_dequantise_by_hand():
    """A block of each simple format, worked out on paper."""
    half = lambda x: struct.pack("<e", x)  # noqa: E731
    nibbles = bytes(i | (15 - i) << 4 for i in range(16))  # low 0…15, high 15…0
    up, down = list(range(16)), list(range(15, -1, -1))
    cases = {
        "Q4_0": (half(0.5) + nibbles, [(n - 8) * 0.5 for n in up + down]),
        "Q4_1": (half(0.5) + half(-2.0) + nibbles, [n * 0.5 - 2 for n in up + down]),
        "Q8_0": (
            half(0.25) + struct.pack("<32b", *range(-16, 16)),
            [n * 0.25 for n in range(-16, 16)],
        ),
    }
    for kind, (raw, expected) in cases.items():
        data = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
        assert dequantise(data, kind, torch.float32).tolist() == expected, kind


def test_dequantise_k_blocks_by_the_definition():
    """Element by element, as the formats' description reads."""
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, 144, dtype=np.uint8)
    raw[0:4] = np.array([0.5, 0.25], dtype=np.float16).view(np.uint8)
    s = [int(x) for x in raw[4:16]]
    expected = []
    for group in range(8):
        if group < 4:
            scale, low = s[group] & 63, s[group + 4] & 63
        else:
            scale = (s[group + 4] & 15) | ((s[group - 4] >> 6) << 4)
            low = (s[group + 4] >> 4) | ((s[group] >> 6) << 4)
        for i in range(32):
            byte = int(raw[16 + group // 2 * 32 + i])
            n = byte >> 4 if group % 2 else byte & 15
            expected.append(0.5 * scale * n - 0.25 * low)
    ours = dequantise(torch.from_numpy(raw), "Q4_K", torch.float32)
    assert ours.tolist() == expected

    raw = rng.integers(0, 256, 210, dtype=np.uint8)
    raw[208:210] = np.array([0.5], dtype=np.float16).view(np.uint8)
    low, high, scales = raw[:128], raw[128:192], raw[192:208].view(np.int8)
    expected = []
    for i in range(256):
        half, within = divmod(i, 128)
        quarter, at = divmod(within, 32)
        nibble = int(low[half * 64 + quarter % 2 * 32 + at]) >> (4 if quarter > 1 else 0) & 15
        two = int(high[half * 32 + at]) >> (2 * quarter) & 3
        expected.append(0.5 * int(scales[i // 16]) * ((nibble | two << 4) - 32))
    ours = dequantise(torch.from_numpy(raw), "Q6_K", torch.float32)
    assert ours.tolist() == expected


# -- whole files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_of_each_type(kind, tokenizer, tmp_path):
    wide = {"width": 256, "mlp_width": 512, "head_dim": 64, "n_heads": 4} if "_K" in kind else {}
    model = tiny_model(qk_norm=False, **wide)
    expected = write_gguf(tmp_path / "m.gguf", model, tokenizer, kind)
    loaded, its_tokenizer = load(tmp_path / "m.gguf")
    assert loaded.config == model.config
    for name, weight in loaded.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-6, atol=1e-6, msg=name)
    text = "hello <|im_end|> 世界"
    assert its_tokenizer.encode(text) == tokenizer.encode(text)
    assert its_tokenizer.eos_ids == tokenizer.eos_ids and its_tokenizer.pad_id == tokenizer.pad_id


@pytest.mark.parametrize("family", FAMILIES)
def test_gguf_of_each_family(family, tokenizer, tmp_path):
    model = tiny_model(**FAMILIES[family])
    architecture = family if family.startswith("qwen") else "llama"
    architecture = "qwen3" if family == "every-option" else architecture.split("-")[0]
    write_gguf(tmp_path / "m.gguf", model, tokenizer, architecture=architecture)
    loaded, _ = load(tmp_path / "m.gguf")
    ids = torch.arange(30)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), model(ids))


def test_smollm2_gguf_equals_the_gguf_package(smollm2, smollm2_gguf):
    model, _ = smollm2
    tensors = {t.name: t for t in gguf.GGUFReader(smollm2_gguf).tensors}
    for ours, theirs in {
        "layers.3.mlp.up_proj.weight": "blk.3.ffn_up.weight",
        "layers.29.self_attn.v_proj.weight": "blk.29.attn_v.weight",
        "norm.weight": "output_norm.weight",
    }.items():
        tensor = tensors[theirs]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_allclose(model.state_dict()[ours].numpy(), expected, atol=1e-7)


def test_float_types_are_converted(tokenizer, tmp_path):
    model = tiny_model(qk_norm=True)
    save_model(model, tokenizer, tmp_path / "m")
    half, _ = load_model(tmp_path / "m", dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    save_model(half, tokenizer, tmp_path / "half")
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"
    again, _ = load_model(tmp_path / "half", dtype=torch.bfloat16, device="cpu")
    for a, b in zip(half.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


# -- broken files ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    write_gguf(path, tiny_model(qk_norm=False), tiny_tokenizer(), "Q8_0")
    return path


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder") / "model"
    return save_model(tiny_model(qk_norm=False), tiny_tokenizer(), folder)


def broken(path, tmp_path, change, match):
    data = bytearray(path.read_bytes())
    data = change(data) or data
    target = tmp_path / f"broken{path.suffix}"
    target.write_bytes(data)
    with pytest.raises(ModelError, match=match) as caught:
        load(target)
    assert str(target) in str(caught.value)
    return caught.value


def put(data: bytearray, after: bytes, skip: int, value: bytes) -> None:
    at = data.index(after) + len(after) + skip
    data[at : at + len(value)] = value


def test_gguf_broken_in_known_ways(good_gguf, tmp_path):
    q8 = struct.pack("<I", 8)
    cases = [
        (lambda d: d.clear(), "empty"),
        (lambda d: d[:3], "truncated"),
        (lambda d: d[:1000], "truncated|can hold"),
        (lambda d: d[: len(d) - 40], "outside the file"),
        (lambda d: b"GGML" + d[4:], "not a GGUF file"),
        (lambda d: d[:4] + struct.pack("<I", 9) + d[8:], "version 9"),
        (lambda d: d[:4] + d[4:8][::-1] + d[8:], "version"),  # big-endian
        (lambda d: put(d, b"GGUF", 4, struct.pack("<Q", 1 << 40)), "more than the file can hold"),
        (lambda d: put(d, b"GGUF", 12, struct.pack("<Q", 1 << 40)), "more than the file can hold"),
        # name, n_dimensions, two dimensions, type, offset
        (lambda d: put(d, b"blk.1.ffn_up.weight", 20, struct.pack("<I", 77)), "type 77"),
        (lambda d: put(d, b"blk.1.ffn_up.weight", 24, struct.pack("<Q", 1 << 45)), "outside"),
        (lambda d: put(d, b"blk.1.ffn_up.weight", 24, struct.pack("<Q", 1)), "outside|alignment"),
        (lambda d: put(d, b"blk.1.ffn_up.weight", 0, struct.pack("<I", 99)), "99 dimensions"),
        (lambda d: put(d, b"blk.1.ffn_up.weight", 4, struct.pack("<Q", 33)), "blocks"),
        (lambda d: put(d, b"blk.1.ffn_up.weight", 4, struct.pack("<Q", 0)), "shape"),
        (lambda d: put(d, b"blk.1.ffn_up.weight", 12, struct.pack("<Q", 32)), "shape"),
        (lambda d: d.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight"), "ffn_up"),
        (lambda d: d.replace(b"blk.1.ffn_up.weight", b"blk.2.ffn_up.weight"), "two tensors"),
        (lambda d: d.replace(b"llama.block_count", b"llama.block_xxxxx"), "block_count"),
        (lambda d: d.replace(b"gpt2", b"gpt9"), "gpt9"),
        (lambda d: put(d, b"tokenizer.ggml.pre", 4, struct.pack("<Q", 5) + b"qwen9"), "qwen9"),
        (lambda d: put(d, b"general.architecture", 12, b"falco"), "falco"),
    ]
    assert q8 in good_gguf.read_bytes()
    for change, match in cases:
        broken(good_gguf, tmp_path, change, match)
    error = broken(
        good_gguf,
        tmp_path,
        lambda d: put(d, b"blk.1.ffn_up.weight", 24, struct.pack("<Q", 1 << 45)),
        "outside",
    )
    assert "blk.1.ffn_up.weight" in str(error) and error.hint


QUICK = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_gguf_never_crashes(good_gguf, tmp_path, cut):
    data = good_gguf.read_bytes()
    target = tmp_path / "cut.gguf"
    target.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(ModelError):
        load(target)


@QUICK
@given(data=st.data())
def test_flipped_gguf_header_never_crashes(good_gguf, tmp_path, data):
    raw = bytearray(good_gguf.read_bytes())
    header = raw.rindex(b"ffn_down.weight") + 60
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, header))] = data.draw(st.integers(0, 255))
    target = tmp_path / "flipped.gguf"
    target.write_bytes(raw)
    try:
        model, tokenizer = load(target)
        tokenizer.encode("any text 任何")
        model(torch.arange(4)[None])
    except ChatwrightError as error:
        assert isinstance(error, ModelError)


@QUICK
@given(data=st.data())
def test_flipped_safetensors_header_never_crashes(good_folder, tmp_path, data):
    raw = bytearray((good_folder / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(raw[:8], "little")
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path / "flipped"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((good_folder / name).read_bytes())
    (folder / "model.safetensors").write_bytes(raw)
    try:
        load(folder)
    except ChatwrightError as error:
        assert isinstance(error, ModelError)


@QUICK
@given(data=st.data())
def test_flipped_json_files_never_crash(good_folder, tmp_path, data):
    name = data.draw(st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json"]))
    folder = tmp_path / "json"
    folder.mkdir(exist_ok=True)
    for file in good_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    raw = bytearray((folder / name).read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(raw)
    try:
        _, tokenizer = load(folder)
        tokenizer.encode("any text 任何")
    except ChatwrightError as error:
        assert isinstance(error, ModelError)


def copy_of(folder, tmp_path):
    target = tmp_path / "copy"
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda w: w.pop("model.norm.weight"), "model.norm.weight"),
        (lambda w: w.update({"model.extra": torch.ones(2)}), "model.extra"),
        (lambda w: w.update({"model.norm.weight": torch.ones(95)}), r"\[95\].*\[96\]"),
        (lambda w: w.update({"model.norm.weight": torch.ones(96, dtype=torch.int8)}), "I8"),
    ],
)
def test_safetensors_that_do_not_fit(good_folder, tmp_path, change, match):
    folder = copy_of(good_folder, tmp_path)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=match) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_index_that_lies(good_folder, tmp_path):
    folder = copy_of(good_folder, tmp_path)
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "../part.safetensors"}}))
    with pytest.raises(ModelError, match="not a safetensors file of this folder"):
        load(folder)
    index.write_text(json.dumps({"weight_map": {"model.nothing": "part.safetensors"}}))
    with pytest.raises(ModelError, match="is not"):
        load(folder)
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "absent.safetensors"}}))
    with pytest.raises(ModelError, match="missing"):
        load(folder)


def test_pickles_are_refused(good_folder, tmp_path):
    folder = copy_of(good_folder, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle") as caught:
        load(folder)
    assert "pytorch_model.bin" in str(caught.value) and "safetensors" in (caught.value.hint or "")
    with pytest.raises(ModelError, match="pickle"):
        load(folder / "pytorch_model.bin")


def test_tokenizer_larger_than_the_model(good_folder, tmp_path):
    folder = copy_of(good_folder, tmp_path)
    small = tiny_model(qk_norm=False, vocab_size=200)
    save_model(small, tiny_tokenizer(), folder)
    with pytest.raises(ModelError, match="tokenizer has"):
        load(folder)


# -- references ------------------------------------------------------------------------------------


def test_unknown_names_say_what_is_known(tmp_path):
    with pytest.raises(ModelError, match="smolm2") as caught:
        load_model("smolm2-135m-instruct")
    assert "did you mean smollm2-135m-instruct" in (caught.value.hint or "")
    for known in KNOWN_MODELS:
        assert known in (caught.value.hint or "")
    with pytest.raises(ModelError, match="holds no model"):
        load_model(tmp_path)


def test_workspace_names(good_folder, tmp_path):
    place = Workspace(tmp_path)
    target = place.models / "recipe" / "sft"
    target.mkdir(parents=True)
    for file in good_folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    assert resolve("recipe/sft", workspace=place) == target
    with pytest.raises(ModelError) as caught:
        resolve("recipe/sfd", workspace=place)
    assert "recipe/sft" in (caught.value.hint or "")


@pytest.mark.parametrize("form", ["gguf", "folder"])
def test_archives(form, good_gguf, good_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATWRIGHT_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("carrier/__init__.py", "raise SystemExit('never run')")
        for file in [good_gguf] if form == "gguf" else good_folder.iterdir():
            out.write(file, f"carrier/data/{file.name}")
    model, _ = load(archive)
    assert model.config.width == 96
    stamp = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}
    load(archive)  # from the cache
    assert stamp == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("carrier/__init__.py", "")
    with pytest.raises(ModelError, match=r"0 \.gguf files"):
        load(archive)


def test_save_leaves_nothing_half_written(tokenizer, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    save_model(tiny_model(1), tokenizer, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr(type(tokenizer), "save", lambda *_: (_ for _ in ()).throw(OSError(28, "x")))
    with pytest.raises(ChatwrightError):
        save_model(tiny_model(2), tokenizer, folder)
    assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
