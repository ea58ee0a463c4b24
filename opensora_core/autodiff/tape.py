"""The tape: an interposer that remembers, for every value that depends on a parameter, how to send a gradient back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from ..errors import InvalidInputError
from ..interpose import Box, Interposer
from ..interpose.interposer import Args
from ..ops import Array, Ops
from .fused_rules import FUSED_RULES
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

    def process(self, op: str, args: Args) -> Any:
        """Do the op; if a parameter flows in, remember the rule's maps for exactly the arguments it flows through."""
        raw = tuple(map(self.unbox, args))
        operands = args[0] if op == "concat" else args
        tracked = [i for i, x in enumerate(operands) if isinstance(x, Variable) and x.ops is self]
        if not tracked or op not in RULES:
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
        return value, {
            name: grads[leaf.node] if leaf.node in grads else self.inner.full(leaf.shape, 0.0, leaf.dtype)
            for name, leaf in leaves.items()
        }

    def _leaf(self, name: str, value: Array) -> Variable:
        dtype = self.inner.dtype_name(value)
        if not dtype.startswith(("float", "bfloat")):
            raise InvalidInputError(f"the parameter {name!r} is {dtype}; only floating parameters have gradients")
        return Variable(value, self, Node([]))

    def _walk_back(self, root: Node, gradient: Array) -> dict[Node, Array]:
        """Send the gradient from the root to the leaves, latest op first, forgetting each op once it is done."""
        grads = {root: gradient}
        order = _reachable(root)
        while order:
            node = order.pop()
            if not node.flows:
                continue  # a parameter: its gradient stays
            gradient = grads.pop(node)
            for parent, back in node.flows:
                share = back(gradient)
                grads[parent] = self.inner.add(grads[parent], share) if parent in grads else share
            node.flows = []
        return grads


def _reachable(root: Node) -> list[Node]:
    """Every node the root depends on, in the order in which they were made."""
    found, waiting = {root}, [root]
    while waiting:
        for parent, _ in waiting.pop().flows:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return sorted(found, key=lambda node: node.time)
