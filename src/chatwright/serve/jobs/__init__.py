"""`/v1/fine_tuning/jobs`: people's files become models, by real recipes in the background."""

from chatwright.serve.jobs.routes import jobs_router
from chatwright.serve.jobs.service import Jobs

__all__ = ["Jobs", "jobs_router"]
