"""The environment of datatrove, the peer of curation: made once below `.bench/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from _machine import ROOT

# jieba: datatrove's segmenter for Chinese. lxml_html_clean: what its trafilatura imports.
PEER = ["datatrove[processing,io]==0.10.1", "spacy>=3.8", "jieba>=0.42", "lxml_html_clean>=0.4"]
_CHECK = (
    "import datatrove.pipeline.filters, datatrove.pipeline.dedup, datatrove.pipeline.extractors, "
    "fasttext, jieba, lxml_html_clean, nltk, spacy, trafilatura"
)


def datatrove_python() -> Path:
    """The peer's Python."""
    folder = ROOT / ".bench" / "datatrove"
    python = folder / "bin" / "python"
    if not python.exists() or subprocess.call([python, "-c", _CHECK]):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEER], check=True)
    return python


def versions(*packages: str) -> dict[str, str]:
    """Which versions of these packages the peer has."""
    asked = f"import importlib.metadata as m; [print(m.version(p)) for p in {list(packages)!r}]"
    said = subprocess.run(
        [datatrove_python(), "-c", asked], check=True, capture_output=True, text=True
    )
    return dict(zip(packages, said.stdout.split(), strict=True))
