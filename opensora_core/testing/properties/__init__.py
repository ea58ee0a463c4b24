"""Laws that hold on every backend without a reference: `PROPERTIES[name](ops, rng)` raises AssertionError if not.

Two ways to compute the same must agree: attention with its keys in another order, a batch in parts, a video's temporal
attention as full attention under a mask. See `Property` for how far rounding may part them.
"""

from . import attention, layers, model, sampling
from .inputs import Inputs
from .judged import PROPERTIES, Level, Property, holds

__all__ = ["PROPERTIES", "Inputs", "Level", "Property", "attention", "holds", "layers", "model", "sampling"]
