"""Batches of the synthetic world, in an order fixed by the seed: batch i is the same whoever asks for it, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.embedders import IMAGE_FPS
from ..random import generator
from ..schedulers.timesteps import training_timesteps
from ..synthetic.prompts import describe
from ..text.tokenizer import WordTokenizer
from .masks import draw_mask
from .recipe import Bucket, Recipe, Stage

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Frames [B, T, H, W, 3] to latents [B, C, T', h, w]."""


@dataclass(frozen=True)
class Batch:
    """One training batch on the host and the bucket it belongs to."""

    bucket: Bucket
    arrays: dict[str, NDArray[Any]]


def make_batch(recipe: Recipe, step: int, tokenizer: WordTokenizer, encode: Encode) -> Batch:
    """Return the batch of global step `step`: clips, captions, noise, times, masks and dropped captions."""
    stage, _ = recipe.locate(step)
    rng = generator(recipe.seed, "batch", step)
    bucket = _draw_bucket(stage, rng)
    frames, captions, fps = _draw_clips(stage, bucket, rng)
    latents = encode(frames)
    ids, text_mask = tokenizer.encode_batch(captions)
    n, T = latents.shape[0], latents.shape[2]
    arrays: dict[str, NDArray[Any]] = {
        "latents": latents,
        "noise": rng.standard_normal(latents.shape, dtype=np.float32),
        "t": training_timesteps(rng, n, ratio=recipe.timestep_shift),
        "ids": ids,
        "text_mask": text_mask,
        "fps": np.asarray(fps, np.float32),
        "drop": np.asarray(rng.random(n) < stage.caption_dropout),
    }
    if T > 1:
        arrays["x_mask"] = np.stack([draw_mask(rng, T, stage.mask_ratios) for _ in range(n)])
    return Batch(bucket, arrays)


def _draw_bucket(stage: Stage, rng: np.random.Generator) -> Bucket:
    weights = np.array([b.weight for b in stage.buckets])
    return stage.buckets[rng.choice(len(weights), p=weights / weights.sum())]


def _draw_clips(
    stage: Stage, bucket: Bucket, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[str], list[float]]:
    world = stage.scenes()
    still_image = bucket.num_frames == 1
    clips, captions, rates = [], [], []
    for _ in range(bucket.batch_size):
        scene = world.sample(rng, "train")
        fps = float(bucket.fps[rng.integers(len(bucket.fps))])
        start = float(rng.random() * 2) if still_image else 0.0  # an image shows any moment of the motion
        size = {"num_frames": bucket.num_frames, "height": bucket.height, "width": bucket.width}
        clips.append(world.render(scene, rng, fps=fps, start=start, **size))
        canonical = bool(rng.random() < 0.3)
        captions.append(describe(scene, rng, canonical=canonical, still_image=still_image))
        rates.append(IMAGE_FPS if still_image else fps)
    return np.stack(clips), captions, rates


def prefetch(make: Callable[[int], Batch], first: int, stop: int, depth: int = 4) -> Generator[Batch, None, None]:
    """Yield make(first), ..., make(stop - 1), prepared ahead by one thread, which ends with the generator.

    An exception in `make` is raised here, after the batches before it.
    """
    queue: Queue[Batch | BaseException] = Queue(depth)
    done = threading.Event()

    def work() -> None:
        try:
            for step in range(first, stop):
                if done.is_set():
                    return
                queue.put(make(step))
        except BaseException as error:  # handed to the consumer, who raises it
            queue.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(first, stop):
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        done.set()
        while not queue.empty():  # makes room for what the thread is putting; it then sees that it is done
            queue.get_nowait()
        thread.join()
