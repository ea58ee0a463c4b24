"""The numba backend takes its kernels where they fit, and means the same as NumPy everywhere else."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.testing.conformance import require

require("numba")
RNG = np.random.default_rng(0)
NUMPY, NUMBA = (get_backend(name, dtype="float64") for name in ("numpy", "numba"))


def drawn(*shape):
    return RNG.standard_normal(shape)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("rotary", (drawn(2, 3), drawn(1), drawn(1))),
        ("attention_3d", (drawn(1, 4, 2, 3, 1, 3), "temporal", None, None, drawn(4, 1), drawn(4, 1))),
        ("attention_3d", (drawn(1, 4, 2, 3, 1, 4), "temporal", None, None, drawn(4, 2), None)),
        ("attention_3d", (drawn(1, 4, 2, 3, 1, 4), "temporal", drawn(3), drawn(3), drawn(4, 2), drawn(4, 2))),
        ("attention_3d", (drawn(1, 4, 2, 3, 1, 4), "temporal", None, None, drawn(3, 2), drawn(3, 2))),
    ],
)
def test_what_numpy_refuses_is_refused(op, args):
    for ops in (NUMPY, NUMBA):
        with pytest.raises(Exception, match=r"\w"):
            getattr(ops, op)(*args)


@pytest.mark.parametrize(
    ("norms", "tables"),
    [((4,), (1, 2)), ((1,), (4, 2)), ((4,), (4, 2)), (None, (1, 2))],
)
def test_what_numpy_broadcasts_is_broadcast(norms, tables):
    weights = (None, None) if norms is None else (drawn(*norms), drawn(*norms))
    args = (drawn(1, 4, 2, 3, 1, 4), "temporal", *weights, drawn(*tables), drawn(*tables))
    np.testing.assert_allclose(NUMBA.attention_3d(*args), NUMPY.attention_3d(*args), rtol=1e-12)
