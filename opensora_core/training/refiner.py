"""Training of a block codec's refiner: the latents and the linear decoder stay as they are, only the correction learns.

python -m opensora_core.training.refiner codec.safetensors -o refined.safetensors --backend torch
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..derived import mean
from ..errors import NonFiniteError
from ..module import rebuild, state_dict
from ..nn.init import RandomInit
from ..ops import Array, Ops
from ..random import generator
from ..registry import get_backend
from ..synthetic import FULL, World
from ..vae.block_codec import BlockCodec, to_blocks
from ..vae.block_pca import latent_spread
from ..vae.pixels import from_frames
from ..vae.refiner import Refiner
from .codec_file import load_codec, save_codec
from .optimizer import AdamW, ema_update

Floats = NDArray[np.float32]
Pairs = tuple[Floats, Floats]
"""Latents, and what their decoding lacks."""


@dataclass(frozen=True)
class RefinerRecipe:
    """How a refiner is trained.

    noise: up to this share of each channel's own spread is added to the latents of three clips in five, for a
    denoiser's latents are never perfect. window: side in blocks of the part of each clip that is learned from, drawn
    where something happens. softness: errors well below it (in pixel values from -1 to 1) count squared, others
    absolutely.
    """

    steps: int = 4000
    batch_size: int = 8
    width: int = 128
    depth: int = 2
    learning_rate: float = 2e-3
    noise: float = 0.2
    window: int = 5
    softness: float = 0.03
    seed: int = 0


def train_refiner(
    ops: Ops, codec: BlockCodec, recipe: RefinerRecipe, world: World = FULL
) -> Iterator[tuple[int, float, BlockCodec]]:
    """Train a fresh refiner on clips of training scenes, as `improve_refiner` does.

    codec: its components, in NumPy; a refiner it already has is replaced.
    """
    fresh = with_fresh_refiner(codec, recipe)
    return improve_refiner(ops, fresh, recipe, lambda step: refiner_batch(codec, recipe, step, world))


def improve_refiner(
    ops: Ops, codec: BlockCodec, recipe: RefinerRecipe, batch: Callable[[int], Pairs]
) -> Iterator[tuple[int, float, BlockCodec]]:
    """Train the refiner that a codec has; yields (step, loss, refined codec) every hundred steps and at the end.

    batch(step), from 1 on: latents [B, C, T', h, w] and the blocks [B, T', h, w, D] missing from their decoding. The
    codec yielded is in NumPy, with averaged weights. Raises NonFiniteError when the loss stops being a number.
    """
    params = {name: ops.asarray(p, "float32") for name, p in state_dict(codec.refiner).items()}
    optimizer = AdamW(recipe.learning_rate)
    moments, average = optimizer.init(ops, params), params
    for step in range(1, recipe.steps + 1):
        latents, target = (ops.asarray(a) for a in batch(step))
        loss, grads = ops.value_and_grad(_objective(codec, latents, target, recipe.softness), params)
        rate = min(1.0, step / min(50, 0.1 * recipe.steps)) * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        params, moments = optimizer.update(ops, params, grads, moments, step, rate * recipe.learning_rate)
        average = ema_update(ops, average, params, min(0.99, step / (10 + step)))
        if step % 100 == 0 or step == recipe.steps:
            value = float(ops.to_numpy(loss))
            if not np.isfinite(value):
                raise NonFiniteError(f"the refiner's loss is {value} at step {step}")
            weights = {name: ops.to_numpy(p) for name, p in average.items()}
            yield step, value, replace(codec, refiner=rebuild(codec.refiner, weights))


def with_fresh_refiner(codec: BlockCodec, recipe: RefinerRecipe) -> BlockCodec:
    """The same codec with a refiner that corrects nothing yet."""
    config = replace(codec.config, refiner_width=recipe.width, refiner_depth=recipe.depth)
    init = RandomInit(recipe.seed)
    refiner = Refiner.create(init, config.latent_channels, recipe.width, recipe.depth, config.block_size)
    return replace(codec, config=config, refiner=refiner)


def refiner_batch(codec: BlockCodec, recipe: RefinerRecipe, step: int, world: World) -> Pairs:
    """Latents [B, C, T', n, n], some of them noisy, and the blocks [B, T', n, n, D] still missing from their decoding.

    Both are windows of clips of 17 frames at 8 fps and 64x64 pixels.
    """
    numpy = get_backend("numpy", device="cpu", dtype="float32")  # whatever the environment says
    rng = generator(recipe.seed, "refiner", step)
    frames = np.stack([world.render(world.sample(rng, "train"), rng) for _ in range(recipe.batch_size)])
    video = from_frames(frames)
    latents = codec.encode(numpy, video)
    sigma = rng.uniform(0, recipe.noise, len(latents)) * (rng.random(len(latents)) < 0.6)
    noise = rng.standard_normal(latents.shape, dtype=np.float32) * latent_spread(codec)[:, None, None, None]
    noisy = latents + sigma.astype(np.float32)[:, None, None, None, None] * noise
    return missing_blocks(codec, latents, noisy, video, recipe.window, rng)


def missing_blocks(
    codec: BlockCodec, latents: Floats, seen: Floats, video: Floats, window: int, rng: np.random.Generator
) -> Pairs:
    """Windows of what a decoder sees, and the blocks that its linear part leaves to be corrected.

    latents: of the video [B, 3, T, H, W]; seen: what a denoiser or noise made of them, both [B, C, T', h, w].
    """
    numpy = get_backend("numpy", device="cpu", dtype="float32")
    blocks = to_blocks(numpy, video, codec.config.block)  # (B, T', h, w, D)
    corners, n = [_window(clip, window, rng) for clip in latents], window
    seen = np.stack([z[..., i : i + n, j : j + n] for z, (i, j) in zip(seen, corners, strict=True)])
    blocks = np.stack([b[:, i : i + n, j : j + n] for b, (i, j) in zip(blocks, corners, strict=True)])
    return seen, blocks - replace(codec, refiner=None).decode_blocks(numpy, seen)


def _window(latents: Floats, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Corner of a window around a block of [C, T', h, w], drawn by how much more than plain colour the blocks hold."""
    height, width = latents.shape[2:]
    detail = np.square(latents[3:]).sum(axis=(0, 1)).ravel() + 1e-3
    row, column = divmod(int(rng.choice(detail.size, p=detail / detail.sum())), width)
    return _clip(row - size // 2, height - size), _clip(column - size // 2, width - size)


def _clip(corner: int, last: int) -> int:
    return max(0, min(corner, last))


def _objective(
    refined: BlockCodec, latents: Array, target: Array, softness: float
) -> Callable[[Ops, Mapping[str, Array]], Array]:
    """Charbonnier loss (Charbonnier et al. 1994) of the correction: the mean of sqrt(error² + softness²)."""

    def objective(ops: Ops, params: Mapping[str, Array]) -> Array:
        refiner = cast(Refiner, rebuild(refined.refiner, params))
        error = refiner(ops, latents) - target
        return mean(ops, ops.sqrt(error * error + softness**2))

    return objective


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save; the file is written anew at every report, so that training may be stopped at any time."""
    default = RefinerRecipe()
    parser = argparse.ArgumentParser(description="Train a refiner for a block codec.")
    parser.add_argument("codec", help="file of `python -m opensora_core.training.fit_codec`")
    parser.add_argument("-o", "--output", default="refined.safetensors", help="file to write")
    parser.add_argument("--backend", default="auto", help="tensor backend (default: torch if it is installed)")
    numbers = ("steps", "batch_size", "width", "depth", "seed")
    for name in numbers:
        value = getattr(default, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"default {value}")
    options = parser.parse_args(arguments)
    recipe = replace(default, **{name: getattr(options, name) for name in numbers})
    for step, loss, refined in train_refiner(get_backend(options.backend), load_codec(options.codec), recipe):
        save_codec(refined, options.output)
        print(f"step {step}/{recipe.steps}: loss {loss:.5f}", flush=True)


if __name__ == "__main__":
    main()
