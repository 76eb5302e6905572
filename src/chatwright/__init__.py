"""Chatwright: make a ChatGPT of your own, with every row accounted for.

>>> from chatwright import load_engine, SamplingParams
>>> engine = load_engine("smollm2-135m-instruct")
>>> engine.chat([{"role": "user", "content": "Hello!"}], SamplingParams(temperature=0)).text

The names below are loaded when first used: `import chatwright` does not import torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from chatwright.errors import ChatwrightError
from chatwright.lazy import lazy_names
from chatwright.version import __version__

# How long torch's threads spin while they wait for each other. Without spinning, training is 1.7
# times slower on quiet cores; with OpenMP's own default, fifty times slower where something else
# wants the cores. Read once, before torch is loaded. Measured in docs/benchmarks.md.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")

if TYPE_CHECKING:
    from chatwright.assist import Assistant, load_assistant
    from chatwright.generate import Completion, Engine, SamplingParams, load_engine
    from chatwright.model import load_model, save_model
    from chatwright.recipe import load_recipe
    from chatwright.records import Dataset
    from chatwright.workspace import Workspace

_HOMES = {
    "Assistant": "chatwright.assist",
    "load_assistant": "chatwright.assist",
    "Completion": "chatwright.generate",
    "Engine": "chatwright.generate",
    "SamplingParams": "chatwright.generate",
    "load_engine": "chatwright.generate",
    "load_model": "chatwright.model",
    "save_model": "chatwright.model",
    "load_recipe": "chatwright.recipe",
    "Dataset": "chatwright.records",
    "Workspace": "chatwright.workspace",
}

__all__ = [
    "Assistant",
    "ChatwrightError",
    "Completion",
    "Dataset",
    "Engine",
    "SamplingParams",
    "Workspace",
    "__version__",
    "load_assistant",
    "load_engine",
    "load_model",
    "load_recipe",
    "save_model",
]

__getattr__ = lazy_names(__name__, _HOMES)
