"""How the ops round: what the rule in `judge` excuses beyond the plain implementation's own error.

The numbers are as small as the measurements behind docs/tolerances.md allow.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rounding:
    """What an op does to the last digits.

    steps: roundings in a row inside the op that are excused, beyond the one of the result; in half precision they are
    to float32. narrow: how many are to half precision there, if any. by_input: whether rounding is relative to the
    largest argument rather than to the largest result.
    """

    steps: int = 0
    narrow: int = 0
    by_input: bool = False


ROUNDING = {  # an op that is not here rounds once, its result
    "matmul": Rounding(steps=2),
    "sum": Rounding(steps=2),
    "index_add": Rounding(steps=1),
    "linear": Rounding(steps=3),
    "gelu": Rounding(steps=1, by_input=True),  # 1 + tanh(x) cancels where the result is nearly 0
    "silu": Rounding(steps=1, by_input=True),
    "softmax": Rounding(steps=1),
    "layer_norm": Rounding(steps=2),
    "rms_norm": Rounding(steps=1),
    "group_norm": Rounding(steps=2),
    "group_norm_silu": Rounding(steps=2, narrow=1),
    "modulate": Rounding(steps=2),
    "rotary": Rounding(steps=1),
    "rms_norm_rotary": Rounding(steps=2, narrow=1),
    "attention": Rounding(steps=3, narrow=1),  # the weights are rounded before they meet the values
    "attention_3d": Rounding(steps=2, narrow=1),
    "conv": Rounding(steps=2),
    "adamw_step": Rounding(steps=2),
    "value_and_grad": Rounding(steps=6, narrow=3),
    "compile": Rounding(steps=2),
    "stdit3_spatial": Rounding(steps=2, narrow=1),
    "stdit3_temporal": Rounding(steps=2, narrow=1),
}
