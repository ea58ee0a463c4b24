"""Properties that need no reference, on every backend in every dtype."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_core import get_backend
from opensora_core.testing.properties import PROPERTIES
from opensora_core.testing.running import plain

ARRAY_API = "opensora_array_api:ArrayApiOps"  # the example below tests/strangers, which knows no half precision
BACKENDS = ["numpy", "vanilla", "numba", "torch", ARRAY_API]
SHARES = {"ops": 4, "blocks": 6, "model": 10, "train": 10}  # one example for so many of the profile


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_holds(name, backend):
    if backend == ARRAY_API:
        pytest.importorskip("array_api_strict")
    law = PROPERTIES[name]
    ops = plain() if backend == "vanilla" else get_backend(backend, device="cpu", dtype="float32")

    @settings(max_examples=settings.default.max_examples // SHARES[law.level] or 1)
    @given(seed=st.integers(0, 2**16))
    def run(seed):
        for dtype in law.dtypes[:2] if backend == ARRAY_API else law.dtypes:
            law(ops, np.random.default_rng(seed), dtype)

    run()
