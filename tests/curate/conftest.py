"""Small datasets of pages, and the stages run on them as a build would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatwright.curate.stages import STAGES
from chatwright.records import Dataset, Document, Parent, content_id, fingerprint, write_dataset
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

Make = Callable[[str, Iterable[tuple[str, str]]], Dataset]
Run = Callable[..., Dataset]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def collected(workspace: Workspace) -> Make:
    """`collected("pages", [(path, html), …])`: a dataset as `collect` leaves it."""

    def make(name: str, pages: Iterable[tuple[str, str]]) -> Dataset:
        path = workspace.datasets / "test" / name
        with write_dataset(path, Document, stage=name, fingerprint=name, settings={}) as out:
            for page, text in pages:
                types = {"md": "text/markdown", "txt": "text/plain"}
                media_type = types.get(page.rpartition(".")[2], "text/html")
                row = Document(
                    content_id("test", text + page),
                    text,
                    f"https://docs.test/{page}",
                    "test",
                    meta={"media_type": media_type},
                )
                out.write(row)
        return Dataset.open(path)

    return make


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """`run("curate", "corpus", input="pages", …)`: one stage, as the builder runs it."""

    def stage(kind: str, name: str, *, seed: int = 7, **values: Any) -> Dataset:
        (found,) = [k for k in STAGES if k.kind == kind]
        settings = found.settings(**values)
        inputs = {n: workspace.datasets / "test" / n for n in settings.referenced()}
        context = StageContext(
            recipe="test",
            stage=name,
            seed=seed,
            output=workspace.datasets / "test" / name,
            scratch=workspace.runs / name,
            fingerprint=fingerprint(kind, settings.model_dump(mode="json"), list(inputs)),
            workspace=workspace,
            inputs=inputs,
            parents=[Parent(n, n, f"../{n}") for n in inputs],
        )
        found.run(settings, context)
        return Dataset.open(context.output)

    return stage


@pytest.fixture(scope="session")
def ray() -> Iterator[Any]:
    """One Ray for all tests: an executor joins what runs already."""
    found = pytest.importorskip("ray", reason="Ray is an extra: pip install 'chatwright[ray]'")
    found.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=128 << 20,
        # What it unpickles is in these modules, which are no part of an installed package.
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    yield found
    found.shutdown()
