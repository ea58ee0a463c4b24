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
    """The primitives and the half-precision policy; backends derive from `Ops`, which adds the fused ops.

    What holds for all of them: arguments are never written to. Shapes may have axes of length 0 or none at all, and
    negative axes count from the end. Two arrays that meet in an op have one dtype, and the result has it too (booleans
    where the op compares). One of them may be a Python number, which takes the dtype of the array.
    """

    name = "abstract"
    dtype_reason = ""  # why dtype="auto" became what it is; empty where the dtype was named

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        """device: where arrays live; dtype: the floating dtype in which models are loaded."""
        self.device, self.dtype = device, dtype

    # ------------------------------------------------------------------ primitives: moving data in and out

    @primitive
    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        """Bring a NumPy array, number or list to this backend's device; keeps its dtype unless told otherwise.

        The array may be read-only and lie in memory in any way (strided, reversed); bfloat16 comes through ml_dtypes.
        x may also be an array of this backend, and dtype its own dtype object. The result may be a view of x.
        """
        raise NotImplementedError("the primitive asarray is not implemented")

    @primitive
    def to_numpy(self, x: Array) -> Any:
        """Bring an array to the host as a NumPy array, maybe a view, of the same dtype (bfloat16 through ml_dtypes)."""
        raise NotImplementedError("the primitive to_numpy is not implemented")

    @primitive
    def astype(self, x: Array, dtype: DType) -> Array:
        """Cast; the same array, or a view of it, comes back when nothing changes."""
        raise NotImplementedError("the primitive astype is not implemented")

    @primitive
    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        """Return an array of `shape` and `dtype` (any of them, "bool" and "int64" too) filled with `value`."""
        raise NotImplementedError("the primitive full is not implemented")

    @primitive
    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        """Return 0, 1, ..., stop - 1 in `dtype`; empty if stop is 0."""
        raise NotImplementedError("the primitive arange is not implemented")

    # ------------------------------------------------------------------ primitives: elementwise

    @primitive
    def negative(self, x: Array) -> Array:
        """Return -x."""
        raise NotImplementedError("the primitive negative is not implemented")

    @primitive
    def exp(self, x: Array) -> Array:
        """Return e**x."""
        raise NotImplementedError("the primitive exp is not implemented")

    @primitive
    def log(self, x: Array) -> Array:
        """Return the natural logarithm."""
        raise NotImplementedError("the primitive log is not implemented")

    @primitive
    def sqrt(self, x: Array) -> Array:
        """Return the square root."""
        raise NotImplementedError("the primitive sqrt is not implemented")

    @primitive
    def sin(self, x: Array) -> Array:
        """Return the sine of radians."""
        raise NotImplementedError("the primitive sin is not implemented")

    @primitive
    def cos(self, x: Array) -> Array:
        """Return the cosine of radians."""
        raise NotImplementedError("the primitive cos is not implemented")

    @primitive
    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent."""
        raise NotImplementedError("the primitive tanh is not implemented")

    @primitive
    def erf(self, x: Array) -> Array:
        """Return the Gauss error function (needed by the exact GELU; the array API has no word for it)."""
        raise NotImplementedError("the primitive erf is not implemented")

    @primitive
    def add(self, a: Array, b: Array) -> Array:
        """Return a + b; shapes broadcast, here and in all ops of two arrays."""
        raise NotImplementedError("the primitive add is not implemented")

    @primitive
    def subtract(self, a: Array, b: Array) -> Array:
        """Return a - b."""
        raise NotImplementedError("the primitive subtract is not implemented")

    @primitive
    def multiply(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        raise NotImplementedError("the primitive multiply is not implemented")

    @primitive
    def divide(self, a: Array, b: Array) -> Array:
        """Return a / b."""
        raise NotImplementedError("the primitive divide is not implemented")

    @primitive
    def pow(self, a: Array, b: Array) -> Array:
        """Return a ** b; either may be a Python number."""
        raise NotImplementedError("the primitive pow is not implemented")

    @primitive
    def maximum(self, a: Array, b: Array) -> Array:
        """Return the larger of a and b; NaN if either is."""
        raise NotImplementedError("the primitive maximum is not implemented")

    @primitive
    def equal(self, a: Array, b: Array) -> Array:
        """Return a == b as booleans."""
        raise NotImplementedError("the primitive equal is not implemented")

    @primitive
    def less(self, a: Array, b: Array) -> Array:
        """Return a < b as booleans."""
        raise NotImplementedError("the primitive less is not implemented")

    @primitive
    def where(self, condition: Array, a: Array, b: Array) -> Array:
        """Return a where the boolean condition holds, else b; all three broadcast, a or b may be a Python number."""
        raise NotImplementedError("the primitive where is not implemented")

    # ------------------------------------------------------------------ primitives: contraction and reduction

    @primitive
    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product over the last two axes, leading axes broadcast; both have at least two.

        Half precision accumulates in float32 and is cast back; float32 is multiplied in full, not as TF32 or bfloat16.
        """
        raise NotImplementedError("the primitive matmul is not implemented")

    @primitive
    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """Sum over axes (all when None) in x's dtype; half precision accumulates in float32 and is cast back."""
        raise NotImplementedError("the primitive sum is not implemented")

    @primitive
    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """Largest element over axes (all when None), none of which is empty; NaN where one is among them."""
        raise NotImplementedError("the primitive max is not implemented")

    # ------------------------------------------------------------------ primitives: shape

    @primitive
    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """Same elements in row-major order under another shape, maybe as a view; one entry may be -1."""
        raise NotImplementedError("the primitive reshape is not implemented")

    @primitive
    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        """Axis i of the result, which may be a view, is axis axes[i] of x."""
        raise NotImplementedError("the primitive permute_dims is not implemented")

    @primitive
    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        """Repeat x along new or length-1 axes, as a view where the library can."""
        raise NotImplementedError("the primitive broadcast_to is not implemented")

    @primitive
    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Join one or more arrays along an existing axis; some may have length 0 there."""
        raise NotImplementedError("the primitive concat is not implemented")

    @primitive
    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        """x[start0:stop0:step0, ...], maybe a view; one entry per axis, 0 <= start <= stop <= length and step >= 1."""
        raise NotImplementedError("the primitive slice is not implemented")

    @primitive
    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        """Put `low` zeros before, `high` after, `interior` between neighbours of each axis: the adjoint of slice.

        One entry per axis, none negative: pad([1, 2, 3], (1,), (0,), (2,)) is [0, 1, 0, 0, 2, 0, 0, 3].
        """
        raise NotImplementedError("the primitive pad is not implemented")

    @primitive
    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        """Pick entries of one axis by a 1-D array of integer indices, int32 or int64, all of them inside the axis."""
        raise NotImplementedError("the primitive take is not implemented")

    @primitive
    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        """A copy of x with values added at indices of one axis: the adjoint of take.

        values has x's shape but for that axis, where it has one entry per index. Repeated indices accumulate, half
        precision in float32.
        """
        raise NotImplementedError("the primitive index_add is not implemented")

    @primitive
    def stop_gradient(self, x: Array) -> Array:
        """Return x, or a view of it, as a constant to differentiation."""
        raise NotImplementedError("the primitive stop_gradient is not implemented")

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
