"""`chatwright export`: the same model for other programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import gguf
import pytest
import torch
from typer.testing import CliRunner

import forked
from chatwright.cli.app import app
from chatwright.errors import ModelError, UsageError
from chatwright.model import ModelConfig, Transformer, load_model, save_model
from chatwright.tokenizer import Tokenizer

TEXTS = ["the quick brown fox jumps over the lazy dog. " * 4, "你好，世界！今天天气很好。" * 6]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one small model of our own."""
    place = tmp_path_factory.mktemp("export") / "workspace"
    model = Transformer.random(ModelConfig.from_depth(2, vocab_size=320, context=64), seed=3)
    save_model(
        model,
        Tokenizer.train(TEXTS, 320),
        place / "models" / "tiny" / "sft",
        card="---\nlicense: mit\n---\n# Tiny\n",
        lineage={"fingerprint": "0123abcd", "stage": "sft"},
    )
    return place


def export(workspace: Path, *words: str):
    environment = {"CHATWRIGHT_WORKSPACE": str(workspace)}
    return CliRunner().invoke(app, ["export", *words], env=environment)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path, dtype=torch.float32, device="cpu")[0].state_dict()


@pytest.mark.parametrize(
    ("words", "kind", "error"),
    [
        ((), "F16", 1e-3),
        (("--type", "f32"), "F32", 0.0),
        (("--type", "bf16"), "BF16", 1e-2),
        (("--type", "q8_0"), "Q8_0", 1e-2),
        (("--type", "q4_1"), "Q4_1", 0.2),
        (("--type", "q4_0"), "Q4_0", 0.2),
    ],
)
def test_gguf_of_each_type(workspace, tmp_path, words, kind, error):
    out = tmp_path / "m.gguf"
    done = export(workspace, "tiny/sft", str(out), "--format", "gguf", *words)
    assert done.exit_code == 0, done.output
    assert kind.lower() in done.output and "llama.cpp" in done.output
    reader = gguf.GGUFReader(out)
    kinds = {t.name: t.tensor_type.name for t in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == kind and kinds["output_norm.weight"] == "F32"
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.license"] == "mit"
    assert fields["chatwright.fingerprint"] == "0123abcd"
    before, after = weights(workspace / "models/tiny/sft"), weights(out)
    for name, weight in before.items():
        lost = (after[name] - weight).abs().max() / weight.abs().max()
        assert float(lost) <= error, name


def test_gguf_to_gguf_and_back_to_a_folder(workspace, tmp_path):
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    assert export(
        workspace, "tiny/sft", str(first), "--format", "gguf", "--type", "q4_0"
    ).exit_code == 0  # fmt: skip
    assert export(
        workspace, str(first), str(second), "--format", "gguf", "--type", "q4_0"
    ).exit_code == 0  # fmt: skip
    blocks = [
        {t.name: t.data.tobytes() for t in gguf.GGUFReader(p).tensors} for p in (first, second)
    ]
    assert blocks[0] == blocks[1]
    fields = gguf.GGUFReader(second).fields
    assert fields["general.license"].contents() == "mit"  # also through the file
    assert fields["chatwright.fingerprint"].contents() == "0123abcd"
    folder = tmp_path / "hf"
    assert export(workspace, str(second), str(folder)).exit_code == 0
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtype = getattr(torch, config["dtype"])
    loaded, _ = load_model(folder, dtype=dtype, device="cpu")
    expected, _ = load_model(second, dtype=dtype, device="cpu")
    for ours, theirs in zip(loaded.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_hf_keeps_card_and_lineage(workspace, tmp_path):
    folder = tmp_path / "hf"
    done = export(workspace, "tiny/sft", str(folder))
    assert done.exit_code == 0, done.output
    assert (folder / "README.md").read_text(encoding="utf-8").endswith("# Tiny\n")
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["fingerprint"] == "0123abcd"


def test_what_cannot_be(workspace, tmp_path):
    out = str(tmp_path / "x.gguf")
    for words, error, match in (
        (("tiny/sft", out, "--type", "q8_0"), UsageError, "only a GGUF file"),
        (("tiny/sfd", out, "--format", "gguf"), ModelError, "tiny/sfd"),
        (("tiny/sft", str(tmp_path), "--format", "gguf"), UsageError, "exists"),
    ):
        done = export(workspace, *words)
        assert isinstance(done.exception, error) and match in str(done.exception)
    assert export(workspace, "tiny/sft", out, "--format", "gguf", "--type", "q2_k").exit_code == 2
    assert not Path(out).exists()


def test_as_a_user_where_nothing_can_be_written(workspace, tmp_path):
    """The real program: what was wrong, where, and no traceback."""
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    out = tmp_path / "file" / "m.gguf"
    env = {**os.environ, "CHATWRIGHT_WORKSPACE": str(workspace), "COLUMNS": "200"}
    done = forked.run(["export", "tiny/sft", str(out), "--format", "gguf"], env, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and str(out) in done.stderr
