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


@pytest.mark.parametrize("pattern", ["spatial", "temporal", "full"])
@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize("many", [0, 1 << 30])
def test_every_kernel_for_video_tokens_means_the_same(pattern, rope, many, monkeypatch):
    """Few and many patches; with `many` at 0, those of short time are read in place."""
    monkeypatch.setattr("opensora_backends.numba_attention.MANY", many)
    for T, S in ((5, 6), (3, 70)):
        length = {"spatial": S, "temporal": T, "full": T * S}[pattern]
        tables = (drawn(length, 2), drawn(length, 2)) if rope else ()
        args = (drawn(2, T, S, 3, 2, 4), pattern, drawn(4), drawn(4), *tables)
        np.testing.assert_allclose(NUMBA.attention_3d(*args), NUMPY.attention_3d(*args), rtol=1e-10, atol=1e-13)
