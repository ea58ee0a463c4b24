"""Python lines to paste that show a failure again: they make the inputs, call the op and assert."""

from __future__ import annotations

import base64
import inspect
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...ops import Ops
from ..running import HostArray, cast
from ..strategies import Call
from .observe import Expected
from .target import Target

LONG = 100  # elements from which an array is written as compressed bytes


def repro(target: Target, op: str, call: Call, dtype: str, aspect: str, expected: Sequence[Expected]) -> str:
    """Lines that raise AssertionError, or what the op raises, as long as the backend fails that aspect of the call."""
    lines = [target.code, ""]
    names = _parameter_names(op, len(call.args))
    for name, arg in zip(names, call.args, strict=True):
        if not callable(arg):
            lines.append(f"{name} = {_expression(cast(arg, dtype), call.layout, host=op == 'asarray')}")
    lines += _assertion(_call(op, names, call.args), names, call.args, aspect, expected)
    body = "\n".join(lines)
    return "\n".join([*_imports(body, call.args), body]) + "\n"


def signature_repro(target: Target, op: str) -> str:
    """Lines that raise AssertionError as long as the op's signature is wrong."""
    return (
        f"{target.code}\n\nfrom opensora_core.testing.conformance import wrong_signature\n\n"
        f"assert not wrong_signature(type(ops), {op!r}), wrong_signature(type(ops), {op!r})\n"
    )


def check_repro(target: Target, check: str) -> str:
    """Lines that raise AssertionError as long as a check with inputs of its own fails."""
    return f"{target.code}\n\nfrom opensora_core.testing.conformance import recheck\n\nrecheck(ops, {check!r})\n"


def _parameter_names(op: str, count: int) -> list[str]:
    if op == "compile":
        return ["fun", "x", "weight", "bias"][:count]
    return list(inspect.signature(getattr(Ops, op)).parameters)[1 : 1 + count]


def _call(op: str, names: Sequence[str], args: Sequence[Any]) -> str:
    shown = [arg.__name__ if callable(arg) else name for name, arg in zip(names, args, strict=True)]
    if op == "compile":
        return f"ops.compile(lambda *arrays: {shown[0]}(ops, *arrays))({', '.join(shown[1:])})"
    return f"ops.{op}({', '.join(shown)})"


def _assertion(
    call: str, names: Sequence[str], args: Sequence[Any], aspect: str, expected: Sequence[Expected]
) -> list[str]:
    host = "[np.array(ops.to_numpy(r)) for r in arrays_in([{}])]"
    arrays = ", ".join(name for name, arg in zip(names, args, strict=True) if not callable(arg))
    if aspect == "runs":
        return [f"results = arrays_in([{call}])", f"assert len([ops.to_numpy(r) for r in results]) == {len(expected)}"]
    if aspect == "inputs":
        return [
            f"before = {host.format(arrays)}",
            call,
            f"after = {host.format(arrays)}",
            "assert [x.tobytes() for x in before] == [x.tobytes() for x in after]",
        ]
    if aspect == "alias":
        return [
            f"results, others = arrays_in([{call}]), arrays_in([{arrays}, {call}])",
            "shared = [np.may_share_memory(ops.to_numpy(r), ops.to_numpy(a)) for r in results for a in others]",
            "assert not any(shared)",
        ]
    if aspect == "repeat":
        return [
            f"results = arrays_in([{call}])",
            "first = [np.array(ops.to_numpy(r)).tobytes() for r in results]",
            f"again = [np.array(ops.to_numpy(r)).tobytes() for r in arrays_in([{call}])]",
            "assert first == again == [np.array(ops.to_numpy(r)).tobytes() for r in results]",
        ]
    if aspect == "device":
        return [
            "own = ops.asarray(np.zeros(1, 'float32'))",
            f"for result in arrays_in([{call}]):",
            "    assert isinstance(result, (type(own), np.generic)), type(result)",
            "    assert str(getattr(result, 'device', '')) == str(getattr(own, 'device', '')), result.device",
        ]
    lines = [f"got = {host.format(call)}"]
    for i, want in enumerate(expected):
        if aspect == "dtype":
            lines.append(f"assert got[{i}].dtype.name == {want.dtype.name!r}, got[{i}].dtype")
        elif aspect == "nan":
            lines.append(f"assert not np.isnan(got[{i}].astype('float64')[~np.isnan({_literal(want.truth)})]).any()")
        else:
            truth = _literal(np.asarray(want.truth, np.float64))
            close = f"rtol=0, atol={want.limit!r}, strict=True"
            lines.append(f"np.testing.assert_allclose(got[{i}].astype('float64'), {truth}, {close})")
    return lines


def _expression(arg: Any, layout: str, host: bool) -> str:
    """Python for an argument on the backend."""
    if isinstance(arg, np.ndarray):
        text = _literal(arg)
        text = text if layout == "plain" or arg.ndim == 0 else f"lay_out({text}, {layout!r})"
        return text if host else f"ops.asarray({text})"
    if isinstance(arg, list):
        return f"[{', '.join(_expression(x, layout, host) for x in arg)}]"
    if isinstance(arg, Mapping):
        return "{" + ", ".join(f"{name!r}: {_expression(x, layout, host)}" for name, x in arg.items()) + "}"
    return repr(arg)


def _literal(x: HostArray) -> str:
    """Python that makes exactly this array."""
    dtype = "ml_dtypes.bfloat16" if x.dtype.name == "bfloat16" else repr(x.dtype.name)
    if x.size == 0:
        return f"np.zeros({x.shape}, {dtype})"
    if x.size >= LONG:
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(x).tobytes(), 9)).decode()
        return f"np.frombuffer(zlib.decompress(base64.b64decode({packed!r})), {dtype}).reshape({x.shape}).copy()"
    numbers = x.tolist() if x.dtype.kind in "biu" else np.asarray(x, np.float64).tolist()
    return f"np.array({numbers!r}, {dtype})"


def _imports(body: str, args: Sequence[Any]) -> list[str]:
    """Import lines for what the body uses."""
    lines = [f"import {name}" for name in ("base64", "zlib") if f"{name}." in body]
    lines += ["import ml_dtypes"] if "ml_dtypes." in body else []
    lines += ["import numpy as np"] if "np." in body else []
    lines += [
        f"from numpy import {word}" for word in ("inf", "nan") if re.search(rf"(?<![\w.']){word}(?![\w('])", body)
    ]
    used = [name for name in ("arrays_in", "lay_out") if f"{name}(" in body]
    lines += [f"from opensora_core.testing.running import {', '.join(used)}"] if used else []
    functions: list[Callable[..., Any]] = [arg for arg in args if callable(arg)]
    return [*lines, *(f"from {f.__module__} import {f.__name__}" for f in functions)]
