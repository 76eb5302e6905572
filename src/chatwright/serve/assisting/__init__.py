"""What helps an answer along: tools, and moderation with its appeals."""

from chatwright.serve.assisting.moderator import Moderator, Verdict
from chatwright.serve.assisting.routes import assisting_router
from chatwright.serve.assisting.tools import PersonTools

__all__ = ["Moderator", "PersonTools", "Verdict", "assisting_router"]
