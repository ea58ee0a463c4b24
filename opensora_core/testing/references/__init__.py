"""What every op means, in float64 NumPy, written without a look at the default compositions: the truth of the tests.

Each reference takes the op's arguments as NumPy arrays (without `self`) and returns float64, whole numbers or booleans.
"""

from .extended import Reference
from .programs import REFERENCES, ReferenceOps

__all__ = ["REFERENCES", "Reference", "ReferenceOps"]
