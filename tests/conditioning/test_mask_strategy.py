"""Mask strategies: what is refused, and that a sample has its own references."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.conditioning.mask_strategy import MaskGroup, apply_mask_strategy, parse_mask_strategy
from opensora_core.errors import InvalidInputError

OPS = get_backend("numpy", dtype="float64")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,x", "'0,x' must be up to five whole numbers and a ratio, loop,reference,reference_start"),
        ("0;0,0,0,0,1,0,7", "'0,0,0,0,1,0,7' must be"),
        ("0;", "'' must be"),
        ("0,0,0,0,0", "needs reference >= 0, length >= 1"),
        ("0,0,0,0,1,1.5", "edit_ratio in 0 to 1"),
    ],
)
def test_what_is_no_mask_strategy_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        parse_mask_strategy(text)


def test_each_sample_has_its_own_references_and_groups() -> None:
    z = np.zeros((2, 3, 4, 2, 2))
    references = [[], [np.full((3, 2, 2, 2), 5.0)]]
    found, mask = apply_mask_strategy(OPS, z, references, [[], [MaskGroup(target_start=-2, length=9, edit_ratio=0.5)]])
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0.5, 0.5]]
    assert not found[0].any()
    assert found[1, 0, :, 0, 0].tolist() == [0, 0, 5, 5]
    assert not z.any()


def test_a_group_needs_its_reference_and_a_start_within_it() -> None:
    z, reference = np.zeros((1, 1, 4, 1, 1)), np.ones((1, 2, 1, 1))
    with pytest.raises(InvalidInputError, match="asks for reference 1; there is only 0"):
        apply_mask_strategy(OPS, z, [[reference]], [[MaskGroup(reference=1)]])
    with pytest.raises(InvalidInputError, match="reference_start=-3 lies before the start of 2 latent frames"):
        apply_mask_strategy(OPS, z, [[reference]], [[MaskGroup(reference_start=-3)]])
