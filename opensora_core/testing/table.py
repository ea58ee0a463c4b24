"""One entry for every op of the language: what it is fed and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis.strategies import SearchStrategy

from ..accuracy import EXACT
from ..interpose.costs import Formula
from . import strategies as s
from .costs import BYTES, FLOPS
from .references import REFERENCES, Reference
from .strategies import Call, Source

DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class OpCase:
    """How an op is tested.

    calls: its arguments. differentiable: whether gradients flow through it. dtypes: in which it is asked.
    """

    name: str
    calls: SearchStrategy[Call]
    differentiable: bool = True
    dtypes: tuple[str, ...] = DTYPES

    @property
    def exact(self) -> bool:
        """Whether the result holds elements of the arguments or truth values; how others round: see `rounding`."""
        return self.name in EXACT

    @property
    def reference(self) -> Reference:
        """What the op means: a float64 NumPy function of the call's arguments, no kin of the default composition."""
        return REFERENCES[self.name]

    @property
    def flops(self) -> Formula:
        """Arithmetic operations, as a function of the call's arguments; see `interpose.costs` for what counts."""
        return FLOPS[self.name]

    @property
    def bytes(self) -> Formula:
        """Bytes moved at least, as a function of the call's arguments."""
        return BYTES[self.name]


_CASES = [
    OpCase("asarray", s.elementwise(), differentiable=False),
    OpCase("to_numpy", s.elementwise(), differentiable=False),
    OpCase("astype", s.conversions()),
    OpCase("full", s.fills(), differentiable=False),
    OpCase("arange", s.ranges(), differentiable=False),
    OpCase("negative", s.elementwise()),
    OpCase("exp", s.exponents()),
    OpCase("log", s.positive()),
    OpCase("sqrt", s.positive()),
    OpCase("sin", s.elementwise()),
    OpCase("cos", s.elementwise()),
    OpCase("tanh", s.elementwise()),
    OpCase("erf", s.elementwise()),
    OpCase("add", s.pairs()),
    OpCase("subtract", s.pairs()),
    OpCase("multiply", s.pairs()),
    OpCase("divide", s.pairs(right=Source.away_from_zero)),
    OpCase("pow", s.powers()),
    OpCase("maximum", s.pairs(Source.steps, Source.steps)),
    OpCase("equal", s.pairs(Source.steps, Source.steps), differentiable=False),
    OpCase("less", s.pairs(Source.steps, Source.steps), differentiable=False),
    OpCase("where", s.choices()),
    OpCase("matmul", s.matrices()),
    OpCase("sum", s.reductions()),
    OpCase("max", s.reductions(Source.steps, low=1)),
    OpCase("reshape", s.reshapes()),
    OpCase("permute_dims", s.permutations()),
    OpCase("broadcast_to", s.broadcasts()),
    OpCase("concat", s.joins()),
    OpCase("slice", s.cuts()),
    OpCase("pad", s.paddings()),
    OpCase("take", s.lookups()),
    OpCase("index_add", s.scatters()),
    OpCase("stop_gradient", s.elementwise()),
    OpCase("linear", s.tokens()),
    OpCase("gelu", s.activations("tanh", "none")),
    OpCase("silu", s.activations()),
    OpCase("softmax", s.logits()),
    OpCase("layer_norm", s.rows(with_bias=True)),
    OpCase("rms_norm", s.rows(with_bias=False)),
    OpCase("group_norm", s.channels()),
    OpCase("group_norm_silu", s.channels()),
    OpCase("modulate", s.modulations()),
    OpCase("gated_residual", s.branches()),
    OpCase("rotary", s.rotations()),
    OpCase("rms_norm_rotary", s.rotations(normed=True)),
    OpCase("attention", s.qkv() | s.text_batch()),
    OpCase("attention_3d", s.video_tokens()),
    OpCase("conv", s.video_latents()),
    OpCase("adamw_step", s.updates(), differentiable=False),
    OpCase("value_and_grad", s.programs(), differentiable=False),
    OpCase("compile", s.functions(), differentiable=False),
]
TABLE = {case.name: case for case in _CASES}
