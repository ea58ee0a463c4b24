"""A value as an interposer hands it out: the array operators of the language, and nothing besides."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ProtocolError

if TYPE_CHECKING:
    from .interposer import Interposer


def _infix(op: str) -> Callable[[Box, Any], Any]:
    def method(self: Box, other: Any) -> Any:
        outer = isinstance(other, Box) and other.ops.level > self.ops.level
        return getattr(other.ops if outer else self.ops, op)(self, other)

    return method


def _reflected(op: str) -> Callable[[Box, Any], Any]:
    def method(self: Box, other: Any) -> Any:
        return getattr(self.ops, op)(other, self)

    return method


class Box:
    """A value of `ops`: its operators are ops of that interposer.

    `value` is what the interposer keeps behind it, usually an array of the wrapped backend (which may itself be a box).
    """

    __slots__ = ("ops", "value")
    __array_ufunc__ = None  # NumPy leaves `array + box` to the box
    __hash__ = None  # type: ignore[assignment]
    __iter__ = None

    def __init__(self, value: Any, ops: Interposer) -> None:
        self.value, self.ops = value, ops

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(self.ops.peek(self).shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The wrapped backend's dtype object; `ops.dtype_name(x)` is its name on every backend."""
        return self.ops.peek(self).dtype

    __add__, __radd__ = _infix("add"), _reflected("add")
    __sub__, __rsub__ = _infix("subtract"), _reflected("subtract")
    __mul__, __rmul__ = _infix("multiply"), _reflected("multiply")
    __truediv__, __rtruediv__ = _infix("divide"), _reflected("divide")
    __pow__, __rpow__ = _infix("pow"), _reflected("pow")
    __matmul__, __rmatmul__ = _infix("matmul"), _reflected("matmul")
    __lt__, __gt__ = _infix("less"), _reflected("less")
    __eq__ = _infix("equal")

    def __neg__(self) -> Any:
        return self.ops.negative(self)

    def __getitem__(self, key: Any) -> Any:
        start, stop, step, shape = locate(key, self.shape)
        whole = tuple(stop) == self.shape and not any(start) and all(s == 1 for s in step)
        part = self if whole else self.ops.slice(self, start, stop, step)
        return part if part.shape == shape else self.ops.reshape(part, shape)

    def __bool__(self) -> NoReturn:
        raise ProtocolError("a value decides no `if`: use ops.where, or ops.to_numpy to leave the language")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ProtocolError("NumPy was handed a value of the language: use an op of `ops`, or ops.to_numpy")

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"values have no {name!r}: the language knows .shape .ndim .dtype, + - * / ** @ < == and indexing; "
            f"everything else is an op of `ops`"
        )

    def __repr__(self) -> str:
        return f"Box({self.value!r}, {self.ops.name})"


Region = tuple[list[int], list[int], list[int], tuple[int, ...]]


def locate(key: Any, shape: Sequence[int]) -> Region:
    """Translate an index of ints, slices, Ellipsis and None into start, stop and step per axis, and the final shape.

    Raises ProtocolError for anything else (arrays, masks, negative steps), IndexError outside the axes.
    """
    start: list[int] = []
    stop: list[int] = []
    step: list[int] = []
    final: list[int] = []
    for item in _expand(key if isinstance(key, tuple) else (key,), len(shape)):
        if item is None:
            final.append(1)
            continue
        n = shape[len(start)]
        if isinstance(item, slice):
            first, last, stride = item.indices(n)
            if stride < 1:
                raise ProtocolError(f"an index has the step {stride}; the language walks forward only (step >= 1)")
            last = max(first, last)
            final.append(len(range(first, last, stride)))
        else:
            first = _position(item, n, len(start))
            last, stride = first + 1, 1
        start.append(first)
        stop.append(last)
        step.append(stride)
    return start, stop, step, tuple(final)


def _expand(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """Replace Ellipsis (or the end) by as many full slices as are missing."""
    missing = ndim - sum(item is not None and item is not Ellipsis for item in key)
    if missing < 0:
        raise IndexError(f"{ndim - missing} indices for an array with {ndim} axes")
    at = next((i for i, item in enumerate(key) if item is Ellipsis), len(key))
    return [*key[:at], *[slice(None)] * missing, *key[at + 1 :]]


def _position(item: Any, n: int, axis: int) -> int:
    if not hasattr(item, "__index__") or isinstance(item, Box) or getattr(item, "ndim", 0) != 0:
        raise ProtocolError(f"cannot index by {type(item).__name__}; use ints, slices, ... or None, or ops.take")
    i = operator.index(item)
    if not -n <= i < n:
        raise IndexError(f"index {i} is outside axis {axis} of length {n}")
    return i % n
