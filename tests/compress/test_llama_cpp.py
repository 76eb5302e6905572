"""What we write is what llama.cpp runs: its answers beside ours, from the same files.

With F16 weights llama.cpp multiplies as we do, and 64 greedy tokens must be the same. With Q8_0,
Q4_0 and Q4_1 it also rounds every matrix's inputs to 8 bits, which moves logits by some tenths;
where the best two are nearer than that, it may say the second. So there each of its tokens is held
against our float32 logits, given what it said before: nearly all must be our choice too, and those
that are not must have been close.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from chatwright.compress import quantise_model
from chatwright.model import load_model
from chatwright.model.gguf_write import write_gguf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# A Python with llama-cpp-python; `script/bench` makes one in a checkout.
PYTHON = Path(
    os.environ.get(
        "CHATWRIGHT_LLAMA_PYTHON", Path(__file__).parents[2] / ".bench" / "llama" / "bin" / "python"
    )
)
COUNT = 64
QUESTIONS = [
    "What is the capital of France?",
    "Write a short story about a fox who learns to swim.",
    "你好！请介绍一下北京。",
    "Explain why the sky is blue in two sentences.",
    "写一首关于春天的短诗。",
    "List five fruits.",
]
TEXTS = [
    "Hello, world! It's 1234 cats — 你好，世界！\n\n  def f(x):\n    return x",
    "今天天气很好。我们去公园玩吧！<|im_end|> 12,345.67 €",
]


@pytest.fixture(scope="module", autouse=True)
def _llama():
    if not PYTHON.exists():
        pytest.skip(f"no llama-cpp-python here ({PYTHON}); set CHATWRIGHT_LLAMA_PYTHON")
    found = subprocess.run([PYTHON, "-c", "import llama_cpp"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"llama_cpp cannot be imported by {PYTHON}")


@pytest.fixture(scope="module")
def base(smollm2_gguf):
    return load_model(smollm2_gguf, dtype=torch.float32, device="cpu")


def ask_llama(path: Path, tokenizer) -> dict:
    prompts = [tokenizer.chat([{"role": "user", "content": q}]) for q in QUESTIONS]
    request = {"path": str(path), "prompts": prompts, "count": COUNT, "texts": TEXTS}
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("llama_greedy.py")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answered = json.loads(done.stdout)
    assert answered["texts"] == [tokenizer.encode(text) for text in TEXTS]
    for prompt, answer in zip(prompts, answered["answers"], strict=True):
        answer["prompt"] = prompt
    return answered


def differences(path: Path, answered: dict) -> list[tuple[int, int, float]]:
    """(prompt, position, how far our logit of llama.cpp's token lies below our best)."""
    model, _ = load_model(path, dtype=torch.float32, device="cpu")
    found = []
    for number, answer in enumerate(answered["answers"]):
        prompt, tokens = answer["prompt"], answer["tokens"]
        with torch.no_grad():
            rows = model(torch.tensor([prompt + tokens[:-1]]))[0, len(prompt) - 1 :]
        for at, token in enumerate(tokens):
            if int(rows[at].argmax()) != token:
                found.append((number, at, float(rows[at].max() - rows[at, token])))
    return found


def test_f16_gives_the_same_text(base, tmp_path):
    path = write_gguf(*base, tmp_path / "m.gguf", "F16", general={"general.license": "apache-2.0"})
    answered = ask_llama(path, base[1])
    # Teacher-forced without a difference is the same greedy text, token by token.
    assert differences(path, answered) == []
    assert answered["metadata"]["general.license"] == "apache-2.0"


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_quantised_types_differ_by_near_ties_only(kind, base, tmp_path):
    path = write_gguf(*base, tmp_path / "m.gguf", kind)
    found = differences(path, ask_llama(path, base[1]))
    print(kind, [(n, at, round(gap, 3)) for n, at, gap in found])
    assert len(found) <= 0.05 * COUNT * len(QUESTIONS)
    assert all(gap < 0.6 for _, _, gap in found)


@pytest.mark.parametrize("calibrate", ["gptq", "awq"])
def test_calibrated_files_too(calibrate, base, tmp_path):
    made = quantise_model(*base, "int4", calibrate=calibrate, group=64, symmetric=True)
    folder = made.save(tmp_path / "m")
    found = differences(folder, ask_llama(folder / "model.gguf", base[1]))
    print(calibrate, [(n, at, round(gap, 3)) for n, at, gap in found])
    assert len(found) <= 0.05 * COUNT * len(QUESTIONS)
    assert all(gap < 0.6 for _, _, gap in found)
