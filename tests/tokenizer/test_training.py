"""Learning a vocabulary, and the stage that does it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import transformers
from sample_texts import TEXTS

from chatwright.errors import DataError, UsageError
from chatwright.records import Document, Parent, write_dataset
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.stages import STAGES, TokenizerSettings
from chatwright.tokenizer.training import SPECIAL
from chatwright.workspace import Workspace


def test_what_is_learned(trained):
    vocab = trained.spec["model"]["vocab"]
    assert [trained.token_id(t) for t in SPECIAL] == [0, 1, 2, 3]
    assert trained.vocab_size <= 600 and "Ġfox" in vocab
    assert trained.eos_ids == {0, 2} and trained.eos_id == 2
    assert trained.pad_id == 3 and trained.pad_id not in trained.eos_ids
    assert trained.end_of_text_id == 0 and trained.bos_id is None
    for text in ("the lazy dog", "今天天气很好"):
        ids = trained.encode(text)
        assert len(ids) < len(text.encode()) / 2 and trained.decode(ids) == text
    never_seen = "Ω≈ç√ ∫ 𝄞 ខ្មែរ \x00\x7f"
    assert trained.decode(trained.encode(never_seen)) == never_seen


def test_special_tokens_in_the_text_are_not_learned():
    tokenizer = Tokenizer.train(["<|im_end|>word " * 500, "word " * 500], 300)
    assert [tokenizer.token_id(t) for t in SPECIAL] == [0, 1, 2, 3]
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode("<|im_end|>word"))


def test_same_text_same_vocabulary(trained):
    """Also in another process, with another hash seed and another number of threads."""
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from sample_texts import TEXTS\n"
        "from chatwright.tokenizer import Tokenizer\n"
        "print(json.dumps(Tokenizer.train(TEXTS, 600).spec, sort_keys=True))"
    )
    from pathlib import Path

    for seed, threads in (("1", "1"), ("2", "2")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env={"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "PATH": ""},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == json.loads(json.dumps(trained.spec))


def test_impossible_requests():
    with pytest.raises(UsageError, match="260"):
        Tokenizer.train(["x"], 259)
    for empty in ([], [""], ["  \n"]):
        with pytest.raises(DataError, match="no text"):
            Tokenizer.train(empty, 300)


@pytest.fixture
def context(tmp_path):
    place = Workspace(tmp_path)
    with write_dataset(
        place.datasets / "docs", Document, stage="docs", fingerprint="abc", settings={}
    ) as out:
        for i, text in enumerate(TEXTS):
            out.write(
                Document(
                    str(i), text, f"u{i}", "test", collected_at=datetime(2024, 1, 1, tzinfo=UTC)
                )
            )
    return StageContext(
        recipe="r",
        stage="tokenizer",
        seed=0,
        output=place.models / "r" / "tokenizer",
        scratch=tmp_path / "scratch",
        fingerprint="f" * 32,
        workspace=place,
        parents=[Parent("docs", "abc", "../../datasets/docs")],
    )


def test_the_stage(context, trained):
    (kind,) = STAGES
    assert kind.kind == "tokenizer" and kind.output == "models"
    settings = TokenizerSettings(input="docs", vocab_size=600)
    kind.run(settings, context)
    tokenizer = Tokenizer.load(context.output)
    assert tokenizer.spec == trained.spec  # the same texts, the same vocabulary
    lineage = json.loads((context.output / "lineage.json").read_text())
    assert lineage["fingerprint"] == context.fingerprint
    assert lineage["parents"] == [
        {"name": "docs", "fingerprint": "abc", "path": "../../datasets/docs"}
    ]
    first = {p.name: p.read_bytes() for p in context.output.iterdir()}
    kind.run(settings, context)
    assert first == {p.name: p.read_bytes() for p in context.output.iterdir()}
    theirs = transformers.AutoTokenizer.from_pretrained(context.output)
    assert theirs.encode("今天 the fox") == tokenizer.encode("今天 the fox")
    assert theirs.pad_token == "<|pad|>" and theirs.eos_token == "<|im_end|>"


def test_the_stage_reads_so_much(context):
    STAGES[0].run(TokenizerSettings(input="docs", vocab_size=600, max_characters=100), context)
    assert "Ġfox" in Tokenizer.load(context.output).spec["model"]["vocab"]
    assert "世" not in json.dumps(Tokenizer.load(context.output).spec, ensure_ascii=False)
