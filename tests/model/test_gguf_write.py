"""Weights out as GGUF: the same numbers for our reader and for the `gguf` package."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny import FAMILIES, tiny_model, tiny_tokenizer
from tiny import write_gguf as write_with_the_package

from chatwright.errors import ChatwrightError, DataError, ModelError
from chatwright.model import add_lora, load_model
from chatwright.model.gguf_metadata import provenance
from chatwright.model.gguf_write import write_gguf
from chatwright.model.quants import dequantise, quantise
from chatwright.model.rope import with_rope
from chatwright.model.transformer import Transformer
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.gguf_file import GGUFFile
from chatwright.tokenizer.pretokenizers import PRETOKENIZERS, split

KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]
WRITABLE = {name: shape for name, shape in FAMILIES.items() if name != "every-option"}


def load(path):
    return load_model(path, dtype=torch.float32, device="cpu")


def read(path: Path) -> SimpleNamespace:
    """The file as the `gguf` package reads it."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return SimpleNamespace(fields=fields, tensors={t.name: t for t in reader.tensors})


# -- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.just(32)),
        elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
    ),
    scale=st.sampled_from([1.0, 1e-4]),
)
def test_quantise_gives_the_bytes_of_the_gguf_package(kind, values, scale):
    values = values * np.float32(scale)
    values[np.abs(values) < 1e-20] = 0  # no −0 either: which zero is least is open
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    ours = quantise(torch.from_numpy(values), kind).numpy()
    np.testing.assert_array_equal(ours, expected.view(np.uint8).reshape(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_many_blocks_are_quantised_as_one_by_one(kind):
    values = torch.randn(2100, 32, generator=torch.Generator().manual_seed(1))
    whole = quantise(values, kind).view(2100, -1)
    for row in (0, 1023, 1024, 2099):
        assert torch.equal(whole[row], quantise(values[row], kind))


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_out_of_blocks_go_back_into_them(kind):
    values = torch.randn(300, 32, generator=torch.Generator().manual_seed(2)) * 0.05
    numbers = dequantise(quantise(values, kind), kind, torch.float32)
    again = dequantise(quantise(numbers, kind), kind, torch.float32)
    assert torch.equal(numbers, again)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0", "Q4_1"])
def test_numbers_that_a_type_cannot_hold(kind, bad):
    values = torch.zeros(64)
    values[40] = bad
    with pytest.raises(ValueError, match=kind):
        quantise(values, kind)


# -- whole files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", WRITABLE)
@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_what_is_written_is_read_again(family, kind, tokenizer, tmp_path):
    model = tiny_model(**WRITABLE[family])
    path = write_gguf(model, tokenizer, tmp_path / "m.gguf", kind)
    loaded, its_tokenizer = load(path)
    assert loaded.config == model.config
    for name, weight in model.state_dict().items():
        matrix = weight.ndim == 2
        expected = weight
        if matrix:
            expected = dequantise(quantise(weight, kind), kind, torch.float32).view(weight.shape)
        assert torch.equal(loaded.state_dict()[name], expected), name
    assert its_tokenizer.spec == tokenizer.spec
    assert its_tokenizer.special == tokenizer.special
    assert its_tokenizer.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama-bias", "qwen3"])
def test_the_gguf_package_reads_the_same_numbers(kind, family, tokenizer, tmp_path):
    model = tiny_model(**WRITABLE[family])
    theirs = tmp_path / "theirs.gguf"
    architecture = family.split("-")[0]
    write_with_the_package(theirs, model, tokenizer, kind, architecture)
    ours = write_gguf(model, tokenizer, tmp_path / "ours.gguf", kind, embedding=kind)
    expected, found = read(theirs), read(ours)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():  # byte for byte, rows in llama.cpp's order
        assert found.tensors[name].tensor_type == tensor.tensor_type, name
        np.testing.assert_array_equal(found.tensors[name].data, tensor.data, err_msg=name)
    for name, value in expected.fields.items():
        if not name.startswith("GGUF."):
            assert found.fields[name] == value, name


def test_four_bits_leave_the_embedding_eight(tokenizer, tmp_path):
    model = tiny_model(qk_norm=False)
    kinds = {n: t.tensor_type.name for n, t in read(
        write_gguf(model, tokenizer, tmp_path / "a.gguf", "Q4_0")
    ).tensors.items()}  # fmt: skip
    assert kinds["token_embd.weight"] == kinds["output.weight"] == "Q8_0"
    assert kinds["blk.1.ffn_up.weight"] == "Q4_0" and kinds["blk.1.ffn_norm.weight"] == "F32"
    path = write_gguf(model, tokenizer, tmp_path / "b.gguf", "Q4_0", embedding="F16")
    assert read(path).tensors["output.weight"].tensor_type.name == "F16"


def test_rows_that_are_no_whole_blocks_become_float16(tokenizer, tmp_path):
    model = tiny_model(qk_norm=False, width=80, mlp_width=96)
    path = write_gguf(model, tokenizer, tmp_path / "m.gguf", "Q4_1")
    kinds = {name: t.tensor_type.name for name, t in read(path).tensors.items()}
    assert kinds["blk.0.ffn_up.weight"] == "F16" and kinds["blk.0.ffn_down.weight"] == "Q4_1"
    loaded, _ = load(path)
    up = "layers.0.mlp.up_proj.weight"
    torch.testing.assert_close(
        loaded.state_dict()[up], model.state_dict()[up], rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_blocks_of_the_source_are_taken_over(kind, tokenizer, tmp_path):
    """Also those that no rounding would give: whose integers do not go from end to end."""
    model = tiny_model(qk_norm=False)
    first = write_gguf(model, tokenizer, tmp_path / "first.gguf", kind, embedding=kind)
    raw = bytearray(first.read_bytes())
    for tensor in GGUFFile.open(first).tensors.values():
        if tensor.type == kind:
            size = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[kind]
            for at in range(tensor.offset, tensor.offset + tensor.n_bytes, size):
                for byte in range(at + size - 16, at + size):
                    raw[byte] &= 0x33  # codes 0…3 only
    source = tmp_path / "source.gguf"
    source.write_bytes(raw)
    loaded, its_tokenizer = load(source)
    path = write_gguf(
        loaded, its_tokenizer, tmp_path / "again.gguf", kind, embedding=kind, source=source
    )
    before, after = read(source).tensors, read(path).tensors
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[name].data, tensor.data, err_msg=name)
    with torch.no_grad():  # one number is another now: the bytes are no longer its
        loaded.layers[1].mlp.up_proj.weight[5, 7] += 0.5
    path = write_gguf(loaded, its_tokenizer, tmp_path / "changed.gguf", kind, source=source)
    again, _ = load(path)
    assert (
        again.layers[1].mlp.up_proj.weight[5, 7] > loaded.layers[1].mlp.up_proj.weight[5, 7] - 0.2
    )


def test_the_default_model_goes_through_unchanged(smollm2, smollm2_gguf, tmp_path):
    """By its values alone, too: Q4_1 of Q4_1 loses nothing."""
    model, tokenizer = smollm2
    path = write_gguf(model, tokenizer, tmp_path / "m.gguf", "Q4_1")
    before, after = read(smollm2_gguf).tensors, read(path).tensors
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].tensor_type == tensor.tensor_type
        assert np.array_equal(after[name].data, tensor.data), name
    again = Tokenizer.from_gguf(path)
    assert again.spec == tokenizer.spec and again.special == tokenizer.special
    assert again.chat_template == tokenizer.chat_template


# -- metadata --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("linear", {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}),
        ("yarn", {"llama.rope.scaling.type": "yarn"}),
        ("llama3", {}),
        ("ntk", {}),
    ],
)
def test_rope_scaling(kind, keys, tokenizer, tmp_path):
    config = with_rope(tiny_model(qk_norm=False).config, kind, 4.0)
    model = Transformer.random(config, 3)
    path = write_gguf(model, tokenizer, tmp_path / "m.gguf", "F32")
    found = read(path)
    assert found.fields.items() >= keys.items()
    assert ("rope_freqs.weight" in found.tensors) is (kind == "llama3")
    loaded, _ = load(path)
    ids = torch.arange(100)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), model(ids))


