"""How near a kernel has to come to the float64 reference, and arrays to try it on."""

import numpy as np
from hypothesis import strategies as st

from opensora_core.testing.running import lay_out
from opensora_core.testing.strategies import LAYOUTS

DTYPES = ("float32", "float64")  # what the kernels are compiled for


def assert_near(got, truth, roundings, size=1.0):
    """At most `roundings` units in the last place of the largest number that takes part."""
    truth = np.asarray(truth, np.longdouble)
    assert got.shape == truth.shape
    largest = max(size, float(np.max(np.abs(truth), initial=0.0)))
    error = float(np.max(np.abs(got - truth), initial=0.0))
    assert error <= roundings * np.finfo(got.dtype).eps * largest


@st.composite
def arrays(draw, *shape, dtypes=DTYPES):
    """A function that makes normal arrays of one dtype, in one memory layout, none of which may be written to."""
    dtype, layout = draw(st.sampled_from(dtypes)), draw(st.sampled_from(LAYOUTS))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def make(*shape, scale=1.0):
        x = lay_out((rng.standard_normal(shape) * scale).astype(dtype), layout)
        x.flags.writeable = False
        return x

    return make


def lengths(low=1, high=40):
    """Short lengths, and those around whole vectors."""
    return st.one_of(st.integers(low, high), st.sampled_from([15, 16, 17, 31, 33, 64, 65, 72, 128, 130]))
