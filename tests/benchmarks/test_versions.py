"""Versions of our kernels are providers by name, and all of them are right."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_benchmarks import parts
from opensora_benchmarks.case import Data
from opensora_benchmarks.gate import Subject, gate
from opensora_benchmarks.providers import open_provider
from opensora_benchmarks.suite_op import op_case, text_mask
from opensora_benchmarks.versions import VERSIONS
from opensora_core.testing.conformance import require

DATA = Data((1, 2, 29, 8))


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize(("mask", "dtype"), [(None, "bfloat16"), (text_mask(29), "float32")])
def test_a_version_of_attention_passes_the_gate(name, mask, dtype):
    require(VERSIONS[name][0])
    case = op_case("attention", "tiny", (DATA,) * 3 + (mask,), parts.queries, True, {})
    provider = open_provider(name, None, dtype, "numpy")
    subject = Subject(case, dtype, provider.library, provider.function(case), np.random.default_rng(0))
    gate(subject)
    assert 0 < subject.ratio <= 1
