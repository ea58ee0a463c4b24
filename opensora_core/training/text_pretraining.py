"""Pretraining of the embedded text encoder: name every attribute of the scene that a caption describes.

The encoder is then frozen, as Open-Sora freezes T5: the denoiser trains on features in which each attribute is already
linearly readable.

python -m opensora_core.training.text_pretraining -o text.safetensors --backend torch
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..derived import mean
from ..module import rebuild, state_dict, to_backend, tree_map
from ..nn.init import RandomInit
from ..nn.layers import Linear
from ..ops import Array, Ops
from ..random import generator
from ..registry import get_backend
from ..synthetic.prompts import describe, vocabulary
from ..synthetic.scene import BACKGROUNDS, COLORS, MOTIONS, SHAPES, SIZES
from ..synthetic.world import FULL, Split, World
from ..text.encoder import TextEncoder, TextEncoderConfig
from ..text.tokenizer import WordTokenizer
from .optimizer import AdamW
from .text_file import save_text_encoder

CLASSES = {"shape": SHAPES, "color": COLORS, "background": BACKGROUNDS, "size": SIZES, "motion": MOTIONS}
Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class AttributeReader:
    """A text encoder with one linear classifier per attribute over its mean feature."""

    encoder: TextEncoder
    heads: tuple[Linear, ...]

    def losses(self, ops: Ops, batch: dict[str, Array]) -> tuple[Array, Array]:
        """Mean cross-entropy over samples and attributes, and the fraction of right answers per attribute [5]."""
        features = self.encoder(ops, batch["ids"], batch["mask"])  # (B, L, C)
        weights = ops.astype(batch["mask"], features.dtype)
        pooled = ops.sum(features * ops.reshape(weights, (*weights.shape, 1)), axis=1)
        pooled = pooled / ops.sum(weights, axis=1, keepdims=True)  # (B, C)
        total, right = [], []
        for i, head in enumerate(self.heads):
            probabilities = ops.softmax(head(ops, pooled))  # (B, classes)
            chosen = ops.sum(probabilities * batch[f"target{i}"], axis=1)  # (B,)
            total.append(mean(ops, ops.log(ops.maximum(chosen, 1e-9))))
            best = ops.equal(chosen, ops.max(probabilities, axis=1))
            right.append(ops.reshape(mean(ops, ops.astype(best, "float32")), (1,)))
        loss = total[0]
        for term in total[1:]:
            loss = loss + term
        return loss * (-1.0 / len(total)), ops.concat(right)


def pretrain(
    ops: Ops,
    encoder: TextEncoder,
    tokenizer: WordTokenizer,
    *,
    steps: int = 2000,
    batch_size: int = 64,
    world: World = FULL,
    seed: int = 0,
) -> Iterator[tuple[int, float, TextEncoder]]:
    """Train on captions of training scenes; yields (step, loss, encoder) every hundred steps and at the end."""
    init = RandomInit(seed + 1)
    heads = tuple(Linear.create(init, encoder.config.hidden_size, len(c)) for c in CLASSES.values())
    model = to_backend(ops, AttributeReader(encoder, heads))
    params = state_dict(model)
    optimizer = AdamW(learning_rate=1e-3)
    state = optimizer.init(ops, params)
    for step in range(1, steps + 1):
        batch = {k: ops.asarray(v) for k, v in caption_batch(tokenizer, world, seed, step, batch_size).items()}

        def loss_of(o: Ops, p: Mapping[str, Array], batch: dict[str, Array] = batch) -> Array:
            return rebuild(model, p).losses(o, batch)[0]

        loss, grads = ops.value_and_grad(loss_of, params)
        rate = min(1.0, step / 100, (steps - step + 1) / (0.3 * steps))
        params, state = optimizer.update(ops, params, grads, state, step, rate * optimizer.learning_rate)
        if step % 100 == 0 or step == steps:
            yield step, float(ops.to_numpy(loss)), rebuild(model, params).encoder


def caption_batch(
    tokenizer: WordTokenizer, world: World, seed: int, step: int, size: int, split: Split = "train"
) -> Batch:
    """Captions and one-hot attributes of one step; a fifth of the captions describe still images, without motion."""
    rng = generator(seed, f"captions/{split}", step)
    ids, masks, targets = [], [], [np.zeros((size, len(c)), np.float32) for c in CLASSES.values()]
    for row in range(size):
        scene = world.sample(rng, split)
        still_image = rng.random() < 0.2
        caption = describe(scene, rng, canonical=bool(rng.random() < 0.2), still_image=bool(still_image))
        numbers, mask = tokenizer.encode(caption)
        ids.append(numbers)
        masks.append(mask)
        for target, (attribute, classes) in zip(targets, CLASSES.items(), strict=True):
            value = "still" if attribute == "motion" and still_image else getattr(scene, attribute)
            target[row, classes.index(value)] = 1.0
    return {"ids": np.stack(ids), "mask": np.stack(masks), **{f"target{i}": t for i, t in enumerate(targets)}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save; the file is written anew at every report, so that training may be stopped at any time."""
    parser = argparse.ArgumentParser(description="Pretrain the embedded model's text encoder.")
    parser.add_argument("-o", "--output", default="text.safetensors", help="file to write")
    parser.add_argument("--backend", default="auto", help="tensor backend (default: torch if it is installed)")
    for name, default in (("steps", 3000), ("batch_size", 64), ("seed", 0)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args(arguments)
    ops, tokenizer = get_backend(options.backend), WordTokenizer(vocabulary())
    encoder = TextEncoder.create(TextEncoderConfig(len(tokenizer)), RandomInit(options.seed))
    sizes = {"steps": options.steps, "batch_size": options.batch_size, "seed": options.seed}
    for step, loss, trained in pretrain(ops, encoder, tokenizer, **sizes):
        save_text_encoder(tree_map(ops.to_numpy, trained), tokenizer, options.output)
        print(f"step {step}/{options.steps}: loss {loss:.5f}", flush=True)


if __name__ == "__main__":
    main()
