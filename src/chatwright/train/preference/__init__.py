"""Learning from pairs of answers: reward models and direct preference optimisation.

Names are imported when they are first used: settings alone do not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.train.preference.pairs import place_of
    from chatwright.train.preference.scoring import score_conversations, score_sequences
    from chatwright.train.preference.settings import PreferenceSettings

_HOMES = {
    "PreferenceSettings": ".settings",
    "place_of": ".pairs",
    "score_conversations": ".scoring",
    "score_sequences": ".scoring",
}

__all__ = ["PreferenceSettings", "place_of", "score_conversations", "score_sequences"]

__getattr__ = lazy_names(__name__, _HOMES)
