"""What a model's denoiser leaves blurred, its autoencoder's refiner learns to draw sharply.

python -m opensora_core.pipelines.refining MODEL -o REFINED --backend torch
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from ..errors import InvalidInputError
from ..module import state_dict, to_backend, tree_map
from ..ops import Array
from ..random import generator
from ..registry import get_backend
from ..schedulers.rectified_flow import add_noise, guided
from ..synthetic import EASY, FULL, World
from ..synthetic.prompts import describe
from ..training.refiner import Floats, Pairs, RefinerRecipe, improve_refiner, missing_blocks, refiner_batch
from ..vae.block_codec import BlockCodec
from ..vae.pixels import from_frames
from .generation import Prompt, encode_prompt, predict_velocity, text_context
from .opensora import OpenSora

TIMES = (50.0, 600.0)
"""Timesteps that clips are noised to before the denoiser gives them back: late in sampling details are settled."""

GUIDANCE = (1.0, 3.0)
CLEAN_EVERY = 4
"""One batch in so many is of latents as they are, or a little noisy, of the full world: those must decode as before."""


def refine(model: OpenSora, recipe: RefinerRecipe, world: World = EASY) -> Iterator[tuple[int, float, OpenSora]]:
    """Go on training a model's refiner on what its denoiser makes; yields (step, loss, model) every hundred steps.

    Everything but the refiner stays as it is. Raises InvalidInputError if there is none.
    """
    numpy = get_backend("numpy", device="cpu", dtype="float32")
    codec = to_backend(numpy, tree_map(model.ops.to_numpy, model._parts.codec))
    if codec.refiner is None:
        raise InvalidInputError("the model's autoencoder has no refiner: train one with opensora_core.training.refiner")

    def batch(step: int) -> Pairs:
        if step % CLEAN_EVERY == 0:
            return refiner_batch(codec, recipe, step, FULL)
        return denoised_batch(model, codec, recipe, step, world)

    for step, loss, refined in improve_refiner(model.ops, codec, recipe, batch):
        yield step, loss, _with_codec(model, refined)


def denoised_batch(model: OpenSora, codec: BlockCodec, recipe: RefinerRecipe, step: int, world: World) -> Pairs:
    """Like `refiner_batch`, of latents that the denoiser gave back in one step; codec: the model's, in NumPy."""
    numpy = get_backend("numpy", device="cpu", dtype="float32")
    rng = generator(recipe.seed, "refining", step)
    scenes = [world.sample(rng, "train") for _ in range(recipe.batch_size)]
    video = from_frames(np.stack([world.render(scene, rng) for scene in scenes]))
    latents = codec.encode(numpy, video)
    prompts = [describe(scene, rng, canonical=bool(rng.random() < 0.3)) for scene in scenes]
    return missing_blocks(codec, latents, _denoised(model, latents, prompts, rng), video, recipe.window, rng)


def _denoised(model: OpenSora, latents: Floats, prompts: list[str], rng: np.random.Generator) -> Floats:
    """The guided guess of the clean latents [B, C, T', h, w] at one late timestep."""
    ops, parts, config = model.ops, model._parts, model.config
    timestep, scale = float(rng.uniform(*TIMES)), float(rng.uniform(*GUIDANCE))
    x0, noise = ops.asarray(latents), ops.asarray(rng.standard_normal(latents.shape, dtype=np.float32))
    z = add_noise(ops, x0, noise, ops.full((latents.shape[0],), timestep))
    height, width = (n * size for n, size in zip(latents.shape[3:], config.codec.block[1:], strict=True))

    context = text_context(ops, parts, Prompt(*encode_prompt(ops, parts, prompts)), scale)

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        return predict_velocity(ops, parts, z, timestep, context, x_mask, config.fps, height, width)

    v = guided(ops, predict, scale, latents.shape[1])(z, timestep, None)
    return np.asarray(ops.to_numpy(z + (timestep / 1000) * v), np.float32)


def _with_codec(model: OpenSora, codec: BlockCodec) -> OpenSora:
    refined = copy(model)
    refined.load_state_dict({**model.state_dict(), **{f"codec.{name}": a for name, a in state_dict(codec).items()}})
    return refined


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save; the folder is written anew every five hundred steps."""
    default = replace(RefinerRecipe(), steps=3000, learning_rate=1e-3)
    parser = argparse.ArgumentParser(description="Teach a model's refiner what its denoiser leaves blurred.")
    parser.add_argument("model", nargs="?", help="model folder; the embedded one unless given")
    parser.add_argument("-o", "--output", required=True, help="model folder to write")
    parser.add_argument("--backend", default="auto", help="tensor backend (default: torch if it is installed)")
    parser.add_argument("--dtype", help="of the weights that are written, such as float16 (default: as computed)")
    numbers = ("steps", "batch_size", "seed")
    for name in numbers:
        value = getattr(default, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"default {value}")
    options = parser.parse_args(arguments)
    recipe = replace(default, **{name: getattr(options, name) for name in numbers})
    model = OpenSora.from_pretrained(options.model, backend=options.backend, dtype="float32")
    for step, loss, refined in refine(model, recipe):
        if step % 500 == 0 or step == recipe.steps:
            refined.save(options.output, dtype=options.dtype)
        print(f"step {step}/{recipe.steps}: loss {loss:.5f}", flush=True)


if __name__ == "__main__":
    main()
