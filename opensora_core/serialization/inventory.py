"""How much weights are, without reading any."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray


def inventory(arrays: Iterable[NDArray[Any]]) -> dict[str, Any]:
    """Parameters, bytes, and the dtypes by how many parameters have them, as JSON values."""
    dtypes: Counter[str] = Counter()
    size = 0
    for array in arrays:
        dtypes[str(array.dtype)] += math.prod(array.shape)
        size += array.nbytes
    names = ", ".join(name for name, _ in dtypes.most_common())
    return {"parameters": sum(dtypes.values()), "bytes": size, "dtype": names}
