"""Weights as files hold them, without PyTorch: every type, and every way a file can be broken."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import FAMILIES, tiny_model, tiny_tokenizer, write_gguf

from chatwright.errors import ChatwrightError, ModelError
from chatwright.model import Transformer, save_model
from chatwright.model.raw_weights import TYPES, RawTensor, open_raw
from chatwright.tokenizer import Tokenizer

Q = "layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


def numbers(tensor: RawTensor) -> np.ndarray:
    """Any type as numbers in our order, through the package `gguf` for blocks."""
    if tensor.type in ("F32", "F16", "BF16"):
        return tensor.numbers()
    import gguf

    kind = gguf.GGMLQuantizationType[tensor.type]
    rows = tensor.data.reshape(tensor.shape[0], -1)
    read = gguf.quants.dequantize(rows, kind)
    return read if tensor.order is None else read[tensor.order]


# -- GGUF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_every_tensor_of_a_gguf_is_what_another_reader_says(
    kind: str, architecture: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    family = {"llama": "llama-bias", "qwen2": "qwen2", "qwen3": "qwen3"}[architecture]
    path = tmp_path / "m.gguf"
    expected = write_gguf(path, tiny_model(**FAMILIES[family]), tokenizer, kind, architecture)
    with open_raw(path) as (config, raw):
        assert config.n_layers == 3
        for name, values in expected.items():
            tensor = raw.read(name)
            assert tensor is not None and tensor.shape == tuple(values.shape)
            assert tensor.type == (kind if values.ndim == 2 else "F32")
            assert tensor.data.size == tensor.expected_bytes
            assert tensor.where.startswith(f"{path}: tensor")
            np.testing.assert_array_equal(numbers(tensor), values.numpy())
        assert raw.read("layers.2.self_attn.q_norm.weight") is None or architecture == "qwen3"


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K"])
def test_k_quants_become_float32(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    model = tiny_model(width=256, mlp_width=256, head_dim=64, n_heads=4, n_kv_heads=2)
    expected = write_gguf(path, model, tokenizer, kind)
    with open_raw(path) as (_, raw):
        for name in (Q, "layers.0.mlp.up_proj.weight", "embed_tokens.weight"):
            tensor = raw.read(name)
            assert tensor is not None and tensor.type == "F32"
            assert tensor.data.size == tensor.expected_bytes
            np.testing.assert_allclose(tensor.numbers(), expected[name].numpy(), rtol=1e-6)


def test_rows_that_are_not_those_of_heads_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, tiny_model(), tokenizer)
    # The metadata says 5 heads where the matrix has the rows of 6.
    content = path.read_bytes()
    key = b"llama.attention.head_count"
    at = content.index(struct.pack("<Q", len(key)) + key) + 8 + len(key) + 4
    assert content[at : at + 4] == struct.pack("<I", 6)
    path.write_bytes(content[:at] + struct.pack("<I", 10) + content[at + 4 :])
    with pytest.raises(ModelError, match="10 heads") as caught, open_raw(path) as (_, raw):
        raw.read(Q)
    assert "m.gguf" in str(caught.value) and "blk.1.attn_q.weight" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 30, 2000, -1, -5000])
def test_a_gguf_cut_anywhere_is_refused(keep: int, tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, tiny_model(), tokenizer)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"m\.gguf"), open_raw(path):
        pass


def test_quantised_norms_are_refused_by_name() -> None:
    tensor = RawTensor("Q8_0", (32,), np.zeros(34, np.uint8), "m.gguf: tensor 'output_norm.weight'")
    with pytest.raises(ModelError, match="Q8_0") as caught:
        tensor.numbers()
    assert "output_norm.weight" in str(caught.value)


# -- safetensors ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_model(tiny_model(**FAMILIES["every-option"]), tokenizer, tmp_path / "hf")
    return tmp_path / "hf"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama-untied", "qwen2", "every-option"])
def test_every_tensor_of_a_folder(
    dtype: torch.dtype, family: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = tiny_model(**FAMILIES[family]).to(dtype)
    save_model(model, tokenizer, tmp_path / "hf")
    kind = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    with open_raw(tmp_path / "hf") as (config, raw):
        assert config == model.config
        for name, values in model.state_dict().items():
            tensor = raw.read(name)
            assert tensor is not None and tensor.type == kind
            np.testing.assert_array_equal(tensor.numbers(), values.float().numpy())
            assert "model.safetensors: tensor" in tensor.where
        assert raw.read("layers.9.mlp.up_proj.weight") is None


def shards(folder: Path, model: Transformer) -> None:
    whole = folder / "model.safetensors"
    from safetensors.torch import load_file

    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    weight_map = {}
    for i in range(3):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({n: tensors[n] for n in names[i::3]}, folder / file)
        weight_map |= dict.fromkeys(names[i::3], file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_sharded_folders(folder: Path) -> None:
    model = tiny_model(**FAMILIES["every-option"])
    shards(folder, model)
    with open_raw(folder) as (_, raw):
        for name, values in model.state_dict().items():
            tensor = raw.read(name)
            assert tensor is not None
            np.testing.assert_array_equal(tensor.numbers(), values.numpy())
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match="model-00002-of-00003"), open_raw(folder):
        pass
    index = folder / "model.safetensors.index.json"
    for bad in ({}, {"weight_map": {}}, {"weight_map": {"a": "../elsewhere.safetensors"}}):
        index.write_text(json.dumps(bad), encoding="utf-8")
        with pytest.raises(ModelError, match=r"index\.json"), open_raw(folder):
            pass


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def edited(content: bytes) -> bytes:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        text = json.dumps(change(header) or header).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return edited


def of_q(**fields: Any) -> Callable[[bytes], bytes]:
    return edit(lambda header: header["model." + Q].update(fields))


BREAKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda c: b"", "cannot be read"),
    "seven bytes": (lambda c: c[:7], "shorter than its own header"),
    "cut in the header": (lambda c: c[:500], "header says"),
    "cut in the body": (lambda c: c[:-100], "outside the file"),
    "a length beyond all": (lambda c: b"\xff" * 8 + c[8:], "header says"),
    "not JSON": (lambda c: c[:8] + b"x" + c[9:], "not JSON"),
    "not an object": (lambda c: struct.pack("<Q", 2) + b"[]", "not a JSON object"),
    "nested without end": (
        lambda c: struct.pack("<Q", 200_000) + b"[" * 200_000, "not JSON",
    ),
    "no offsets": (edit(lambda h: h["model." + Q].pop("data_offsets") and None), "not described"),
    "an offset is infinite": (of_q(data_offsets=[0, float("inf")]), "not described"),
    "an entry is a list": (edit(lambda h: h | {"model." + Q: [1]}), "not described"),
    "outside": (of_q(data_offsets=[0, 10**12]), "outside the file"),
    "before the beginning": (of_q(data_offsets=[-8, 8]), "outside the file"),
    "ends before it begins": (of_q(data_offsets=[80, 8]), "outside the file"),
    "fewer bytes than its shape": (of_q(data_offsets=[0, 8]), "8 bytes for the shape"),
    "a shape that overflows": (
        of_q(shape=[2**32, 2**32], data_offsets=[0, 0]), "0 bytes for the shape",
    ),
    "blocks in a format without": (of_q(dtype="Q8_0"), "Q8_0"),
    "sizes below zero": (of_q(shape=[-1, -1]), "outside the file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_file_is_refused_by_name(kind: str, folder: Path) -> None:
    change, said = BREAKS[kind]
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=said) as caught, open_raw(folder):
        pass
    assert str(path) in str(caught.value)


def test_tensors_of_other_types_are_left_alone_until_they_are_asked_for(folder: Path) -> None:
    """Old checkpoints hold buffers of whole numbers."""
    path = folder / "model.safetensors"
    path.write_bytes(of_q(dtype="F8_E4M3")(path.read_bytes()))
    with open_raw(folder) as (_, raw):
        tensor = raw.read(Q)
        assert tensor is not None and tensor.type not in TYPES
        with pytest.raises(ModelError, match="F8_E4M3"):
            tensor.numbers()


def test_folders_without_weights_or_shape(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"), open_raw(folder):
        pass
    (folder / "config.json").unlink()
    with pytest.raises(ChatwrightError, match=r"config\.json"), open_raw(folder):
        pass
    with pytest.raises(ModelError, match=r"none\.gguf"), open_raw(tmp_path / "none.gguf"):
        pass


def test_the_runner_names_the_tensor_that_does_not_fit(folder: Path) -> None:
    from chatwright.generate.native.library import why_not
    from chatwright.generate.native_runner import NativeRunner

    if (reason := why_not()) is not None:
        pytest.skip(f"the compiled kernels are {reason}")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for change, said in (
        (of_q(shape=[96, 192]), r"\[96, 192\].*\[192, 96\]"),
        (of_q(dtype="I32"), "I32"),
        (edit(lambda h: {k: v for k, v in h.items() if k != "model." + Q}), "missing"),
    ):
        path.write_bytes(change(whole))
        with pytest.raises(ModelError, match=said) as caught:
            NativeRunner.load(folder, n_blocks=2, context=64)
        assert Q in str(caught.value)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path.write_bytes(whole)
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 192}))
    with pytest.raises(ModelError, match="not of one model") as caught:
        NativeRunner.load(folder, n_blocks=2, context=64)
    assert "gate_proj" in str(caught.value)


def test_reading_imports_no_torch(folder: Path) -> None:
    code = (
        "import sys, pathlib; from chatwright.model.raw_weights import open_raw\n"
        "with open_raw(pathlib.Path(sys.argv[1])) as (config, raw):\n"
        f"    assert raw.read({Q!r}).numbers().shape == (192, 96)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
