"""`compile` on CUDA: the kernels a function launches are recorded once as a CUDA graph and replayed as one.

What makes a recording right: its memory comes from a pool of its own, which lives as long as the graph; arguments are
copied into its own arrays and results out of them; and a host table (`asarray` inside the function) is uploaded before,
as the host's buffer is gone when the graph runs. A function that reads a value back cannot be recorded.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import numpy as np

KEPT = 8  # recordings of one function; each holds its arrays


class CannotRecordError(Exception):
    """Why a function cannot be replayed."""


class Recording:
    """What a function met while it ran: host tables in a rehearsal, then the graph itself."""

    def __init__(self) -> None:
        self.tables: dict[tuple[Any, ...], Any] = {}
        self.rehearsing = True

    def constant(self, xp: Any, x: np.ndarray[Any, Any]) -> Any:
        """The device's copy of a host array, made in the rehearsal."""
        key = (x.dtype.str, x.shape, x.tobytes())
        if self.rehearsing and key not in self.tables:
            self.tables[key] = xp.array(x)
        if key not in self.tables:
            self.refuse("it makes other arrays on the host each time")
        return self.tables[key]

    def refuse(self, reason: str) -> None:
        """Give up recording."""
        raise CannotRecordError(reason)


_current: ContextVar[Recording | None] = ContextVar("recording", default=None)


def capturing() -> Recording | None:
    """The recording under way in this context."""
    return _current.get()


def compiled(ops: Any, fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return `fun` of arrays, numbers and nests of them, recorded for each shape, dtype and number it is called with.

    Where it cannot be recorded a warning says why, once, and it runs as it is.
    """
    graphs: dict[Any, Graph | None] = {}

    @functools.wraps(fun)
    def call(*args: Any) -> Any:
        if capturing() is not None:  # inside another recording its kernels belong to that
            return fun(*args)
        leaves: list[Any] = []
        key = _flatten(args, leaves, ops.xp.ndarray)
        ops.check_devices("compile", *leaves)
        if key not in graphs:
            while len(graphs) >= KEPT:
                graphs.pop(next(iter(graphs)))
            graphs[key] = _record(ops, fun, args, leaves)
        graph = graphs[key]
        return fun(*args) if graph is None else graph.replay(leaves)

    return call


class Graph:
    """One recording with its memory. Calls may come from any stream, but only one at a time."""

    def __init__(self, ops: Any, fun: Callable[..., Any], args: tuple[Any, ...], leaves: list[Any]) -> None:
        xp = self._xp = ops.xp
        self._recording, self._args = Recording(), args  # what is no array of a nest is recorded as it lies, so kept
        self._pool, stream = xp.cuda.MemoryPool(), xp.cuda.Stream(non_blocking=True)
        self._inputs = [x.copy() for x in leaves]
        own = _rebuild(args, iter(self._inputs), xp.ndarray)
        xp.cuda.get_current_stream().synchronize()  # the copies, before another stream reads them
        token = _current.set(self._recording)
        try:
            with stream, xp.cuda.using_allocator(self._pool.malloc):
                fun(*own)  # rehearsal: compiles kernels, uploads tables
                stream.synchronize()
                self._recording.rehearsing = False
                self._graph, self._outputs = _captured(xp, stream, fun, own)
        finally:
            _current.reset(token)

    def replay(self, leaves: list[Any]) -> Any:
        """Run the graph on the current stream with these arrays in place of the recorded ones."""
        for own, given in zip(self._inputs, leaves, strict=True):
            own[...] = given
        self._graph.launch(stream=self._xp.cuda.get_current_stream())
        return _copied(self._outputs, self._xp.ndarray)


def _captured(xp: Any, stream: Any, fun: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Any]:
    """The graph of what the function launches on the stream, and what it returns."""
    stream.begin_capture()
    try:
        outputs = fun(*args)
    except BaseException:
        with suppress(xp.cuda.runtime.CUDARuntimeError):  # that the capture is broken is known
            stream.end_capture()
        raise
    return stream.end_capture(), outputs


def _record(ops: Any, fun: Callable[..., Any], args: tuple[Any, ...], leaves: list[Any]) -> Graph | None:
    runtime = ops.xp.cuda.runtime
    try:
        return Graph(ops, fun, args, leaves)
    except (CannotRecordError, runtime.CUDARuntimeError) as error:
        name = getattr(fun, "__name__", "the function")
        warnings.warn(f"{name} is not compiled and runs as it is: {error}", RuntimeWarning, stacklevel=3)
        return None


def _flatten(value: Any, leaves: list[Any], array: type) -> Any:
    """Collect the arrays of a nest and return what else it is made of, to look a recording up by."""
    if isinstance(value, array):
        leaves.append(value)
        return ("array", value.shape, value.dtype.name)
    if isinstance(value, Mapping):
        return ("dict", *((k, _flatten(v, leaves, array)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return (type(value), *(_flatten(v, leaves, array) for v in value))
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value), value)


def _rebuild(value: Any, leaves: Any, array: type) -> Any:
    """The same nest with other arrays."""
    if isinstance(value, array):
        return next(leaves)
    if isinstance(value, Mapping):
        return {k: _rebuild(v, leaves, array) for k, v in value.items()}
    if isinstance(value, list | tuple):
        parts = [_rebuild(v, leaves, array) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _copied(value: Any, array: type) -> Any:
    """The nest with copies of its arrays, so that the next replay does not write over them."""
    leaves: list[Any] = []
    _flatten(value, leaves, array)
    return _rebuild(value, iter([x.copy() for x in leaves]), array)
