"""Batches of the synthetic world or of files, in an order fixed by the seed.

Batch i is the same whoever asks for it, and when, so that the number of workers and a restart change nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..dit.embedders import IMAGE_FPS
from ..random import generator
from ..schedulers.timesteps import training_timesteps
from ..synthetic.prompts import describe
from ..synthetic.world import Split
from ..text.tokenizer import WordTokenizer
from .masks import draw_mask
from .stages import Bucket, Stage

if TYPE_CHECKING:
    from .datasets.files import TrainingFiles
    from .recipe import Recipe

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Frames [B, T, H, W, 3] to latents [B, C, T', h, w]."""


@dataclass(frozen=True)
class Batch:
    """One training batch on the host, the bucket it belongs to, and the files its first samples are made of, if any."""

    bucket: Bucket
    arrays: dict[str, NDArray[Any]]
    files: tuple[str, ...] = ()


def make_batch(
    recipe: Recipe,
    step: int,
    tokenizer: WordTokenizer,
    encode: Encode,
    files: TrainingFiles | None = None,
    split: Split = "train",
) -> Batch:
    """Return the batch of global step `step`: clips, captions, noise, times, masks and dropped captions.

    files: of the stages that learn from files; their text comes encoded, as `text`, others as `ids`.
    split: the scenes of a world that are drawn from.
    """
    stage, _ = recipe.locate(step)
    rng = generator(recipe.seed, "batch", step)
    if files is not None and stage.data is not None:
        clips = files.clips(step)
        if count := stage.rendered(clips.bucket):
            frames, captions, fps = _draw_clips(stage, clips.bucket, count, rng, split)
            clips = files.and_rendered(clips, encode(frames), captions, fps)
        _, text_mask = tokenizer.encode_batch(clips.captions)
        text = {"text": clips.text, "text_mask": text_mask}
        arrays = _arrays(recipe, stage, clips.bucket, rng, clips.latents, text, clips.fps)
        return Batch(clips.bucket, arrays, clips.names)
    bucket = _draw_bucket(stage, rng)
    frames, captions, fps = _draw_clips(stage, bucket, bucket.batch_size, rng, split)
    ids, text_mask = tokenizer.encode_batch(captions)
    text = {"ids": ids, "text_mask": text_mask}
    return Batch(bucket, _arrays(recipe, stage, bucket, rng, encode(frames), text, fps))


def parts(batch: Batch, count: int) -> list[tuple[Batch, float]]:
    """A batch cut into so many parts, fewer if it has not as many samples, each with its share of the samples."""
    total = len(batch.arrays["t"])
    cut = {name: np.array_split(array, min(count, total)) for name, array in batch.arrays.items()}
    columns = zip(*cut.values(), strict=True)
    made = [replace(batch, arrays=dict(zip(cut, arrays, strict=True))) for arrays in columns]
    return [(part, len(part.arrays["t"]) / total) for part in made]


def _arrays(
    recipe: Recipe,
    stage: Stage,
    bucket: Bucket,
    rng: np.random.Generator,
    latents: NDArray[np.float32],
    text: dict[str, NDArray[Any]],
    fps: list[float],
) -> dict[str, NDArray[Any]]:
    n, T = latents.shape[0], latents.shape[2]
    arrays: dict[str, NDArray[Any]] = {
        "latents": latents,
        "noise": rng.standard_normal(latents.shape, dtype=np.float32),
        "t": training_timesteps(rng, n, method=recipe.timestep_method, ratio=recipe.shift(bucket)),
        **text,
        "fps": np.asarray(fps, np.float32),
        "drop": np.asarray(rng.random(n) < stage.caption_dropout),
    }
    if T > 1:
        arrays["x_mask"] = np.stack([draw_mask(rng, T, stage.mask_ratios) for _ in range(n)])
    return arrays


def _draw_bucket(stage: Stage, rng: np.random.Generator) -> Bucket:
    weights = np.array([b.weight for b in stage.buckets])
    return stage.buckets[rng.choice(len(weights), p=weights / weights.sum())]


def _draw_clips(
    stage: Stage, bucket: Bucket, count: int, rng: np.random.Generator, split: Split
) -> tuple[NDArray[np.uint8], list[str], list[float]]:
    still_image = bucket.num_frames == 1
    clips, captions, rates = [], [], []
    for _ in range(count):
        world = stage.scenes(rng)
        scene = world.sample(rng, split)
        fps = float(bucket.fps[rng.integers(len(bucket.fps))])
        start = float(rng.random() * 2) if still_image else 0.0  # an image shows any moment of the motion
        size = {"num_frames": bucket.num_frames, "height": bucket.height, "width": bucket.width}
        clips.append(world.render(scene, rng, fps=fps, start=start, **size))
        canonical = bool(rng.random() < 0.3)
        captions.append(describe(scene, rng, canonical=canonical, still_image=still_image))
        rates.append(IMAGE_FPS if still_image else fps)
    return np.stack(clips), captions, rates


def prefetch(
    make: Callable[[int], Batch], first: int, stop: int, depth: int = 4, workers: int = 1
) -> Generator[Batch, None, None]:
    """Yield make(first), ..., make(stop - 1) in order, prepared ahead by threads, which end with the generator.

    At most `depth` batches wait while each worker makes one more. An exception in `make` is raised here, after the
    batches before it.
    """
    steps = iter(range(first, stop))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    try:
        ahead = deque(pool.submit(make, step) for step in islice(steps, depth + workers))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(make, step) for step in islice(steps, 1))
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
