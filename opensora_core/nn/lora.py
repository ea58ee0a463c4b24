"""LoRA (Hu et al. 2021): a linear map W x + (alpha / rank) · B (A x), of which only the thin A and B learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from ..errors import WeightsError
from ..module import named_modules, replace_part, static
from ..ops import Array, Ops
from .init import RandomInit
from .layers import Linear

M = TypeVar("M")


class LowRank(NamedTuple):
    """Adapter of one linear map: A [rank, in], B [out, rank], and alpha, which sets its weight alpha / rank."""

    A: Array
    B: Array
    alpha: float


@dataclass(frozen=True, kw_only=True)
class LoraLinear(Linear):
    """A linear map beside its adapter, so that W needs neither a gradient nor a copy; names are those of peft."""

    lora_A: Linear  # noqa: N815 - [rank, in]
    lora_B: Linear  # noqa: N815 - [out, rank]
    alpha: float = static()

    def __call__(self, ops: Ops, x: Array) -> Array:
        """Apply to the last axis."""
        low = Linear(_scaled(ops, self.lora_A.weight, self.alpha))
        return super().__call__(ops, x) + self.lora_B(ops, low(ops, x))


def fresh_adapters(
    module: object, layers: Iterable[str], rank: int, alpha: float, init: RandomInit
) -> dict[str, LowRank]:
    """Adapters of the linear maps of these names: A random, B zero, so that they change nothing yet."""
    linear = dict(linear_maps(module))
    shapes = {name: linear[name].weight.shape for name in layers}
    return {
        name: LowRank(init.normal((rank, fan_in), fan_in**-0.5), init.zeros(out, rank), alpha)
        for name, (out, fan_in) in shapes.items()
    }


def linear_maps(module: object) -> dict[str, Linear]:
    """All linear maps of a module under their dotted names."""
    return {name: part for name, part in named_modules(module) if type(part) is Linear}


def attach(module: M, adapters: Mapping[str, LowRank]) -> M:
    """The same module with adapters beside its linear maps.

    Raises WeightsError for an adapter of something that is no linear map, or of another shape.
    """
    linear = linear_maps(module)
    for name, (A, B, alpha) in adapters.items():
        if name not in linear:
            raise WeightsError(f"the adapter of {name!r} has no linear map of that name to go with")
        weight, bias = linear[name].weight, linear[name].bias
        if (B.shape[0], A.shape[1], B.shape[1]) != (*weight.shape, A.shape[0]):
            raise WeightsError(
                f"the adapter of {name!r} is A {list(A.shape)} and B {list(B.shape)}; a weight {list(weight.shape)} "
                f"needs A [rank, {weight.shape[1]}] and B [{weight.shape[0]}, rank]"
            )
        adapted = LoraLinear(weight, bias, lora_A=Linear(A), lora_B=Linear(B), alpha=alpha)
        module = _with_part(module, name, adapted)
    return module


def adapters_of(module: object) -> dict[str, LowRank]:
    """The adapters in a module under the names of their linear maps."""
    return {name: LowRank(p.lora_A.weight, p.lora_B.weight, p.alpha) for name, p in _adapted(module).items()}


def merged(ops: Ops, module: M) -> M:
    """The same module with W + (alpha / rank) · B · A in place of every W that has an adapter, computed in float32."""
    for name, part in _adapted(module).items():
        change = ops.matmul(ops.widen(part.lora_B.weight), _scaled(ops, ops.widen(part.lora_A.weight), part.alpha))
        weight = ops.astype(ops.widen(part.weight) + change, part.weight.dtype)
        module = _with_part(module, name, Linear(weight, part.bias))
    return module


def _adapted(module: object) -> dict[str, LoraLinear]:
    return {name: part for name, part in named_modules(module) if isinstance(part, LoraLinear)}


def _with_part(module: M, name: str, part: Linear) -> M:
    return replace_part(module, name, lambda _: part)


def _scaled(ops: Ops, A: Array, alpha: float) -> Array:
    return ops.astype(ops.widen(A) * (alpha / A.shape[0]), A.dtype)
