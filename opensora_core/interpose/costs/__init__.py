"""What an op costs, told by the shapes and dtypes of its arguments: FLOPs and bytes.

FLOPs: one for every element that is added, multiplied, divided, compared or put through a function such as exp, so two
for each multiply-add of a contraction; none for moving, choosing and casting. A fused op counts what its default
composition does: a program has the same FLOPs however far it is taken apart.

Bytes: the least that has to move between memory and processor: every array argument read once, the result written once,
views free. What a fused op keeps to itself does not move: taken apart, a program moves more bytes.

Arguments are those of the op; of arrays only `.shape` and `.dtype` are looked at. The two ops that take functions have
no formula: run the function through `FlopCounter`.
"""

from .arithmetic import FLOPS
from .sizes import Formula
from .traffic import BYTES

__all__ = ["BYTES", "FLOPS", "Formula"]
