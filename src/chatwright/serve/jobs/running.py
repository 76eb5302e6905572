"""One job: its folder with the plain rows, its process, what that tells, and the model at the end.

The folder is `jobs/ID` of the workspace, and a workspace itself: whatever the training leaves in
plain text is gone with it, whichever way the job ends.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatwright.records import write_atomic
from chatwright.serve.jobs.base import Base
from chatwright.serve.jobs.recipe import (
    STAGE,
    TRAINING,
    VALIDATION,
    Hyperparameters,
    make_recipe,
)
from chatwright.serve.jobs.rows import Method, TrainingRows
from chatwright.workspace import Workspace

NICE = 10
CANCEL_SECONDS = 4.0  # from SIGTERM to SIGKILL

_LINE = re.compile(r"\[(\d+)/(\d+)\] (\S+): (\w+)$")
_STAGES = {"rows": "Reading the rows", "held-out": "Reading the rows for validation"}


@dataclass(frozen=True, slots=True)
class Order:
    """All that a job's process needs; `origin` is what the model's lineage will say of it."""

    job_id: str
    name: str
    base: Base
    method: Method
    chosen: Hyperparameters
    seed: int
    training: TrainingRows
    validation: TrainingRows | None
    origin: dict[str, Any]


@dataclass(slots=True)
class Step:
    """A line of the training's log."""

    step: int
    total: int | None
    loss: float | None
    validation_loss: float | None
    tokens: int | None


