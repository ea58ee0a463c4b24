"""What a model is, apart from what it does: weights on a backend, and how they are kept, loaded and copied."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import number
from ..errors import InvalidInputError
from ..module import named_leaves, num_parameters, rebuild, state_dict
from ..nn.init import RandomInit
from ..nn.lora import attach, merged
from ..ops import Ops
from ..precision import dtype_facts
from ..registry import get_backend
from ..serialization.folder import from_bytes, load_config, load_folder, save_folder, to_bytes
from ..serialization.state import StateDifference, check_state
from ..training.lora import read_lora
from . import storage
from .components import Components
from .config import OpenSoraConfig
from .learning import InPlaceOptimizer


class Pretrained:
    """The weights of a model; `OpenSora` adds what is done with them."""

    def __init__(
        self,
        config: OpenSoraConfig | None = None,
        *,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
    ) -> None:
        config = config or OpenSoraConfig()
        self.ops = backend_of(backend, device, dtype, (config.hidden_dim, config.num_heads))
        self._loaded: Components | None = Components.create(config, RandomInit(seed)).on(self.ops)
        self._optimizer: InPlaceOptimizer | None = None

    @property
    def _parts(self) -> Components:
        if self._loaded is None:
            raise InvalidInputError("this model was closed; load it again")
        return self._loaded

    @property
    def config(self) -> OpenSoraConfig:
        """Shape and defaults of the model."""
        return self._parts.config

    @property
    def num_parameters(self) -> int:
        """How many numbers the model holds."""
        return num_parameters(self._parts)

    @property
    def metadata(self) -> dict[str, Any]:
        """What this model is: architecture, parameters by part, dtype, backend, device, configuration."""
        parts = ("denoiser", "text_encoder", "codec")
        return {
            "architecture": self.config.architecture,
            "parameters": {name: num_parameters(getattr(self._parts, name)) for name in parts},
            **dtype_facts(self.ops),
            "backend": self.ops.name,
            "device": self.ops.device,
            "config": self.config.to_dict(),
        }

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All weights as read-only NumPy arrays under their dotted names."""
        return dict(self.iter_state())

    def iter_state(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """What `state_dict` holds, one after the other: at most one is copied to the host at a time."""
        for name, own in named_leaves(self._parts):
            array = self.ops.to_numpy(own).view()
            array.flags.writeable = False  # on the host they are the model's own memory
            yield name, array

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> StateDifference:
        """Take weights by name; missing, unexpected and misshapen ones are errors that list them.

        strict=False keeps the present weight where one is missing and ignores unexpected ones; both are returned.
        """
        own = state_dict(self._parts)
        difference = check_state(storage.shapes(own), storage.shapes(state), strict=strict)
        taken = {n: self.ops.asarray(_own(state[n]), a.dtype) if n in state else a for n, a in own.items()}
        self._loaded, self._optimizer = rebuild(self._parts, taken), None
        return difference

    def load_lora(self, path: str | Path, scale: float = 1.0) -> list[str]:
        """Merge adapters of the denoiser from a file into its weights; returns the names of the layers they change.

        Every W becomes W + scale · (alpha / rank) · B · A, rounded to the model's dtype, so that generating costs
        nothing extra, `save` writes a whole model, and several files may be merged. To have the model without them,
        keep a `copy.copy` of it, which costs nothing. The optimizer of `train_step` begins anew.
        Raises InvalidInputError if there is no such file, FileFormatError if it holds no LoRA, WeightsError if that is
        of another model; all change nothing.
        """
        weight = number("scale", scale, -1000)
        adapters = {n: a._replace(alpha=a.alpha * weight) for n, a in read_lora(path, self.ops).items()}
        denoiser = merged(self.ops, attach(self._parts.denoiser, adapters))
        self._loaded, self._optimizer = replace(self._parts, denoiser=denoiser), None
        return list(adapters)

    def save(self, folder: str | Path, *, dtype: str | None = None) -> Path:
        """Write config and weights into a folder, whole or not at all; `dtype` stores them in another precision."""
        save_folder(folder, storage.header(self.config), storage.stored(self.state_dict(), dtype))
        return Path(folder)

    def to_bytes(self, *, dtype: str | None = None) -> bytes:
        """Everything in one deterministic block of bytes (a safetensors file)."""
        return to_bytes(storage.header(self.config), storage.stored(self.state_dict(), dtype))

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
    ) -> Self:
        """Load a model from a folder that `save` wrote; without a source, the embedded model.

        Raises InvalidInputError if there is nothing there, FileFormatError if it is damaged, WeightsError if the
        weights do not fit the configuration.
        """
        return cls._of(*load_folder(storage.EMBEDDED if source is None else source), backend, device, dtype)

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Self:
        """Load what `save` wrote; options as for `from_pretrained`."""
        return cls.from_pretrained(folder, **options)

    @classmethod
    def from_config(cls, config: OpenSoraConfig, **options: Any) -> Self:
        """A new model with random weights; options as for the constructor."""
        return cls(config, **options)

    @classmethod
    def from_bytes(
        cls, data: bytes, *, backend: str | Ops = "auto", device: str | None = None, dtype: str | None = None
    ) -> Self:
        """Load what `to_bytes` gave."""
        return cls._of(*from_bytes(data), backend, device, dtype)

    @staticmethod
    def read_config(source: str | Path | None = None) -> OpenSoraConfig:
        """Read the configuration in a model folder, without its weights."""
        return storage.config_of(load_config(storage.EMBEDDED if source is None else source))

    @classmethod
    def _of(
        cls,
        header: Mapping[str, Any],
        tensors: Mapping[str, Any],
        backend: str | Ops,
        device: str | None,
        dtype: str | None,
    ) -> Self:
        config = storage.config_of(header)
        ops = backend_of(backend, device, dtype, (config.hidden_dim, config.num_heads))
        model = cls.__new__(cls)
        model.ops, model._loaded, model._optimizer = ops, storage.assemble(header, tensors, ops), None
        return model

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.ops, twin._loaded, twin._optimizer = self.ops, self._parts, None  # weights never change in place
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        own = {name: self.ops.asarray(np.array(array)) for name, array in self.state_dict().items()}
        twin._loaded = rebuild(self._parts, own)
        memo[id(self)] = twin
        return twin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the weights; the model cannot be used afterwards, and closing it again does nothing."""
        self._loaded = self._optimizer = None


def backend_of(backend: str | Ops, device: str | None, dtype: str | None, widths: tuple[int, int] | None = None) -> Ops:
    """A backend by name, or one that is given and to which device and dtype must not be said otherwise.

    widths: of the model, where dtype "auto" should heed them, see `get_backend`.
    """
    if not isinstance(backend, Ops):
        return get_backend(backend, device=device, dtype=dtype, widths=widths)
    for name, asked in (("device", device), ("dtype", dtype)):
        if asked not in (None, getattr(backend, name)):
            raise InvalidInputError(
                f"{name}={asked!r} was asked for, but the backend given has {name} {getattr(backend, name)!r}: "
                "name the backend instead, or leave it out"
            )
    return backend


def _own(array: Any) -> Any:
    return np.array(array) if isinstance(array, np.ndarray) else array  # what the caller may change later is copied
