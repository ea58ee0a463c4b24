"""What a block codec lets through: the ceiling of any denoiser that works on its latents.

python -m opensora_core.training.judge_codec codec.safetensors --clips 150 --noise 0.1
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..media.video import psnr
from ..ops import Ops
from ..random import generator
from ..registry import get_backend
from ..synthetic import EASY, FULL, Adherence, World, score
from ..vae.block_codec import BlockCodec
from ..vae.block_pca import latent_spread
from ..vae.pixels import from_frames, to_frames
from .codec_file import load_codec

WORLDS = {
    "easy": EASY,
    "easy, free placement": replace(EASY, free_placement=1.0),
    "full": FULL,
    "full, small shapes": replace(
        FULL, sizes=("small",), motions=tuple(m for m in FULL.motions if m not in ("grow", "shrink"))
    ),
}
"""Scenes to judge by; what grows or shrinks is never small."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean PSNR in dB over clips of 17 frames and 64x64 pixels, and what the rule-based reader still reads of them.

    Equal clips, whose PSNR is infinite, count as 100 dB.
    """

    psnr: float
    adherence: Adherence


def reconstruct(ops: Ops, codec: BlockCodec, world: World, clips: int, noise: float = 0.0) -> Reconstruction:
    """Judge held-out clips of `world` after encoding and decoding.

    noise: what is added to the latents in between, as a share of each channel's own spread. The same clips and noise
    are drawn whatever the codec is.
    """
    scenes, decoded, quality = [], [], []
    for index in range(clips):
        rng = generator(0, "judge", index)
        scene = world.sample(rng, "heldout")
        frames = world.render(scene, rng)
        latents = ops.to_numpy(codec.encode(ops, ops.asarray(from_frames(frames[None]))))
        spread = latent_spread(codec)[:, None, None, None]
        latents = latents + np.float32(noise) * spread * rng.standard_normal(latents.shape, dtype=np.float32)
        video = to_frames(ops.to_numpy(codec.decode(ops, ops.asarray(latents), len(frames))))[0]
        scenes.append(scene)
        decoded.append(video)
        quality.append(min(100.0, psnr(frames, video)))
    return Reconstruction(float(np.mean(quality)), score(decoded, scenes))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row of a Markdown table per world and decoder."""
    parser = argparse.ArgumentParser(description="Judge what a block codec lets through.")
    parser.add_argument("codec", help="file of `python -m opensora_core.training.fit_codec` or `.refiner`")
    parser.add_argument("--clips", type=int, default=150, help="held-out clips per world (default 150)")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="added to the latents, as a share of each channel's spread (default 0)"
    )
    parser.add_argument("--backend", default="numpy", help="tensor backend (default numpy)")
    options = parser.parse_args(arguments)
    ops, codec = get_backend(options.backend), load_codec(options.codec)
    decoders = {"linear": replace(codec, refiner=None)}
    if codec.refiner is not None:
        decoders["refined"] = codec
    print("| world | decoder | PSNR | shape | motion | all |\n|---|---|---|---|---|---|")
    for name, world in WORLDS.items():
        for decoder, one in decoders.items():
            found = reconstruct(ops, one, world, options.clips, options.noise)
            a = found.adherence
            print(
                f"| {name} | {decoder} | {found.psnr:.1f} | {a.shape:.3f} | {a.motion:.3f} | {a.all:.3f} |", flush=True
            )


if __name__ == "__main__":
    main()
