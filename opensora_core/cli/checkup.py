"""What `doctor` looks at: each check returns a finding, and none stops the others."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..errors import OpenSoraError, with_remedy
from ..registry import automatic, backends, get_backend, missing_reason

PACKAGES = ("numpy", "safetensors", "ml_dtypes", "av", "pillow", "typer", "rich")
DEVICES = ("cpu", "cuda", "mps")  # tried on every backend
COMFORTABLE_BYTES = 600 * 2**20  # what the embedded model needs at most
TOLERANCE = 1e-4  # relative, float32 on any hardware; TF32 and wrong libraries are far above


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. fail: something needed does not work."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
    remedy: str = ""


def check_all() -> Iterator[Finding]:
    """Look at everything, one after the other."""
    yield Finding("python", "ok", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("platform", "ok", platform.platform())
    yield Finding("processors", "ok", f"{os.cpu_count()}")
    yield from (_guarded(name, partial(check_package, name)) for name in PACKAGES)
    yield from (_guarded(name, check) for name, check in _CHECKS.items())
    for name, backend in backends().items():
        if backend.doctor:
            yield from check_needs(backend.doctor)
        yield _guarded(f"backend {name}", partial(check_backend, name))


def check_memory() -> Finding:
    """Free memory."""
    from ..pipelines.request import available_bytes

    free = available_bytes()
    if free is None:
        return Finding("memory", "warn", "cannot be told on this system")
    text = f"{free / 2**30:.1f} GiB available"
    if free < COMFORTABLE_BYTES:
        return Finding("memory", "warn", text, "close other programs: the embedded model needs up to 0.6 GiB")
    return Finding("memory", "ok", text)


def check_temporary_folder() -> Finding:
    """Whether files can be written where temporary ones go."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(b"opensora")
        return Finding("temporary folder", "ok", tempfile.gettempdir())


def check_encoder() -> Finding:
    """Encode a tiny H.264 video and read it back."""
    import numpy as np

    from ..media.video import Video

    video = Video(np.full((2, 16, 16, 3), 128, np.uint8), 8.0)
    with tempfile.TemporaryDirectory() as folder:
        path = video.save(Path(folder) / "check.mp4")
        difference = int(np.abs(Video.load(path).frames.astype(int) - 128).max())
    if difference > 8:
        return Finding(
            "h264", "fail", f"a video comes back {difference} levels off", "pip install --force-reinstall av"
        )
    return Finding("h264", "ok", "mp4 files are written and read")


def check_embedded() -> Finding:
    """Whether the embedded model is there and unchanged."""
    from ..pipelines.storage import EMBEDDED, config_of
    from ..serialization.folder import load_config
    from ..serialization.manifest import verify_manifest

    remedy = "reinstall: pip install --force-reinstall opensora-core; or name another with --model"
    try:
        config_of(load_config(EMBEDDED))
        verify_manifest(EMBEDDED)
    except OpenSoraError as error:
        return Finding("embedded model", "fail", str(error), remedy)
    return Finding("embedded model", "ok", "there and intact")


def check_choice() -> Finding:
    """What `auto` and the environment stand for."""
    variables = {name: os.environ[f"OPENSORA_{name}"] for name in ("BACKEND", "DEVICE", "DTYPE") if _is_set(name)}
    text = f"--backend auto is {automatic()}"
    if variables:
        text += f" (OPENSORA_* set: {', '.join(f'{name}={value}' for name, value in variables.items())})"
    get_backend("auto")
    return Finding("choice", "ok", text)


def check_dtype() -> Finding:
    """What `--dtype auto` stands for, with the embedded model and with one as wide as STDiT3-XL/2."""
    from ..pipelines.opensora import OpenSora
    from ..precision import WIDTHS, choose_dtype

    name, config = automatic(), OpenSora.read_config()
    device = os.environ.get("OPENSORA_DEVICE") or backends()[name].device
    choices = {
        width: choose_dtype(name, device, width, n) for width, n in ((config.hidden_dim, config.num_heads), WIDTHS)
    }
    rows = [f"{choice.dtype} at {width} channels ({choice.reason})" for width, choice in choices.items()]
    return Finding("dtype", "ok", f"--dtype auto is {'; '.join(rows)}")


def check_package(name: str) -> Finding:
    """Version of a package this library needs."""
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "fail", "not installed", f"pip install {name}")


def check_needs(target: str) -> Iterator[Finding]:
    """What a backend itself has to say about this machine; target: "module:function"."""
    module, _, function = target.partition(":")
    for name, status, text, remedy in getattr(importlib.import_module(module), function)():
        yield Finding(name, status, text, remedy)


def check_backend(name: str) -> Finding:
    """Compute a little on a backend, on each device it has, and compare with NumPy in float64."""
    home = backends()[name].device
    title = f"backend {name}"
    if reason := missing_reason(name):
        text, remedy = with_remedy(reason)
        return Finding(title, "warn", f"{text}; optional", remedy)
    errors = {}
    for device in DEVICES:
        try:
            ops = get_backend(name, device=device, dtype="float32")
        except OpenSoraError as error:
            if device == home == "cpu":
                raise
            if device == home.partition(":")[0]:
                text, remedy = with_remedy(str(error))
                return Finding(title, "warn", f"{text}; optional", remedy)
            continue
        errors[device] = _relative_error(ops)
    text = ", ".join(f"{device} agrees with numpy to {error:.0e}" for device, error in errors.items())
    if wrong := [device for device, error in errors.items() if not error < TOLERANCE]:
        return Finding(title, "fail", text, f"reinstall {name}, or use another device than {', '.join(wrong)}")
    return Finding(title, "ok", text)


def _relative_error(ops: Any) -> float:
    """Relative error of a small computation through matmul, normalisation, softmax and activation."""
    import numpy as np

    from ..accuracy import relative_l2

    reference = get_backend("numpy", device="cpu", dtype="float64")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 32)), rng.standard_normal((32, 32)) / 6

    def compute(ops: Any, dtype: str) -> Any:
        a, b = ops.asarray(x, dtype), ops.asarray(w, dtype)
        h = ops.gelu(ops.linear(ops.layer_norm(a), b))
        return np.asarray(ops.to_numpy(ops.matmul(ops.softmax(ops.matmul(h, ops.permute_dims(h, (1, 0)))), h)))

    return relative_l2(compute(ops, "float32"), compute(reference, "float64"))


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever is broken here is what the user wants to know
        text = str(error) if isinstance(error, OpenSoraError) else f"{type(error).__name__}: {error}"
        return Finding(name, "fail", text.partition("\n")[0], "see the message; --debug of other verbs shows more")


def _is_set(name: str) -> bool:
    return bool(os.environ.get(f"OPENSORA_{name}"))


_CHECKS: dict[str, Callable[[], Finding]] = {
    "memory": check_memory,
    "temporary folder": check_temporary_folder,
    "h264": check_encoder,
    "embedded model": check_embedded,
    "choice": check_choice,
    "dtype": check_dtype,
}