@dataclass(slots=True)
class Training:
    """The process of a job. Its methods may block for a moment; call them in a thread."""

    order: Order
    workspace: Workspace
    total: int | None = None
    step: int = 0  # the last that was told
    tokens: int | None = None
    error: str | None = None
    _process: subprocess.Popen[str] | None = None
    _said: deque[dict[str, Any]] = field(default_factory=deque)
    _reader: threading.Thread | None = None
    _took: float = 0.0
    _seen: int = 0

    @property
    def folder(self) -> Path:
        return jobs_folder(self.workspace) / self.order.job_id

    @property
    def result(self) -> Path:
        """Where the model will be."""
        return self.workspace.models / self.order.name

    def start(self) -> None:
        """Write rows and recipe, and start. It goes on from what an earlier process has left."""
        folder, order = self.folder, self.order
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / TRAINING, order.training.data)
        if order.validation is not None:
            _write(folder / VALIDATION, order.validation.data)
        if order.base.folder is not None:  # so that the recipe calls it by its name
            link = folder / "models" / order.base.name
            link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(order.base.folder.resolve())
        recipe = make_recipe(
            order.job_id,
            order.base.name,
            order.method,
            order.chosen,
            order.training,
            seed=order.seed,
            validation=order.validation,
            context=order.base.context,
        )
        # JSON is YAML too, and nothing in it can be taken for anything else.
        _write(folder / "recipe.yaml", json.dumps(recipe, indent=1).encode())
        environ = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        for name in [n for n in environ if n.startswith("CHATWRIGHT_") and n != "CHATWRIGHT_CACHE"]:
            del environ[name]  # the master key is none of its business
        with (folder / "runner.log").open("wb") as log:
            self._process = subprocess.Popen(
                # A program of the command's, by name: what builds recipes stands above this room.
                [sys.executable, "-m", "chatwright.cli.training_job"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=environ,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the server alone, which ends it in order
            )
        assert self._process.stdin is not None
        told = {"recipe": "recipe.yaml", "workspace": ".", "nice": NICE}
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()  # and it stays open: its end is the server's end
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def running(self) -> bool:
        """Whether the process is at it."""
        return self._process is not None and self._process.poll() is None

    def succeeded(self) -> bool:
        """Whether it has ended, and well."""
        if self._reader is not None and not self.running():
            self._reader.join(5)
        return self._process is not None and self._process.returncode == 0

    def news(self) -> list[str | Step]:
        """What has happened since the last call: sentences, and steps."""
        found: list[str | Step] = []
        while self._said:
            told = self._said.popleft()
            if "error" in told:
                hint = f" ({told['hint']})" if told.get("hint") else ""
                self.error = f"{told['error']}{hint}"
            elif told.get("task") == "train" and isinstance(told.get("total"), int):
                self.total = told["total"]
                found.append(f"Training has begun: {self.total} steps")
            elif "line" in told and (match := _LINE.match(told["line"])) and match[3] in _STAGES:
                found.append(_STAGES[match[3]])
        found.extend(self._steps())
        return found

    def estimate(self) -> float | None:
        """When it will be done (seconds since 1970), as the steps so far went."""
        if self.total is None or not self._seen:
            return None
        return time.time() + self._took / self._seen * (self.total - self.step)

    def stop(self, seconds: float = CANCEL_SECONDS) -> None:
        """SIGTERM, on which the step is finished and saved; after `seconds` SIGKILL."""
        if self._process is None:
            return
        if self.running():
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def keep(self) -> None:
        """Move the model to its place, whole and with its lineage: from then on it is served."""
        made = self.folder / "models" / self.order.job_id / STAGE
        _complete(made, self.result, self.order)
        self.result.parent.mkdir(parents=True, exist_ok=True)
        made.rename(self.result)

    def kept(self) -> bool:
        """Whether an earlier process has done it all and only not said so."""
        return (self.result / "config.json").exists()

    def clean(self) -> None:
        """Remove the folder, the plain rows with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with suppress(ValueError, OSError):
            for line in self._process.stdout:
                with suppress(ValueError):
                    self._said.append(json.loads(line))

    def _steps(self) -> list[Step]:
        from chatwright.train.metrics import read_metrics

        log = self.folder / "runs" / self.order.job_id / "work" / STAGE / "metrics.jsonl"
        found = []
        for line in read_metrics(log):
            step = line["step"]
            if step <= self.step:
                continue
            self.step = step
            self._took += line.get("step_seconds") or 0.0
            self._seen += 1
            found.append(
                Step(
                    step, self.total, line.get("loss"), line.get("validation_loss"),
                    line.get("tokens"),
                )
            )  # fmt: skip
        return found


def jobs_folder(workspace: Workspace) -> Path:
    """Where the folders of jobs under way are."""
    return workspace.root / "jobs"


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _complete(made: Path, result: Path, order: Order) -> None:
    """Say in lineage and card what the model was made of, and by whom.

    The rows themselves are gone: files and person are named by ids and digests.
    """
    lineage = json.loads((made / "lineage.json").read_text(encoding="utf-8"))
    parents = [
        {**parent, "path": f"../../jobs/{order.job_id}/datasets/{parent['name']}"}
        for parent in lineage["parents"]
    ]
    for file in order.origin["files"]:
        parents.append(
            {"name": file["id"], "fingerprint": file["content_id"], "path": f"files/{file['id']}"}
        )
    if order.base.folder is not None:
        base = _fingerprint(order.base.folder)
        if base is not None:
            path = os.path.relpath(order.base.folder, result)
            parents.append({"name": order.base.name, "fingerprint": base, "path": path})
    lineage = {**lineage, "parents": parents, "fine_tuning": order.origin}
    write_atomic(made / "lineage.json", json.dumps(lineage, indent=1, ensure_ascii=False) + "\n")
    card = (made / "README.md").read_text(encoding="utf-8")
    card = card.replace(f"# {order.job_id}/{STAGE}\n", f"# {order.name}\n", 1)
    said = "".join(f"`{f['id']}` (content {f['content_id']}), " for f in order.origin["files"])
    card += (
        f"\n## Fine-tuning job\n\nJob `{order.job_id}` of person `{order.origin['person']}`, by "
        f"`/v1/fine_tuning/jobs`: method {order.method}, from {said.removesuffix(', ')}. The rows "
        "are not kept with the model.\n"
    )
    write_atomic(made / "README.md", card)


def _fingerprint(folder: Path) -> str | None:
    try:
        value = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
        found = value.get("fingerprint")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
