"""`chatwright compress`, the real program, on tiny models."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import forked
from chatwright.cli import main
from chatwright.compress import CompressSettings, compress_model
from chatwright.compress.measure import file_bytes, measure, texts_for
from chatwright.model import ModelConfig, Transformer, load_model, save_model
from chatwright.records import Document, read_json, write_dataset
from chatwright.tokenizer import Tokenizer
from chatwright.workspace import Workspace

SENTENCES = [
    "The session holds a transaction until it is committed or rolled back.",
    "A relationship loads its collection lazily unless it is told otherwise.",
    "引擎是连接数据库的起点，它管理着一个连接池。",
    "映射的类与表之间的关系由声明式基类描述。",
]
TASK = """\
name: handbook
kind: choice
sources: [{source: items.jsonl, fields: {choices: options, gold: right}}]
prompt: "Question: {{ q }}\\nAnswer:"
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a task, and a workspace with a model and a dataset."""
    folder = tmp_path_factory.mktemp("desk")
    place = Workspace(folder / "workspace")
    (folder / "sample.txt").write_text(" ".join(SENTENCES) * 8, encoding="utf-8")
    (folder / "handbook.yaml").write_text(TASK, encoding="utf-8")
    items = [{"q": f"Who {i}?", "options": ["we", "they"], "right": i % 2} for i in range(4)]
    lines = "\n".join(json.dumps(item) for item in items)
    (folder / "items.jsonl").write_text(lines, encoding="utf-8")
    with write_dataset(
        place.datasets / "my" / "pages", Document, stage="p", fingerprint="p", settings={}
    ) as out:
        for i in range(8):
            out.write(Document(f"d{i}", SENTENCES[i % 4] * 3, f"x:{i}", "test"))
    tokenizer = Tokenizer.train([*SENTENCES, "Question: Who 0123 Answer: we they?"] * 3, 380)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        width=64,
        n_layers=4,
        n_heads=4,
        n_kv_heads=2,
        head_dim=16,
        mlp_width=128,
        context=128,
        tied=True,
    )
    save_model(Transformer.random(config, 0), tokenizer, place.models / "my" / "base")
    return folder


@pytest.fixture
def call(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The program in this process: quicker, for what needs no process of its own."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(desk)
        monkeypatch.setenv("CHATWRIGHT_WORKSPACE", str(desk / "workspace"))
        monkeypatch.delenv("CHATWRIGHT_DATA", raising=False)
        monkeypatch.setattr(sys, "argv", ["chatwright", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_a_pruned_checkpoint_its_table_and_its_card(desk: Path) -> None:
    words = ["compress", "my/base", "my/pruned", "--method", "prune", "--pattern", "2:4"]
    words += ["--calibration", "sample.txt", "--rows", "4", "--text", "sample.txt"]
    words += ["--tasks", "handbook.yaml", "--json"]
    env = os.environ | {"CHATWRIGHT_WORKSPACE": str(desk / "workspace"), "OMP_NUM_THREADS": "1"}
    done = forked.run(words, env, cwd=desk)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    before, after = report["before"], report["after"]
    assert before["notes"] == after["notes"] == []
    assert after["zeros"] == 0.5 and before["zeros"] < 0.01
    assert after["tokens_per_second"] > 0 and after["peak_bytes"] > 20 * 2**20
    assert after["perplexity"] > 1 and after["tokens"] == before["tokens"] > 100
    assert report["tasks"]["tasks"][0]["name"] == "handbook"
    folder = desk / "workspace" / "models" / "my" / "pruned"
    lineage = read_json(folder / "lineage.json", "lineage")
    (parent,) = lineage["parents"]
    assert parent["name"] == "my/base"
    assert (folder / parent["path"]).resolve() == folder.parent / "base"
    assert (lineage["recipe"], lineage["stage"]) == ("my", "pruned")
    assert lineage["settings"]["model"] == "my/base" and lineage["settings"]["pattern"] == "2:4"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "base_model: my/base" in card and "| weights on disk |" in card
    assert Workspace(desk / "workspace").list_models() == ["my/base", "my/pruned"]
    _, words_of = load_model(folder)
    assert words_of.vocab_size <= 380


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (["--method", "heads", "--keep", "2"], {"n_heads": 2, "n_kv_heads": 1}),
        (
            ["--method", "heads", "--keep", "0.5", "--unit", "queries", "--criterion", "taylor"],
            {"n_heads": 2, "n_kv_heads": 2},
        ),
        (["--method", "channels", "--keep", "50%"], {"mlp_width": 64}),
        (["--method", "layers"], {"n_layers": 3}),
        (["--method", "layers", "--criterion", "spread", "--keep", "2"], {"n_layers": 2}),
        (["--method", "low-rank", "--keep", "0.5"], {"n_layers": 4}),
        (["--method", "low-rank", "--rank", "8", "--criterion", "plain", "--dense"], {}),
        (["--method", "share"], {"n_layers": 4}),
        (["--method", "prune", "--criterion", "magnitude", "--sparsity", "0.7"], {}),
        (["--method", "distil", "--recover", "2", "--data", "my/pages"], {"n_layers": 2}),
    ],
)
def test_every_method_writes_a_model_that_loads(
    options: list[str], shape: dict[str, int], desk: Path, call: Any, tmp_path: Path
) -> None:
    needs_text = options[1] in {"heads", "channels", "layers", "low-rank"}
    more = ["--calibration", "sample.txt", "--rows", "2"] if needs_text else []
    out = str(tmp_path / "smaller")
    code, printed, err = call("compress", "my/base", out, *options, *more, "--no-measure")
    assert code == 0, err
    assert printed.splitlines()[-1] == out
    model, _ = load_model(out)
    assert {name: getattr(model.config, name) for name in shape} == shape
    assert not list(tmp_path.glob(".*")), "nothing half-made stays behind"
    assert not list((desk / "workspace" / "runs" / "compress").glob("*"))


@pytest.mark.parametrize(
    "options",
    [
        ["int8"],
        ["int4", "--calibrate", "awq"],
        ["int4", "--calibrate", "gptq", "--symmetric", "--embedding", "same"],
    ],
)
def test_quantised_models_load_too(
    options: list[str], desk: Path, call: Any, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    more = ["--calibration", "sample.txt"] if len(options) > 1 else []
    words = ("compress", "my/base", str(out), "-m", *options, *more, "--no-measure")
    code, _, err = call(*words)
    assert code == 0, err
    model, _ = load_model(out)
    assert model.config.n_layers == 4
    lineage = read_json(out / "lineage.json", "lineage")
    assert (
        lineage["settings"]["method"] == options[0] and lineage["parents"][0]["name"] == "my/base"
    )
    assert "base_model: my/base" in (out / "README.md").read_text(encoding="utf-8")
    before = file_bytes(desk / "workspace" / "models" / "my" / "base")
    assert file_bytes(out) < 0.6 * before
    assert call(*words)[0] == 0  # nothing to do
    assert measure(out, speed=False).notes == [
        "its file holds blocks of small integers; PyTorch unpacks them"
    ]


def test_recovery_keeps_the_zeros_and_is_told(desk: Path, call: Any, tmp_path: Path) -> None:
    words = ("compress", "my/base", str(tmp_path / "m"), "-m", "prune", "--criterion", "magnitude")
    code, out, err = call(*words, "--recover", "3", "--data", "my/pages", "--no-measure", "--json")
    assert code == 0, err
    facts = json.loads(out)["facts"]
    assert facts["recovery steps"] == 3 and "→" in facts["recovery loss"]
    model, _ = load_model(tmp_path / "m")
    weight = model.layers[2].mlp.up_proj.weight
    assert int((weight == 0).sum()) == weight.numel() // 2
    assert len((tmp_path / "m" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_again_is_nothing_to_do_and_something_else_is_refused(
    desk: Path, call: Any, tmp_path: Path
) -> None:
    words = ("compress", "my/base", str(tmp_path / "m"), "-m", "prune", "--criterion", "magnitude")
    assert call(*words, "--no-measure")[0] == 0
    stamp = (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns
    code, out, err = call(*words, "--no-measure")
    assert code == 0 and "is there already" in err and "pruned" in out
    assert (tmp_path / "m" / "model.safetensors").stat().st_mtime_ns == stamp
    code, _, err = call(*words, "--sparsity", "0.6", "--no-measure")
    assert code == 2 and "this exists already" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["my/base", "o", "-m", "int4", "--sparsity", "0.5"], "--sparsity"),
        (["my/base", "o", "-m", "prune", "--recover", "3"], "--data"),
        (["my/base", "o", "-m", "heads", "--keep", "3", "--criterion", "taylor"], "keep 2"),
        (["my/base", "o", "-m", "low-rank", "--rank", "64"], "no matrix would become smaller"),
        (["my/base", "o", "-m", "low-rank", "--keep", "7"], "--rank"),
        (["my/base", "o", "-m", "share", "--keep", "9"], "cannot have 9 sets"),
        (["my/base", "o", "-m", "share", "--keep", "4"], "nothing would be taken out"),
        (["my/base", "o", "-m", "prune", "--text", "nowhere.txt"], "--text nowhere.txt"),
        (["my/base", "o", "-m", "prune", "--tasks", "hellaswog"], "hellaswog"),
        (["my/base", "o", "-m", "share", "--tie-embeddings"], "one matrix already"),
        (["my/base", "o", "-m", "layers", "--calibration", "nowhere.txt"], "--calibration"),
        (["my/base", "o", "-m", "prune", "--recover", "3", "--data", "no/such"], "no/such"),
        (["my/base", "o", "-m", "prune", "--no-measure", "--tasks", "arc_easy"], "--no-measure"),
        (["my/base", ".o", "-m", "prune"], "name of a model"),
        (["no/such", "o", "-m", "prune"], "no/such"),
    ],
)
def test_what_cannot_be_is_said(words: list[str], said: str, desk: Path, call: Any) -> None:
    plain = "--calibration" not in words and words[3] in {"heads", "layers"}
    code, _, err = call("compress", *words, *(["--calibration", "sample.txt"] if plain else []))
    assert code in (1, 2) and said in err and "Traceback" not in err
    assert not (desk / "workspace" / "models" / "o").exists()


def test_perplexity_on_the_models_own_validation_data(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lineage of what a model was trained with names it; a compressed one's leads there."""
    monkeypatch.delenv("CHATWRIGHT_DATA", raising=False)
    place = Workspace(desk / "workspace")
    folder = tmp_path / "trained"
    model, words = load_model(place.models / "my" / "base")
    lineage = {"fingerprint": "t", "parents": [], "settings": {"validation": "my/pages"}}
    save_model(model, words, folder, lineage=lineage)
    found = texts_for(folder, place)
    assert found is not None and found.name == "its validation data, pages"
    assert len(found.texts) == 8
    settings = CompressSettings(method="prune", criterion="magnitude")
    made = compress_model(str(folder), tmp_path / "pruned", settings, workspace=place)
    assert texts_for(made.path, place) == found
    assert texts_for(place.models / "my" / "base", place) is None


def test_help_shows_an_example(call: Any) -> None:
    code, out, _ = call("compress", "--help")
    assert code == 0 and "chatwright compress smollm2-135m-instruct" in out
