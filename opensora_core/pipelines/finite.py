"""What is done where NaN or Inf appears in a generation: an error, one warning, or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..checks import one_of
from ..errors import NonFiniteError

CheckFinite = Literal["raise", "warn", "off"]


def read_policy(value: Any) -> CheckFinite:
    """`value` as a policy; InvalidInputError if it is none."""
    one_of("check_finite", value, get_args(CheckFinite))
    return value  # type: ignore[no-any-return]


@dataclass
class FiniteCheck:
    """Looks at arrays by a policy; after its one warning it looks no more, and brings nothing to the host."""

    policy: CheckFinite

    def __call__(self, array: Callable[[], NDArray[Any]], message: Callable[[], str]) -> None:
        """Raise NonFiniteError or warn with the message if the array on the host holds NaN or Inf."""
        if self.policy == "off" or np.isfinite(array()).all():
            return
        if self.policy == "raise":
            raise NonFiniteError(message())
        self.policy = "off"
        warnings.warn(message(), RuntimeWarning, stacklevel=4)
