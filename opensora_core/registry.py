"""Backends by name: a built-in table resolved on demand, and the entry-point group `opensora.backends` for others."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InvalidInputError, MissingDependencyError, OpenSoraError
from .ops import Ops

ENTRY_POINTS = "opensora.backends"


@dataclass(frozen=True)
class Backend:
    """Where a backend's `Ops` lives and what it needs."""

    target: str  # "module:Class"
    requires: str | None = None  # top-level package that must be importable
    extra: str | None = None  # pip extra that installs it
    device: str = "cpu"  # where it computes unless told
    doctor: str | None = None  # "module:function" that yields (name, "ok" or "warn", text, remedy) of what it needs
    kernels: str | None = None  # "module:function" that yields rows of what serves which op
    team: str | None = None  # "module:Class" of processes that train together, see `training.team`
    bfloat16: str | None = None  # "module:function" that names the CPU's instructions for it, see `precision`


BUILTIN = {
    "numpy": Backend("opensora_backends.numpy_ops:NumpyOps"),
    "numba": Backend("opensora_backends.numba_ops:NumbaOps", "numba", "numba"),
    "torch": Backend(
        "opensora_backends.torch_ops:TorchOps",
        requires="torch",
        extra="torch",
        team="opensora_backends.torch_team:TorchTeam",
        bfloat16="opensora_backends.torch_half:bfloat16_instructions",
    ),
    "cuda": Backend(
        "opensora_backends.cuda_ops:CudaOps",
        requires="cupy",
        extra="cuda",
        device="cuda:0",
        doctor="opensora_backends.cuda_doctor:diagnose",
        kernels="opensora_backends.cuda_kernels:matrix",
    ),
}
PREFERENCE = ("torch", "numba", "numpy")  # what "auto" tries, best first
DTYPES = ("float64", "float32", "bfloat16", "float16")


def backends() -> dict[str, Backend]:
    """Every known backend: the built-in ones and those of installed packages."""
    found = dict(BUILTIN)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, Backend(point.value))
    return found


def missing_reason(name: str) -> str | None:
    """Why a backend cannot be used here, with the remedy; None when it can.

    One of another package is imported to find out: what it needs is known to nobody else.
    Raises InvalidInputError for an unknown name.
    """
    backend = _find(name)
    if backend.requires and importlib.util.find_spec(backend.requires) is None:
        return f"the package {backend.requires!r} is not installed: pip install 'opensora-core[{backend.extra}]'"
    if name not in BUILTIN:
        try:
            _load(backend.target)
        except (InvalidInputError, MissingDependencyError) as error:
            return str(error)
    return None


def unusable_reason(name: str) -> str | None:
    """As `missing_reason`, or why a backend that needs more than packages, such as a driver, cannot be made here."""
    backend = _find(name)
    reason = missing_reason(name)
    if reason is None and backend.doctor:
        try:
            get_backend(name, device=backend.device, dtype="float32")
        except OpenSoraError as error:
            return str(error)
    return reason


def available_backends() -> list[str]:
    """Names of the backends that can be used here."""
    return [name for name in backends() if missing_reason(name) is None]


def automatic() -> str:
    """Name of the backend that "auto" stands for: OPENSORA_BACKEND, or the best one that can be used here."""
    chosen = os.environ.get("OPENSORA_BACKEND") or "auto"
    return chosen if chosen != "auto" else next(n for n in PREFERENCE if missing_reason(n) is None)


