"""The memory that a computation will take, found by running it on arrays that have shapes and no numbers."""

from .counter import MemoryCounter

__all__ = ["MemoryCounter"]
