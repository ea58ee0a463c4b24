"""Reverse-mode differentiation as an interpreter: `Autodiff(ops)` speaks the language and remembers what it did."""

from . import norm_rules as norm_rules  # registers them
from .tape import Autodiff

__all__ = ["Autodiff"]
