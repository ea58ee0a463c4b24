"""Two backends in lockstep through a real generation: how far they drift apart, and which op is to blame."""

from .report import Report
from .runner import parity

__all__ = ["Report", "parity"]
