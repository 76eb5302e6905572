from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # sample_texts.py


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf):
    """SmolLM2's own tokenizer."""
    from chatwright.tokenizer import Tokenizer

    return Tokenizer.from_gguf(smollm2_gguf)


@pytest.fixture(scope="session")
def trained():
    """A small tokenizer of ours."""
    from sample_texts import TEXTS

    from chatwright.tokenizer import Tokenizer

    return Tokenizer.train(TEXTS, 600)


@pytest.fixture(params=["smollm2", "trained"])
def tokenizer(request):
    return request.getfixturevalue(request.param)
