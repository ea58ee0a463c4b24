"""How far off every op was measured to be, on every backend: the table behind docs/tolerances.md.

python -m opensora_core.testing.tolerances measures it anew.
"""

from .figures import DATA, Figure, Tolerances, published

__all__ = ["DATA", "Figure", "Tolerances", "published"]
