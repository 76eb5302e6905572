"""Several HTTP workers with one engine process: who starts whom, and how they speak.

`Supervisor` (the parent) starts the engine's process and N workers on one listening socket. Workers
reach the models through `RemoteRegistry`, and each other's runs through `peers`.
"""

from chatwright.serve.workers.making import run_fleet
from chatwright.serve.workers.supervise import Fleet, Supervisor

__all__ = ["Fleet", "Supervisor", "run_fleet"]
