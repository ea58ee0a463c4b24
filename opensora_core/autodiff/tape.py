"""The tape: an interposer that remembers, for every value that depends on a parameter, how to send a gradient back."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import accumulate, count, pairwise
from typing import Any

from ..errors import InvalidInputError
from ..interpose import Box, Interposer
from ..interpose.interposer import Args
from ..ops import Array, Ops
from .fused_rules import FUSED_RULES, once
from .rules import RULES, Back

_clock = count()


class Node:
    """One remembered op: the nodes it depends on, each with the map from this op's gradient to that node's."""

    __slots__ = ("flows", "time")

    def __init__(self, flows: list[tuple[Node, Back]]) -> None:
        self.flows, self.time = flows, next(_clock)


class Variable(Box):
    """A box whose value depends on a parameter."""

    __slots__ = ("node",)

    def __init__(self, value: Array, ops: Autodiff, node: Node) -> None:
        super().__init__(value, ops)
        self.node = node


class Autodiff(Interposer):
    """The language with memory: run a function on it, and `differentiate` walks back through what was done.

    units: the fused ops differentiated by their own rule instead of through their composition; by default all that
    have one, which keeps neither softmax nor norm intermediates. A tape over a tape gives second derivatives.
    """

    def __init__(self, inner: Ops, units: Iterable[str] = FUSED_RULES) -> None:
        super().__init__(inner, units)
        if without := self.units.difference(FUSED_RULES):
            raise InvalidInputError(f"no rule differentiates {', '.join(sorted(without))} as a whole")
        self._flown_in: dict[Node, Variable] | None = None  # a dict inside `checkpoint`, where nothing else is kept

    def process(self, op: str, args: Args) -> Any:
        """Do the op; if a parameter flows in, remember the rule's maps for exactly the arguments it flows through."""
        raw = tuple(map(self.unbox, args))
        operands = args[0] if op == "concat" else args
        tracked = [i for i, x in enumerate(operands) if isinstance(x, Variable) and x.ops is self]
        if not tracked or op not in RULES:
            return Box(getattr(self.inner, op)(*raw), self)
        if self._flown_in is not None:
            self._flown_in.update((operands[i].node, operands[i]) for i in tracked)
            return Box(getattr(self.inner, op)(*raw), self)
        result, vjps = self._with_gradient(op, raw)
        flows = [(operands[i].node, vjp) for i in tracked if (vjp := vjps[i]) is not None]
        return Variable(result, self, Node(flows)) if flows else Box(result, self)

    def _with_gradient(self, op: str, raw: Args) -> tuple[Any, Sequence[Back | None]]:
        """Result and maps back: by the backend, if its `with_gradient` takes this op, else by the rule."""
        own = getattr(self.inner, "with_gradient", None)
        if own is not None and (found := own(op, raw)) is not None:
            result, vjps = found
            return result, vjps
        result = getattr(self.inner, op)(*raw)
        return result, RULES[op](self.inner, result, *raw)

    # ------------------------------------------------------------------ checkpoints

    def checkpoint(self, fun: Callable[..., Any], *args: Any) -> Any:
        """fun(*args) as one node, see `Ops.checkpoint`; several results pass through it as one vector."""
        shapes: list[tuple[int, ...]] = []

        def one_array() -> Any:
            result = fun(*args)
            if not isinstance(result, tuple):
                return result
            shapes[:] = [part.shape for part in result]
            return self.concat([self.reshape(part, (-1,)) for part in result])

        result = self._recomputed(one_array)
        if not shapes:
            return result
        ends = accumulate(map(math.prod, shapes), initial=0)
        return tuple(self.reshape(result[a:b], shape) for (a, b), shape in zip(pairwise(ends), shapes, strict=True))

    def _recomputed(self, fun: Callable[[], Any]) -> Any:
        """fun() as one op, which keeps the variables that flow in; its map back runs fun again, remembering."""
        if self._flown_in is not None:
            return fun()  # inside another one, which keeps nothing either
        flown_in = self._flown_in = dict[Node, Variable]()
        try:
            result = fun()
        finally:
            self._flown_in = None
        if not flown_in or isinstance(result, Variable):  # a constant, or a variable handed through
            return result

        @once
        def back(g: Array) -> tuple[Array, ...]:
            again = fun()
            grads = self._walk_back(again.node, g, flown_in) if isinstance(again, Variable) else {}
            return tuple(self._gradient(grads, x) for x in flown_in.values())

        maps: list[Back] = [lambda g, i=i: back(g)[i] for i in range(len(flown_in))]  # type: ignore[misc]
        return Variable(result.value, self, Node(list(zip(flown_in, maps, strict=True))))

    # ------------------------------------------------------------------ the way back

    def differentiate(
        self, fun: Callable[[Ops, Mapping[str, Array]], Array], params: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Return fun(ops, params) and its gradient by every parameter; zeros for those it does not use.

        Values and gradients are arrays of the inner backend. Raises InvalidInputError if fun's result is not a scalar
        or a parameter is not floating.
        """
        leaves = {name: self._leaf(name, value) for name, value in params.items()}
        result = fun(self, leaves)
        value = self.inner.asarray(self.unbox(result))
        if tuple(value.shape) != ():
            raise InvalidInputError(f"a gradient needs a scalar; the function returned shape {tuple(value.shape)}")
        grads: dict[Node, Array] = {}
        if isinstance(result, Variable):
            node, result = result.node, None  # the walk alone holds the graph, so that it can let go of it
            grads = self._walk_back(node, self.inner.full((), 1.0, value.dtype))
        return value, {name: self._gradient(grads, leaf) for name, leaf in leaves.items()}

    def _leaf(self, name: str, value: Array) -> Variable:
        dtype = self.inner.dtype_name(value)
        if not dtype.startswith(("float", "bfloat")):
            raise InvalidInputError(f"the parameter {name!r} is {dtype}; only floating parameters have gradients")
        return Variable(value, self, Node([]))

    def _gradient(self, grads: Mapping[Node, Array], x: Variable) -> Array:
        """What arrived at a variable: zeros if nothing did."""
        return grads[x.node] if x.node in grads else self.inner.full(x.shape, 0.0, x.dtype)

    def _walk_back(self, root: Node, gradient: Array, ends: Container[Node] = ()) -> dict[Node, Array]:
        """Send the gradient from the root to parameters and `ends`, latest op first, forgetting each op once done."""
        grads = {root: gradient}
        order = _reachable(root, ends)
        while order:
            node = order.pop()
            if not node.flows or node in ends:
                continue  # its gradient stays
            gradient = grads.pop(node)
            for parent, back in node.flows:
                share = back(gradient)
                grads[parent] = self.inner.add(grads[parent], share) if parent in grads else share
            node.flows = []
        return grads


def _reachable(root: Node, ends: Container[Node]) -> list[Node]:
    """Every node the root depends on, but for what lies behind `ends`, in the order in which they were made."""
    found, waiting = {root}, [root]
    while waiting:
        for parent, _ in waiting.pop().flows:
            if parent not in found:
                found.add(parent)
                if parent not in ends:
                    waiting.append(parent)
    return sorted(found, key=lambda node: node.time)
