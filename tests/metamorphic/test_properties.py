"""Properties that need no reference, on every backend in every dtype."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.testing.judge import vanilla
from opensora_core.testing.properties import PROPERTIES

BACKENDS = {"numpy": NumpyOps(), "vanilla": vanilla(NumpyOps)(), "torch": TorchOps()}
EXAMPLES = {"ops": 5, "blocks": 3, "model": 2, "train": 2}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_holds(name, backend):
    law = PROPERTIES[name]

    @settings(max_examples=EXAMPLES[law.level])
    @given(seed=st.integers(0, 2**16))
    def run(seed):
        for dtype in law.dtypes:
            law(BACKENDS[backend], np.random.default_rng(seed), dtype)

    run()
