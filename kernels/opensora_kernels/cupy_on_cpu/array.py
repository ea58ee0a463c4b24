"""The stand-in's array: NumPy's, but on a numbered device, and shy of the host's arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .state import STATE, CUDARuntimeError, OutOfMemoryError


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """A NumPy array that stands for one on a GPU."""

    def __array_finalize__(self, source: Any) -> None:
        self._device = getattr(source, "_device", STATE.device)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **named: Any) -> Any:
        return run(getattr(ufunc, method), inputs, named if out is None else {**named, "out": out})

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in (np.may_share_memory, np.shares_memory):  # what a test may ask
            return function(*(np.asarray(x) for x in args))
        raise TypeError(f"numpy.{function.__name__} on an array of the GPU: NumPy cannot read it")

    def __getitem__(self, index: Any) -> ndarray:
        return wrapped(np.ndarray.__getitem__(plain(self), plain(index)), self._device)

    def __setitem__(self, index: Any, value: Any) -> None:
        run(_assign, (self, index, value))

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    @property
    def device(self) -> Any:
        """The device on which the array lies."""
        return Place(self._device)

    @property
    def data(self) -> Any:  # type: ignore[override]
        """Where the array begins."""
        return Pointer(self)

    def get(self) -> np.ndarray[Any, Any]:
        """Copy to the host, which waits for the stream and so cannot be captured."""
        if STATE.capture is not None:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            )
        return np.array(plain(self))

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: Any = None, copy: bool = True
    ) -> Any:
        """Cast."""
        return self if self.dtype == dtype and not copy else run(np.ndarray.astype, (self, dtype))

    def copy(self, order: str = "C") -> Any:
        """Copy on the device."""
        return run(np.array, (self,), {"order": order})


@dataclass(frozen=True)
class Place:
    """The device of an array."""

    id: int


class Pointer:
    """The address of an array's first element."""

    def __init__(self, array: ndarray) -> None:
        self.array, self.ptr, self.device_id = array, array.ctypes.data, array._device

    def copy_from_device(self, source: Pointer, size: int) -> None:
        """Copy bytes from another place on a device."""
        assert self.array.nbytes == source.array.nbytes == size
        plain(self.array)[...] = plain(source.array)


def run(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any] | None = None) -> Any:
    """Call a NumPy function on arrays of the device, which gives such arrays; a capture notes the call."""
    devices = {x._device for x in arrays_in([*args, *(named or {}).values()])}
    if len(devices) > 1:
        raise ValueError(f"arrays on devices {sorted(devices)} meet")
    inputs, keywords = plain(args), {key: plain(value) for key, value in (named or {}).items()}
    result = function(*inputs, **keywords)
    if isinstance(result, np.ndarray | np.generic):
        check_memory(result)
        result = wrapped(result, devices.pop() if devices else STATE.device)
    if STATE.capture is not None:
        STATE.capture.note(function, inputs, keywords, result)
    return result


def wrapped(result: Any, device: int | None = None) -> ndarray:
    """A NumPy result as an array of a device, also if it is a number."""
    array = np.asarray(result).view(ndarray)
    array._device = STATE.device if device is None else device
    return array


def plain(value: Any) -> Any:
    """NumPy's view of device arrays, in nests too; a NumPy array of the host is refused, as CuPy does."""
    if isinstance(value, ndarray):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)(plain(v) for v in value)
    return value


def arrays_in(value: Any) -> list[ndarray]:
    """Device arrays of a nest of lists and tuples."""
    if isinstance(value, ndarray):
        return [value]
    return [x for v in value for x in arrays_in(v)] if isinstance(value, list | tuple) else []


def check_memory(result: Any) -> None:
    """Raise what CuPy does where an array does not fit into the pool's limit."""
    if STATE.limit and result.base is None and result.nbytes > STATE.limit:
        raise OutOfMemoryError(result.nbytes, 0, STATE.limit)


def _assign(target: np.ndarray[Any, Any], index: Any, value: Any) -> None:
    target[index] = value
