from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chatwright.sources import pip_config
from chatwright.sources.pip_config import DEFAULT_INDEX, PipConfig, parse_config_list


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("INDEX_URL", "TIMEOUT", "RETRIES"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    file = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    return file


def test_reads_what_pip_itself_would_use(clean_environment: Path) -> None:
    clean_environment.write_text(
        "[global]\nindex-url = http://127.0.0.1:9/main\n"
        "extra-index-url =\n    http://127.0.0.1:9/one\n    http://127.0.0.1:9/two\n"
        "timeout = 42\ntrusted-host = mirror.example\ncert = /tmp/ca.pem\n"
        "[install]\nfind-links = /srv/wheels\n"
    )
    config = pip_config.pip_config()
    assert config.indexes == (
        "http://127.0.0.1:9/main",
        "http://127.0.0.1:9/one",
        "http://127.0.0.1:9/two",
    )
    assert config.find_links == ("/srv/wheels",)
    assert config.trusted_hosts == ("mirror.example",)
    assert (config.cert, config.timeout) == ("/tmp/ca.pem", 42.0)
    said = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "-vvv", "download", "--no-deps"),
            *("--timeout=1", "--retries=0", "no-package-has-this-name"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert all(f"{index}/no-package-has-this-name" in said.stdout for index in config.indexes)


def test_the_environment_goes_before_the_file(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment.write_text("[global]\nindex-url = https://file.example/simple\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://env.example/simple")
    assert pip_config.pip_config().indexes == ("https://env.example/simple",)


def test_without_pip_the_files_and_the_environment_are_read(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment.write_text(
        "[global]\nindex_url = https://file.example/simple\ncert = /tmp/ca.pem\n"
    )
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://b.example/simple  https://c.example/s")
    with_pip = pip_config.pip_config()
    monkeypatch.setattr(pip_config, "_from_pip", lambda: None)
    pip_config._read.cache_clear()
    try:
        without_pip = pip_config.pip_config()
    finally:
        pip_config._read.cache_clear()
    assert without_pip.indexes == (
        "https://file.example/simple",
        "https://b.example/simple",
        "https://c.example/s",
    )
    assert without_pip == with_pip


def test_no_configuration_means_the_public_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert pip_config.pip_config().indexes == (DEFAULT_INDEX,)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert pip_config.pip_config().indexes == ()


def test_lines_of_the_list_are_python_strings() -> None:
    text = (
        "global.extra-index-url='a\\nb'\n:env:.cert=\"/it's\"\nnot a line\nx.y=__import__('os')\n"
    )
    assert parse_config_list(text) == {
        "global.extra-index-url": "a\nb",
        ":env:.cert": "/it's",
    }


def test_a_broken_number_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_config, "_from_pip", lambda: {"global.timeout": "soon"})
    pip_config._read.cache_clear()
    try:
        assert pip_config.pip_config().timeout == PipConfig.timeout
    finally:
        pip_config._read.cache_clear()
