"""Small models of text that run anywhere: toxicity, sentiment, sentence embeddings.

Imported at once and not lazily: two of the names are also their modules' names, and importing costs
nothing (numpy, VADER and the embedding engine are loaded at the first call).
"""

from __future__ import annotations

from chatwright.curate.textmodels.embedding import Embedder, similarity
from chatwright.curate.textmodels.sentiment import sentiment
from chatwright.curate.textmodels.toxicity import TOXIC, toxicity, toxicity_many

__all__ = ["TOXIC", "Embedder", "sentiment", "similarity", "toxicity", "toxicity_many"]
