from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers in tiny.py


@pytest.fixture(scope="session")
def tokenizer():
    from tiny import tiny_tokenizer

    return tiny_tokenizer()


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf):
    """SmolLM2 in float32 and its tokenizer."""
    import torch

    from chatwright.model import load_model

    return load_model(smollm2_gguf, dtype=torch.float32, device="cpu")


@pytest.fixture(scope="session")
def smollm2_folder(smollm2, tmp_path_factory):
    """SmolLM2 as Chatwright saves it."""
    from chatwright.model import save_model

    return save_model(*smollm2, tmp_path_factory.mktemp("smollm2") / "model")
