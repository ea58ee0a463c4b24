"""Named strategies for files of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from opensora_core.serialization.dtypes import NUMPY_DTYPES

Array = NDArray[Any]


@st.composite
def any_bits(draw: st.DrawFn) -> Array:
    """An array of any dtype, 0 to 3 axes (some empty), any bits (NaN payloads, -0.0), maybe strided or byte-swapped."""
    dtype = draw(st.sampled_from(list(NUMPY_DTYPES.values())))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    raw = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    raw = raw % 2 if dtype == np.bool_ else raw
    array: Array = raw.view(dtype).reshape(shape)
    if draw(st.booleans()):
        array = array.T
    if array.ndim and draw(st.booleans()):
        array = np.repeat(array, 2, axis=0)[::2]
    if dtype.kind in "fi" and draw(st.booleans()):
        array = array.byteswap().view(dtype.newbyteorder())
    return array


names = st.text("abcXYZ019._ -é日😀'\"", min_size=1, max_size=12).map(lambda name: "w" + name)
metadata_texts = st.text('ab1 é日😀\n\t"\\{}[]:,')
tensor_dicts = st.dictionaries(names, any_bits(), max_size=5)


def assert_same_bits(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Same names, and per name the same dtype (in native order), shape and bits."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        native = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False)
        assert found[name].tobytes() == native.tobytes()
