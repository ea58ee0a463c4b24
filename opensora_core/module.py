"""Modules are frozen dataclasses, and the dataclass tree is the parameter tree.

One walk gives state-dict names, rebuilding, EMA, gradients and device moves: a field holding an array is a parameter
under its dotted path, a field holding a module or a tuple of modules is a subtree, a field made by `static()` is
configuration. `None` is an absent parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from .errors import InvalidInputError, WeightsError
from .ops import Array, Ops

M = TypeVar("M")


def static(**kwargs: Any) -> Any:
    """Declare a dataclass field that is configuration, not a parameter."""
    return field(metadata={"static": True}, **kwargs)


def named_leaves(module: Any, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Yield (dotted name, array) of every parameter, in field order."""
    for name, child in _children(module):
        path = f"{prefix}{name}"
        if _is_subtree(child):
            yield from named_leaves(child, path + ".")
        elif child is not None:
            yield path, child


def state_dict(module: Any) -> dict[str, Array]:
    """All parameters of a module under their dotted names."""
    return dict(named_leaves(module))


def named_modules(module: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, module) of every module inside, in field order, each before its parts."""
    for name, child in _children(module):
        path = f"{prefix}{name}"
        if _is_subtree(child):
            if not isinstance(child, tuple):
                yield path, child
            yield from named_modules(child, path + ".")


def rebuild(module: M, state: Mapping[str, Array], prefix: str = "") -> M:
    """The same module with every parameter taken from `state` by name (which must hold it)."""
    new: dict[str, Any] = {}
    for name, child in _children(module):
        path = f"{prefix}{name}"
        if _is_subtree(child):
            new[name] = rebuild(child, state, path + ".")
        elif child is not None:
            if path not in state:
                raise WeightsError(f"the weight {path!r} is missing")
            new[name] = state[path]
        else:
            new[name] = None
    return cast(M, _with_children(module, new))


def tree_map(function: Callable[[Array], Array], module: M) -> M:
    """The same module with `function` applied to every parameter."""
    return rebuild(module, {name: function(leaf) for name, leaf in named_leaves(module)})


def replace_part(module: M, name: str, function: Callable[[Any], Any]) -> M:
    """The same module with the part under a dotted name (a parameter or a module) replaced by function(part).

    Raises InvalidInputError, listing the parts there are, when the name leads nowhere.
    """
    head, _, rest = name.partition(".")
    children = dict(_children(module)) if _is_subtree(module) else {}
    if children.get(head) is None:
        there = [child for child, value in children.items() if value is not None]
        raise InvalidInputError(f"{type(module).__name__} has no part {head!r}; it has {', '.join(there) or 'none'}")
    part = children[head]
    return cast(
        M, _with_children(module, {**children, head: replace_part(part, rest, function) if rest else function(part)})
    )


def to_backend(ops: Ops, module: M, dtype: str | None = None) -> M:
    """The same module on the backend's device, its floating parameters cast to `dtype` (default: ops.dtype)."""
    dtype = dtype or ops.dtype
    return tree_map(lambda leaf: ops.asarray(leaf, dtype if "float" in str(leaf.dtype) else None), module)


def num_parameters(module: Any) -> int:
    """How many numbers the parameters hold."""
    return sum(math.prod(leaf.shape) for _, leaf in named_leaves(module))


def _is_subtree(value: Any) -> bool:
    return isinstance(value, tuple) or (is_dataclass(value) and not isinstance(value, type))


def _children(module: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(module, tuple):
        yield from ((str(i), child) for i, child in enumerate(module))
    else:
        yield from ((f.name, getattr(module, f.name)) for f in fields(module) if not f.metadata.get("static"))


def _with_children(module: Any, new: dict[str, Any]) -> Any:
    return tuple(new.values()) if isinstance(module, tuple) else replace(module, **new)
