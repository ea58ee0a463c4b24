"""One mechanism for everything that watches a computation: box the values, send every op through one hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from ..errors import InvalidInputError, ProtocolError
from ..ops import FUSED, PRIMITIVES, Array, Ops
from .box import Box

PROGRAMS = ("value_and_grad", "compile")  # take functions; their defaults run on the interposer itself
SEVERAL = ("adamw_step",)  # give several arrays, and a box holds one
WHOLE = tuple(name for name in FUSED if name not in (*PROGRAMS, *SEVERAL))
"""The fused ops that can be seen whole: the most that `units` may hold."""
Args = tuple[Any, ...]


class Interposer(Ops):
    """Runs a computation on `inner` and sees every op in `process`.

    units: names of fused ops to see whole, at most WHOLE; the others are seen as the primitives they are made of.
    Values are boxes; a raw array of the inner backend beside a box is a constant. Interposers nest: `inner` may be one.
    The base class changes nothing; a subclass overrides `process`, and `peek` if its boxes hold more than an array.
    """

    def __init__(self, inner: Ops, units: Iterable[str] = ()) -> None:
        super().__init__(inner.device, inner.dtype)
        self.inner, self.units = inner, frozenset(units)
        if unknown := self.units.difference(WHOLE):
            raise InvalidInputError(f"{', '.join(sorted(unknown))}: not a fused op that can be kept whole")
        self.level: int = getattr(inner, "level", 0) + 1
        self.name = f"{type(self).__name__.lower()}({inner.name})"

    def process(self, op: str, args: Args) -> Any:
        """The hook. args: every argument of the op, in the order of its signature, defaults filled in."""
        return Box(self.run(op, args), self)

    def run(self, op: str, args: Args) -> Array:
        """Do the op on the inner backend."""
        return getattr(self.inner, op)(*map(self.unbox, args))

    def peek(self, box: Box) -> Array:
        """Return the array that tells a box's shape and dtype."""
        return box.value

    def unbox(self, x: Any) -> Any:
        """Return what the inner backend understands: the value of a box, also inside a list; all else as it is."""
        if isinstance(x, Box):
            return x.value if x.ops is self else self._constant(x)
        if isinstance(x, tuple):
            return tuple(map(self.unbox, x))
        return list(map(self.unbox, x)) if isinstance(x, list) else x

    def to_numpy(self, x: Array) -> Any:
        """Leave the language: a host array, not a box."""
        return self.inner.to_numpy(self.peek(x) if isinstance(x, Box) and x.ops is self else x)

    def _constant(self, box: Box) -> Box:
        """Return a box of a wrapped interposer as it is; refuse one that comes from elsewhere."""
        below: Ops | None = self.inner
        while below is not box.ops:
            if below is None:
                raise ProtocolError(
                    f"a value of {box.ops.name!r} reached {self.name!r}: every function must use the ops it is given, "
                    f"and a value must not outlive the interposer that made it"
                )
            below = getattr(below, "inner", None)
        return box


def _binder(method: Callable[..., Any]) -> Callable[[Args, dict[str, Any]], Args]:
    """Return a function that turns a call's arguments into the full tuple of the op's signature (self apart)."""
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())[1:]
    place = {p.name: i for i, p in enumerate(parameters)}
    defaults = tuple(p.default for p in parameters)

    def bind(args: Args, kwargs: dict[str, Any]) -> Args:
        values = [*args, *defaults[len(args) :]]
        for name, value in kwargs.items():
            if place.get(name, -1) < len(args):
                signature.bind(None, *args, **kwargs)  # raises: unknown, or given twice
            values[place[name]] = value
        if len(values) > len(place) or any(value is inspect.Parameter.empty for value in values):
            signature.bind(None, *args, **kwargs)  # raises: too many, or one is missing
        return tuple(values)

    return bind


def _route(name: str) -> Callable[..., Any]:
    default = getattr(Ops, name)
    bind = _binder(default)

    @wraps(default)
    def primitive(self: Interposer, *args: Any, **kwargs: Any) -> Any:
        return self.process(name, bind(args, kwargs))

    @wraps(default)
    def fused(self: Interposer, *args: Any, **kwargs: Any) -> Any:
        return self.process(name, bind(args, kwargs)) if name in self.units else default(self, *args, **kwargs)

    return primitive if name in PRIMITIVES else fused


for _name in (*PRIMITIVES, *FUSED):
    if _name not in PROGRAMS and _name not in vars(Interposer):
        setattr(Interposer, _name, _route(_name))
