"""Sampling on several devices by torch.distributed: the tokens of long videos, or the halves of guidance, shared out.

The processes are those of the default group (`torch.distributed.init_process_group`); all call the model alike, with
the same arguments and seed, and all get the whole result. For sampling only: the exchange carries no gradients.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.distributed as dist

from opensora_core.checks import one_of
from opensora_core.dit.blocks import STDiT3Block
from opensora_core.dit.captions import TextContext
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.nn.attention import KeysValues
from opensora_core.ops import Array, Ops, Pattern
from opensora_core.pipelines.opensora import OpenSora

from .torch_ops import TorchOps
from .torch_team import all_gather


def parallel(model: OpenSora, how: Literal["sequence", "guidance"]) -> OpenSora:
    """Return a model of the same weights that shares each step of sampling among all processes.

    how: "sequence" shares the tokens of every frame (DeepSpeed-Ulysses, Jacobs et al. 2023), and with them the memory
    of activations; the number of heads must be a multiple of the processes. "guidance" shares the rows of a guided
    batch, so that one of two processes computes the half with the prompt and the other the half without; steps
    whose rows cannot be shared evenly, such as those outside the model's guidance interval, all compute whole.
    Raises InvalidInputError without a process group, for another backend, and for heads or a denoiser that cannot be
    shared.
    """
    ways = {"sequence": SequenceParallel, "guidance": GuidanceParallel}
    one_of("how", how, list(ways))
    if not isinstance(model.ops, TorchOps):
        raise InvalidInputError(f"a model on {model.ops.name!r} computes in one process: load it with backend='torch'")
    if not (dist.is_available() and dist.is_initialized()):
        raise InvalidInputError("there is no process group: call torch.distributed.init_process_group under torchrun")
    denoiser = model._parts.denoiser
    if type(denoiser) is not STDiT3:
        raise InvalidInputError(
            f"the denoiser is a {type(denoiser).__name__}; only a plain STDiT3 can be shared out, once"
        )
    heads = denoiser.config.num_heads
    if how == "sequence" and heads % dist.get_world_size():
        raise InvalidInputError(f"num_heads={heads} must be a multiple of the {dist.get_world_size()} processes")
    twin = copy.copy(model)
    twin._loaded = replace(model._parts, denoiser=ways[how](**vars(denoiser)), compiled=None)
    return twin


# ---------------------------------------------------------------------- rows


@dataclass(frozen=True)
class GuidanceParallel(STDiT3):
    """The denoiser with the rows of a batch shared out."""

    def denoise(
        self, ops: Ops, x: Array, timestep: Array, text: TextContext, x_mask: Any = None, fps: Any = None, *size: float
    ) -> Array:
        if x.shape[0] % dist.get_world_size():
            return super().denoise(ops, x, timestep, text, x_mask, fps, *size)
        kv = tuple(KeysValues(_own(keys), _own(values)) for keys, values in text.keys_values)
        text = TextContext(kv, *(None if a is None else _own(a) for a in (text.mask, text.pooled)))
        fps = _own(fps) if fps is not None and fps.shape[0] == x.shape[0] else fps
        x_mask = None if x_mask is None else _own(x_mask)
        return _whole(super().denoise(ops, _own(x), _own(timestep), text, x_mask, fps, *size))


# ---------------------------------------------------------------------- tokens


@dataclass(frozen=True)
class SequenceParallel(STDiT3):
    """The denoiser with the tokens of every frame shared out between its first block and its last."""

    def denoise(
        self, ops: Ops, x: Array, timestep: Array, text: TextContext, x_mask: Any = None, fps: Any = None, *size: float
    ) -> Array:
        _, rows, columns = self.config.patch_size
        tokens = math.ceil(x.shape[3] / rows) * math.ceil(x.shape[4] / columns)
        return super().denoise(UlyssesOps(ops, tokens), x, timestep, text, x_mask, fps, *size)

    def blocks(self) -> list[STDiT3Block]:
        first, *between, last = super().blocks()
        return [Scattering(**vars(first)), *between, Gathering(**vars(last))]


class Scattering(STDiT3Block):
    """A block that takes all tokens and gives this process's."""

    def __call__(self, ops: Ops, x: Array, *conditions: Any) -> Array:
        size = dist.get_world_size()
        padded = ops.pad(x, (0,) * 4, (0, 0, -x.shape[2] % size, 0), (0,) * 4)
        return super().__call__(ops, _own(padded, axis=2), *conditions)  # (B, T, S/n, C)


class Gathering(STDiT3Block):
    """A block that takes this process's tokens and gives all."""

    def __call__(self, ops: Ops, x: Array, *conditions: Any) -> Array:
        x = super().__call__(ops, x, *conditions)
        parts = _whole(x.unsqueeze(0))  # (n, B, T, S/n, C)
        return torch.cat(list(parts), dim=2)[:, :, : ops.tokens]


class UlyssesOps(TorchOps):
    """Torch, where each process holds some tokens of every frame, and attention among them some heads of all tokens."""

    def __init__(self, ops: Ops, tokens: int) -> None:
        super().__init__(ops.device, ops.dtype)
        self.tokens = tokens  # of a frame, without what fills them up to equal parts

    def attention_3d(
        self,
        qkv: Array,
        pattern: Pattern,
        q_norm: Array | None = None,
        k_norm: Array | None = None,
        cos: Array | None = None,
        sin: Array | None = None,
    ) -> Array:
        if pattern == "temporal":  # each place is whole in one process
            return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)
        n = dist.get_world_size()
        B, T, s, _, H, D = qkv.shape
        by_heads = qkv.reshape(B, T, s, 3, n, H // n, D).permute(4, 0, 1, 2, 3, 5, 6)
        qkv = _exchanged(by_heads).permute(1, 2, 0, 3, 4, 5, 6).reshape(B, T, n * s, 3, H // n, D)
        out = super().attention_3d(qkv[:, :, : self.tokens], pattern, q_norm, k_norm, cos, sin)
        out = self.pad(out, (0,) * 5, (0, 0, n * s - self.tokens, 0, 0), (0,) * 5)
        by_tokens = out.reshape(B, T, n, s, H // n, D).permute(2, 0, 1, 3, 4, 5)
        return _exchanged(by_tokens).permute(1, 2, 3, 0, 4, 5).reshape(B, T, s, H, D)


# ---------------------------------------------------------------------- exchange


def _own(x: Array, axis: int = 0) -> Array:
    """This process's part along an axis, which the processes share evenly."""
    share = x.shape[axis] // dist.get_world_size()
    return x.narrow(axis, dist.get_rank() * share, share)


def _whole(part: Array) -> Array:
    """The parts of all processes along the first axis."""
    whole = part.new_empty((part.shape[0] * dist.get_world_size(), *part.shape[1:]))
    all_gather(whole, _plain(part))
    return whole


def _exchanged(parts: Array) -> Array:
    """From parts [n, ...], one for each process, to those that the others have for this one."""
    parts = _plain(parts)
    received = torch.empty_like(parts)
    dist.all_to_all_single(received, parts)
    return received


def _plain(x: Array) -> Array:
    if x.requires_grad:
        raise InvalidInputError("a model of `parallel` samples only: gradients would end at the exchange")
    return x.contiguous()
