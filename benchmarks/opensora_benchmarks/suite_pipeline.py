"""The suite "pipeline": a video of the embedded model, stage by stage, on every backend.

Each call gets another prompt and seed. A result is held to what NumPy makes of the same in float32; NumPy's run also
counts the work, op by op.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from opensora_core import OpenSora
from opensora_core.interpose import FlopCounter
from opensora_core.ops import Ops
from opensora_core.pipelines.frames import to_frames
from opensora_core.pipelines.generation import Prompt, encode_prompt, sample_window, text_context

from .providers import Provider
from .suite_io import open_video
from .workload import Job, Workload, our_backend, within

COLORS, SHAPES, WAYS = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle"), ("left", "right", "up")
ALLOWED = {"float32": 1e-3, "float64": 1e-3, "bfloat16": 0.2, "float16": 0.05}
"""Relative distance to NumPy's result in float32 that rounding may leave after all denoising steps."""


def pipeline_workloads() -> Iterator[Workload]:
    """All of them."""
    config = _reference().config
    shape = {
        "frames": config.num_frames, "size": f"{config.height}x{config.width}", "steps": config.num_inference_steps,
    }  # fmt: skip
    for name, job in {"text": TextJob, "denoise": DenoiseJob, "decode": DecodeJob}.items():
        yield Workload("generation", f"embedded-{name}", "pipeline", _opener(job), True, shape)
    size = (config.num_frames, config.height, config.width)
    yield Workload(
        "generation", "embedded-mp4", "pipeline", lambda provider, dtype: open_video(provider, size), True, shape
    )


@functools.cache
def _reference() -> OpenSora:
    return OpenSora.from_pretrained(backend="numpy", dtype="float32")


class ModelJob:
    """A stage on a backend, as a function of (ops, model, what is drawn)."""

    flops = bytes = 0

    def __init__(self, ops: Ops, dtype: str) -> None:
        self._model, self._allowed = OpenSora.from_pretrained(backend=ops), ALLOWED[dtype]
        self._inputs: Any = None

    def prepare(self, rng: np.random.Generator) -> None:
        """Draw a prompt, a seed and latents."""
        color, form, way = (words[rng.integers(len(words))] for words in (COLORS, SHAPES, WAYS))
        latents = rng.standard_normal((1, *self.latent_shape()), np.float32)
        self._inputs = f"a {color} {form} moves {way}", int(rng.integers(2**31)), latents

    def latent_shape(self) -> tuple[int, ...]:
        """C, T, h, w of the model's own video."""
        config, parts = self._model.config, self._model._parts
        _, rows, columns = config.codec.block
        frames = parts.codec.latent_frames(config.num_frames)
        return config.codec.latent_channels, frames, config.height // rows, config.width // columns

    def stage(self, ops: Ops, model: OpenSora, prompt: str, seed: int, latents: Any) -> Any:
        """What is timed."""
        raise NotImplementedError

    def call(self) -> Any:
        """Run it."""
        return self.stage(self._model.ops, self._model, *self._inputs)

    def check(self, result: Any) -> float:
        """Compare with NumPy's result, whose ops are counted."""
        reference = _reference()
        counter = FlopCounter(reference.ops)
        wanted = self.stage(counter, reference, *self._inputs)
        self.flops, self.bytes = counter.total.flops, counter.total.bytes
        return within(_on_host(self._model.ops, result), _on_host(counter, wanted), self._allowed)


def _on_host(ops: Ops, result: Any) -> Any:
    return result if isinstance(result, np.ndarray) else ops.to_numpy(result)


class TextJob(ModelJob):
    """Text encoder, and the projections to every block's keys and values; shows the last block's keys."""

    def stage(self, ops: Ops, model: OpenSora, prompt: str, seed: int, latents: Any) -> Any:
        """Text in, keys out."""
        return _context(ops, model, prompt).keys_values[-1].keys


class DenoiseJob(ModelJob):
    """All denoising steps, with guidance."""

    def prepare(self, rng: np.random.Generator) -> None:
        """Encode the text ahead of time."""
        super().prepare(rng)
        self._context = _context(self._model.ops, self._model, self._inputs[0])

    def stage(self, ops: Ops, model: OpenSora, prompt: str, seed: int, latents: Any) -> Any:
        """Noise in, latents out."""
        context = self._context if model is self._model else _context(model.ops, model, prompt)
        _, frames, *size = latents.shape[1:]
        request = dataclasses.replace(model.request(), seed=seed)
        *_, last = sample_window(
            ops, model._parts, request, context, latent_frames=frames, latent_size=tuple(size), check_finite="off"
        )
        return last.latents


class DecodeJob(ModelJob):
    """The autoencoder's decoder."""

    def stage(self, ops: Ops, model: OpenSora, prompt: str, seed: int, latents: Any) -> Any:
        """Latents in, uint8 frames out."""
        config = model.config
        return to_frames(ops, model._parts, ops.asarray(latents), config.num_frames, config.height, config.width)


def _context(ops: Ops, model: OpenSora, prompt: str) -> Any:
    features = Prompt(*encode_prompt(ops, model._parts, [prompt]))
    return text_context(ops, model._parts, features, model.config.guidance_scale)


def _opener(job: Callable[[Ops, str], Job]) -> Callable[[Provider, str], Job]:
    return lambda provider, dtype: job(our_backend(provider), dtype)
