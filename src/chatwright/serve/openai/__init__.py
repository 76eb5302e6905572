"""OpenAI's API: models, chat completions, completions and responses, for the official clients."""

from chatwright.serve.openai.routes import openai_router

__all__ = ["openai_router"]
