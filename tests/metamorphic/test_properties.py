"""Properties that need no reference, on every backend in every dtype."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_core import get_backend
from opensora_core.testing.properties import PROPERTIES, plain

BACKENDS = ["numpy", "vanilla", "torch"]
EXAMPLES = {"ops": 5, "blocks": 3, "model": 2, "train": 2}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_holds(name, backend):
    law = PROPERTIES[name]
    ops = plain() if backend == "vanilla" else get_backend(backend, device="cpu", dtype="float32")

    @settings(max_examples=EXAMPLES[law.level])
    @given(seed=st.integers(0, 2**16))
    def run(seed):
        for dtype in law.dtypes:
            law(ops, np.random.default_rng(seed), dtype)

    run()
