"""Labels for the rows of a dataset, by people and models: a queue, its log, agreement, export."""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.curate.label.export import Exported, export_labels
    from chatwright.curate.label.queue import Queue, queues
    from chatwright.curate.label.shapes import Description, Place, Shown, Task
    from chatwright.curate.label.summary import Status, status

_HOMES = {
    "Description": ".shapes",
    "Exported": ".export",
    "Place": ".shapes",
    "Queue": ".queue",
    "Shown": ".shapes",
    "Status": ".summary",
    "Task": ".shapes",
    "export_labels": ".export",
    "queues": ".queue",
    "status": ".summary",
}

__all__ = [
    "Description",
    "Exported",
    "Place",
    "Queue",
    "Shown",
    "Status",
    "Task",
    "export_labels",
    "queues",
    "status",
]

__getattr__ = lazy_names(__name__, _HOMES)
