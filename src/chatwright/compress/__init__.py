"""A model made smaller: quantised, pruned, factorised; and what that costs, measured.

Names are imported when they are first used: the command line does not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.compress.calibration import calibration_texts
    from chatwright.compress.measure import Measured
    from chatwright.compress.quantise import Quantised, quantise_model
    from chatwright.compress.run import Compressed, compress_model
    from chatwright.compress.settings import CompressSettings

_HOMES = {
    "CompressSettings": ".settings",
    "Compressed": ".run",
    "Measured": ".measure",
    "Quantised": ".quantise",
    "calibration_texts": ".calibration",
    "compress_model": ".run",
    "quantise_model": ".quantise",
}

__all__ = [
    "CompressSettings",
    "Compressed",
    "Measured",
    "Quantised",
    "calibration_texts",
    "compress_model",
    "quantise_model",
]

__getattr__ = lazy_names(__name__, _HOMES)
