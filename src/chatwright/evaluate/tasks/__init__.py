"""Tasks as data: YAML in, items that can be asked out."""

from chatwright.evaluate.tasks.loading import (
    find_tasks,
    load_task,
    read_task_file,
    task_digest,
    task_files,
)
from chatwright.evaluate.tasks.schema import Item, Source, Task, TaskSpec

__all__ = [
    "Item",
    "Source",
    "Task",
    "TaskSpec",
    "find_tasks",
    "load_task",
    "read_task_file",
    "task_digest",
    "task_files",
]
