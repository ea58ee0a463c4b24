"""The lower tier of the language: what every backend must implement, under the array API standard's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Array = Any
"""An array of the backend at hand: np.ndarray, torch.Tensor, cupy.ndarray, or an interposer's Box."""
DType = Any
"""A dtype name ("float32", "bfloat16", "int64", "bool", ...) or the backend's own dtype object."""
Axis = int | tuple[int, ...] | None

Function = TypeVar("Function", bound=Callable[..., Any])

PRIMITIVES: list[str] = []
HALF = ("float16", "bfloat16")


def primitive(method: Function) -> Function:
    """Mark a method that every backend must implement."""
    PRIMITIVES.append(method.__name__)
    return method


class Primitives:
    """The primitives and the half-precision policy; backends derive from `Ops`, which adds the fused ops."""

    name = "abstract"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        """device: where arrays live; dtype: the floating dtype in which models are loaded."""
        self.device, self.dtype = device, dtype

    # ------------------------------------------------------------------ primitives: moving data in and out

    @primitive
    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        """Bring a NumPy array, number or list to this backend's device; keeps its dtype unless told otherwise.

        The result may be a view of x.
        """
        raise NotImplementedError

    @primitive
    def to_numpy(self, x: Array) -> Any:
        """Bring an array to the host as a NumPy array, maybe a view, of the same dtype (bfloat16 through ml_dtypes)."""
        raise NotImplementedError

    @primitive
    def astype(self, x: Array, dtype: DType) -> Array:
        """Cast; the same array, or a view of it, comes back when nothing changes."""
        raise NotImplementedError

    @primitive
    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        """Return an array of `shape` filled with `value`."""
        raise NotImplementedError

    @primitive
    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        """Return 0, 1, ..., stop - 1."""
        raise NotImplementedError

    # ------------------------------------------------------------------ primitives: elementwise

    @primitive
    def negative(self, x: Array) -> Array:
        """Return -x."""
        raise NotImplementedError

    @primitive
    def exp(self, x: Array) -> Array:
        """Return e**x."""
        raise NotImplementedError

    @primitive
    def log(self, x: Array) -> Array:
        """Return the natural logarithm."""
        raise NotImplementedError

    @primitive
    def sqrt(self, x: Array) -> Array:
        """Return the square root."""
        raise NotImplementedError

    @primitive
    def sin(self, x: Array) -> Array:
        """Return the sine of radians."""
        raise NotImplementedError

    @primitive
    def cos(self, x: Array) -> Array:
        """Return the cosine of radians."""
        raise NotImplementedError

    @primitive
    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent."""
        raise NotImplementedError

    @primitive
    def erf(self, x: Array) -> Array:
        """Return the Gauss error function (needed by the exact GELU; the array API has no word for it)."""
        raise NotImplementedError

    @primitive
    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""
        raise NotImplementedError

    @primitive
    def subtract(self, a: Array, b: Array) -> Array:
        """Return a - b."""
        raise NotImplementedError

    @primitive
    def multiply(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        raise NotImplementedError

    @primitive
    def divide(self, a: Array, b: Array) -> Array:
        """Return a / b."""
        raise NotImplementedError

    @primitive
    def pow(self, a: Array, b: Array) -> Array:
        """Return a ** b."""
        raise NotImplementedError

    @primitive
    def maximum(self, a: Array, b: Array) -> Array:
        """Return the larger of a and b; NaN if either is."""
        raise NotImplementedError

    @primitive
    def equal(self, a: Array, b: Array) -> Array:
        """Return a == b as booleans."""
        raise NotImplementedError

    @primitive
    def less(self, a: Array, b: Array) -> Array:
        """Return a < b as booleans."""
        raise NotImplementedError

    @primitive
    def where(self, condition: Array, a: Array, b: Array) -> Array:
        """Return a where condition holds, else b; the result has the array operand's dtype."""
        raise NotImplementedError

    # ------------------------------------------------------------------ primitives: contraction and reduction

    @primitive
    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product over the last two axes, leading axes broadcast; half precision accumulates in float32."""
        raise NotImplementedError

    @primitive
    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """Sum over axes (all when None); half precision accumulates in float32 and is cast back."""
        raise NotImplementedError

    @primitive
    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """Largest element over axes (all when None)."""
        raise NotImplementedError

    # ------------------------------------------------------------------ primitives: shape

    @primitive
    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """Same elements in row-major order under another shape, maybe as a view; one entry may be -1."""
        raise NotImplementedError

    @primitive
    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        """Axis i of the result, which may be a view, is axis axes[i] of x."""
        raise NotImplementedError

    @primitive
    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        """Repeat x along new or length-1 axes, as a view where the library can."""
        raise NotImplementedError

    @primitive
    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Join arrays along an existing axis."""
        raise NotImplementedError

    @primitive
    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        """x[start0:stop0:step0, ...], maybe as a view, with one non-negative entry per axis and step >= 1."""
        raise NotImplementedError

    @primitive
    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        """Put `low` zeros before, `high` after, `interior` between neighbours of each axis: the adjoint of slice."""
        raise NotImplementedError

    @primitive
    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        """Pick entries of one axis by a 1-D array of non-negative integer indices."""
        raise NotImplementedError

    @primitive
    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        """A copy of x with values added at indices of one axis (repeated indices accumulate): the adjoint of take."""
        raise NotImplementedError

    @primitive
    def stop_gradient(self, x: Array) -> Array:
        """Return x, or a view of it, as a constant to differentiation."""
        raise NotImplementedError

    # ------------------------------------------------------------------ the half-precision policy, in one place

    @property
    def wide_dtype(self) -> str:
        """float64 if models are loaded in it, else float32: for what half precision would spoil, such as latents."""
        return "float64" if self.dtype == "float64" else "float32"

    def dtype_name(self, x: Array) -> str:
        """Name of an array's dtype without the library's before it: "float32", "bfloat16", "int64", "bool", ..."""
        return str(x.dtype).rpartition(".")[2]

    def widen(self, x: Array) -> Array:
        """Return x in float32 if it is half precision, else as it is."""
        return self.astype(x, "float32") if self.dtype_name(x) in HALF else x
