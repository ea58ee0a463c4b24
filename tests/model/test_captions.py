"""The empty caption stands where text stands, in its shape and dtype."""

import numpy as np
import pytest

from opensora_core.dit.captions import null_captions
from opensora_core.dit.embedders import CaptionEmbedder
from opensora_core.errors import InvalidInputError
from opensora_core.nn.init import RandomInit
from opensora_core.nn.layers import Mlp
from opensora_core.registry import get_backend

INIT = RandomInit(0)
EMBEDDER = CaptionEmbedder(INIT.normal((6, 4), 1.0), Mlp.create(INIT, 4, 8, 8))


@pytest.mark.parametrize("shape", [(2, 6, 4), (2, 1, 6, 4), (3, 5, 4)])
def test_it_takes_the_shape_and_dtype_of_the_text(shape):
    ops = get_backend("numpy", device="cpu")
    null = null_captions(ops, EMBEDDER, np.zeros(shape, np.float64))
    assert null.dtype == np.float64
    assert np.array_equal(null, np.broadcast_to(EMBEDDER.y_embedding[: shape[-2]], shape))


@pytest.mark.parametrize("shape", [(1, 7, 4), (1, 6, 5)])
def test_text_that_is_too_long_or_too_wide_is_refused(shape):
    with pytest.raises(InvalidInputError, match=rf"{shape[1]} tokens and {shape[2]} channels.*at most 6 of 4"):
        null_captions(get_backend("numpy", device="cpu"), EMBEDDER, np.zeros(shape))
