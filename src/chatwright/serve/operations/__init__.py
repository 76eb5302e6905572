"""Running the service: what it tells of itself, what it forgets in time, copies of its database."""

from chatwright.serve.operations.metrics import Measured, Metrics
from chatwright.serve.operations.retention import Retention
from chatwright.serve.operations.routes import operations_router

__all__ = ["Measured", "Metrics", "Retention", "operations_router"]
