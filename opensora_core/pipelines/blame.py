"""Where NaN and Inf came from, for the message of an error."""

from __future__ import annotations

import numpy as np

from ..dit.captions import TextContext
from ..module import state_dict
from ..ops import Array, Ops
from .components import Components


def cause_of_non_finite(ops: Ops, parts: Components, context: TextContext) -> str:
    """Name the first tensor behind the latents that is not finite, and what helps."""
    for name, weight in state_dict(parts).items():
        if not _is_finite(ops, weight):
            return f"so does the weight {name}: load the model again, or another one"
    if not all(_is_finite(ops, array) for pair in context.keys_values for array in pair):
        return "so do the text's keys and values: check prompt_embeds, or try dtype float32"
    return "all weights and the text's keys and values are finite: try dtype float32 or a lower guidance_scale"


def _is_finite(ops: Ops, array: Array) -> bool:
    return bool(np.isfinite(np.asarray(ops.to_numpy(ops.widen(array)))).all())