def test_what_llama_cpp_does_not_have_is_refused(tokenizer, tmp_path):
    out = tmp_path / "m.gguf"
    with pytest.raises(ModelError, match="norms and biases"):
        write_gguf(tiny_model(**FAMILIES["every-option"]), tokenizer, out)
    config = with_rope(tiny_model(qk_norm=False).config, "dynamic", 2.0)
    with pytest.raises(ModelError, match="dynamic"):
        write_gguf(Transformer.random(config, 1), tokenizer, out)
    model = tiny_model(qk_norm=False)
    add_lora(model, rank=2, alpha=4, targets=["q_proj"], seed=1)
    with pytest.raises(ModelError, match="merge"):
        write_gguf(model, tokenizer, out)
    model = tiny_model(qk_norm=False)
    with torch.no_grad():
        model.layers[2].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"blk\.2\.ffn_up\.weight"):
        write_gguf(model, tokenizer, out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pre", PRETOKENIZERS)
def test_each_way_of_cutting_text_keeps_its_name(pre, tokenizer, tmp_path):
    spec = {**tokenizer.spec, "pre_tokenizer": PRETOKENIZERS[pre]}
    spec["model"] = {**spec["model"], "ignore_merges": pre == "llama-bpe"}
    spec["normalizer"] = {"type": "NFC"} if pre == "qwen2" else None
    one = Tokenizer(spec, tokenizer.special, tokenizer.chat_template)
    path = write_gguf(tiny_model(qk_norm=False), one, tmp_path / "m.gguf", "F32")
    assert read(path).fields["tokenizer.ggml.pre"] == pre
    assert Tokenizer.from_gguf(path).spec == spec


def test_hugging_face_spellings_of_the_same_cut(tokenizer, tmp_path):
    qwen = PRETOKENIZERS["qwen2"]["pretokenizers"]
    same = {
        "type": "Sequence",
        "pretokenizers": [qwen[0], {**qwen[1], "trim_offsets": False}],
    }
    one = Tokenizer({**tokenizer.spec, "pre_tokenizer": same}, tokenizer.special)
    path = write_gguf(tiny_model(qk_norm=False), one, tmp_path / "m.gguf", "F32")
    assert read(path).fields["tokenizer.ggml.pre"] == "qwen2"
    other = {"type": "Sequence", "pretokenizers": [split(r"\p{L}"), qwen[1]]}
    unknown = Tokenizer({**tokenizer.spec, "pre_tokenizer": other}, tokenizer.special)
    with pytest.raises(ModelError, match="no name for") as caught:
        write_gguf(tiny_model(qk_norm=False), unknown, tmp_path / "n.gguf", "F32")
    assert "hf" in (caught.value.hint or "")


def test_rows_without_a_token_and_tokens_of_every_type(tokenizer, tmp_path):
    model = tiny_model(qk_norm=False, vocab_size=352)
    added = [*tokenizer.spec["added_tokens"], {**tokenizer.spec["added_tokens"][0]}]
    added[-1] |= {"id": 330, "content": "<think>", "special": False}
    one = Tokenizer({**tokenizer.spec, "added_tokens": added}, tokenizer.special)
    path = write_gguf(model, one, tmp_path / "m.gguf", "F32")
    fields = read(path).fields
    types, names = fields["tokenizer.ggml.token_type"], fields["tokenizer.ggml.tokens"]
    assert len(types) == len(names) == 352 == len(set(names))
    assert types[330] == 4 and names[330] == "<think>" and types[0] == 3
    assert set(types[331:]) == {5} and names[340] == "[PAD340]"
    _, again = load(path)
    assert again.vocab_size == one.vocab_size
    text = "a <think> [PAD340] 你好 <|im_end|>"
    assert again.encode(text) == one.encode(text)
    assert again.decode(again.encode(text)) == text


def test_ends_go_under_the_names_that_there_are(tokenizer, tmp_path):
    path = write_gguf(tiny_model(qk_norm=False), tokenizer, tmp_path / "m.gguf", "F32")
    fields = read(path).fields
    ids = {a["content"]: a["id"] for a in tokenizer.spec["added_tokens"]}
    assert fields["tokenizer.ggml.eos_token_id"] == ids["<|im_end|>"]
    assert fields["tokenizer.ggml.eot_token_id"] == ids["<|endoftext|>"]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert Tokenizer.from_gguf(path).eos_ids == tokenizer.eos_ids


def test_provenance_goes_along(tokenizer, tmp_path):
    model = tiny_model(qk_norm=False)
    said = {"general.license": "apache-2.0", "general.languages": ["en", "zh"]}
    first = write_gguf(model, tokenizer, tmp_path / "a.gguf", "F16", general=said)
    assert read(first).fields["general.license"] == "apache-2.0"
    kept = provenance(tmp_path, first)
    assert kept == {**said, "general.name": "a"}
    second = write_gguf(model, tokenizer, tmp_path / "b.gguf", "Q8_0", general=kept)
    fields = read(second).fields
    assert fields["general.name"] == "a" and fields["general.languages"] == ["en", "zh"]
    assert fields["general.file_type"] == 7
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n", encoding="utf-8")
    (folder / "lineage.json").write_text('{"fingerprint": "abc"}', encoding="utf-8")
    assert provenance(folder) == {"general.license": "mit", "chatwright.fingerprint": "abc"}


# -- the disk --------------------------------------------------------------------------------------


def test_a_full_disk_leaves_what_was_there(tokenizer, tmp_path, monkeypatch):
    model, out = tiny_model(qk_norm=False), tmp_path / "m.gguf"
    out.write_bytes(b"before")
    (tmp_path / ".m.gguf.0000.partial").write_bytes(b"of a writer that was killed")
    real, calls = torch.Tensor.numpy, []

    def full(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "numpy", full)
    with pytest.raises(DataError, match="could not be written") as caught:
        write_gguf(model, tokenizer, out, "Q8_0")
    assert str(out) in str(caught.value)
    assert out.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["m.gguf"]
    monkeypatch.undo()
    write_gguf(model, tokenizer, out, "Q8_0")
    load(out)


def test_a_tokenizer_larger_than_the_model(tmp_path):
    with pytest.raises(ChatwrightError, match="the model only"):
        write_gguf(tiny_model(qk_norm=False, vocab_size=300), tiny_tokenizer(), tmp_path / "m.gguf")
