"""Arrays among the arguments of an op, and their way between backends through the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..accuracy import HostArray
from ..ops import Array
from .interposer import Args


def replace_arrays(args: Args, change: Callable[[Array], Any]) -> Args:
    """The arguments with every array or box in them, also inside a list, changed."""

    def changed(x: Any) -> Any:
        if isinstance(x, list | tuple):
            return [*map(changed, x)] if isinstance(x, list) else tuple(map(changed, x))
        return change(x) if is_array(x) else x

    return tuple(map(changed, args))


def is_array(x: Any) -> bool:
    """Whether x is an array or a box, not a number."""
    return hasattr(x, "dtype") and hasattr(x, "shape") and not isinstance(x, np.generic)


def read_only(x: Any) -> HostArray:
    """A view of a host array that cannot be written."""
    view = np.asarray(x).view()
    view.flags.writeable = False
    return view


def dtype_name(dtype: Any) -> str | None:
    """Name of a dtype in whatever form a backend takes it: a name, its own object, a Python or NumPy type."""
    if dtype is None or isinstance(dtype, str):
        return dtype
    return np.dtype(dtype).name if isinstance(dtype, type) else str(dtype).removeprefix("torch.")
