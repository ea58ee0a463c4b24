"""Does a backend's class have every op, with the parameters of the language?"""

from __future__ import annotations

import inspect
from typing import Any

from ...ops import PRIMITIVES, Ops


def wrong_signature(cls: type[Ops], name: str) -> str | None:
    """What is wrong with the op of that name: that it is missing, or takes other parameters; None if nothing is.

    Names, order, kinds and defaults of parameters must be those of `Ops`; annotations are the backend's own business.
    """
    own, base = getattr(cls, name, None), getattr(Ops, name)
    if name in PRIMITIVES and own is base:
        return f"the primitive {name} is not implemented"
    if not callable(own):
        return f"{name} is {own!r}, not a method"
    try:
        found = _parameters(own)
    except (TypeError, ValueError) as error:
        return f"the signature of {name} cannot be read: {error}"
    if found == _parameters(base):
        return None
    return f"{name}{_shown(own)} must be {name}{_shown(base)}, as in Ops"


def _parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


def _shown(method: Any) -> str:
    signature = inspect.signature(method)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
