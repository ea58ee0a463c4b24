"""Reverse-mode differentiation as an interpreter: `Autodiff(ops)` speaks the language and remembers what it did."""

from .tape import Autodiff

__all__ = ["Autodiff"]