def get_backend(
    name: str = "auto",
    *,
    device: str | None = None,
    dtype: str | None = None,
    widths: tuple[int, int] | None = None,
) -> Ops:
    """Return the tensor ops of a backend.

    name: "numpy", "numba", "torch", "cuda", the name of an entry point, "module:Class", or "auto" (the best one
    present; the result's `.name` says which). device: such as "cpu", "cuda:0"; dtype: float64, float32, bfloat16 or
    float16, in which models are loaded, or "auto": bfloat16 where a short probe finds it faster on this CPU, else
    float32; the result's `.dtype` and `.dtype_reason` say which and why. widths: hidden size and heads of the model,
    for that probe. Unset values come from OPENSORA_BACKEND (for "auto"), OPENSORA_DEVICE and OPENSORA_DTYPE.
    Raises InvalidInputError for an unknown name or dtype and for a class that cannot be made, MissingDependencyError,
    with its `name`, for an absent package.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"backend={name!r} must be a name, 'module:Class' or an Ops instance")
    if name == "auto":
        name = automatic()
    device = device or os.environ.get("OPENSORA_DEVICE") or (BUILTIN[name].device if name in BUILTIN else "cpu")
    dtype = dtype or os.environ.get("OPENSORA_DTYPE") or "float32"
    if dtype not in (*DTYPES, "auto"):
        raise InvalidInputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}, auto")
    backend = _resolve(name)
    if dtype != "auto":
        return made(name, lambda: backend(device=device, dtype=dtype))
    from .precision import choose_dtype  # which makes backends

    choice = choose_dtype(name, device, *(widths or ()))
    ops = made(name, lambda: backend(device=device, dtype=choice.dtype))
    ops.dtype_reason = choice.reason
    return ops


def made(name: str, make: Callable[[], Ops]) -> Ops:
    """Call what makes a backend; whatever a stranger's class raises becomes an InvalidInputError that names it."""
    try:
        ops = make()
    except (OpenSoraError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise _needs(name, error) from error
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"backend {name!r} cannot be made: {type(error).__name__}: {error}; its class must take device= and dtype="
        ) from error
    if lacking := [word for word in ("device", "dtype") if not hasattr(ops, word)]:
        raise InvalidInputError(
            f"backend {name!r} has no .{' and no .'.join(lacking)}: its __init__ must call "
            "super().__init__(device, dtype)"
        )
    return ops


def _find(name: str) -> Backend:
    """Look a name up; installed packages are asked only for names that are not built in."""
    known = BUILTIN if name in BUILTIN else backends()
    if name not in known:
        names = ", ".join(sorted(known))
        raise InvalidInputError(
            f"there is no backend {name!r}; known: {names}, or 'module:Class'; `opensora backends` says what each needs"
        )
    return known[name]


def _resolve(name: str) -> type[Ops]:
    if ":" in name:
        return _load(name)
    backend = _find(name)
    if reason := missing_reason(name):
        raise MissingDependencyError(f"backend {name!r}: {reason}", name=backend.requires)
    return _load(backend.target)


def _load(target: str) -> type[Ops]:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except OpenSoraError:
        raise
    except ModuleNotFoundError as error:
        own = error.name is None or _top(error.name) == _top(module)
        raise (_no_target(target, error) if own else _needs(target, error)) from error
    except (Exception, SystemExit) as error:  # a stranger's module may fail in any way
        raise _no_target(target, error) from error
    if not (isinstance(found, type) and issubclass(found, Ops)):
        raise InvalidInputError(f"backend {target!r} is {found!r}; expected a class derived from opensora_core.Ops")
    return found


def _no_target(target: str, error: BaseException) -> InvalidInputError:
    kind = "" if isinstance(error, ModuleNotFoundError | AttributeError | ValueError) else f"{type(error).__name__}: "
    return InvalidInputError(f"backend {target!r} cannot be loaded ({kind}{error}); expected 'module:Class'")


def _needs(backend: str, error: ModuleNotFoundError) -> MissingDependencyError:
    if error.name is None:
        return MissingDependencyError(f"backend {backend!r}: {error}")
    name = _top(error.name)
    return MissingDependencyError(f"backend {backend!r} needs the package {name!r}, which is not installed", name=name)


def _top(module: str) -> str:
    """The package of a module."""
    return module.partition(".")[0]
