"""A folder of videos with captions, drawn by a synthetic world: something to try training on files with.

python -m opensora_core.training.draw_clips clips --world swing --n 20
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInputError
from ..media.video import Video
from ..random import generator
from ..synthetic.prompts import describe
from ..synthetic.world import World
from .stages import WORLDS

FPS = 8


def draw_clips(folder: Path, world: World, n: int, *, seed: int = 0) -> None:
    """Write 000.mp4 with 000.txt and so on: n training scenes of a world, 17 frames of 64 x 64 (one full motion) each.

    Every other caption has the plain wording, the others a free one. The scene of clip i depends on seed and i alone.
    """
    if n < 1:
        raise InvalidInputError(f"n={n} must be at least 1 clip")
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        rng = generator(seed, "clips", index)
        scene = world.sample(rng, "train")
        Video(world.render(scene, rng, fps=FPS), fps=FPS).save(folder / f"{index:03d}.mp4")
        (folder / f"{index:03d}.txt").write_text(describe(scene, rng, canonical=index % 2 == 0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw a folder of clips."""
    parser = argparse.ArgumentParser(description="Draw videos of a synthetic world, each with its caption.")
    parser.add_argument("folder", type=Path, help="is made if need be")
    parser.add_argument("--world", choices=list(WORLDS), default="easy", help="default easy")
    parser.add_argument("-n", "--n", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and captions (default 0)")
    options = parser.parse_args(arguments)
    draw_clips(options.folder, WORLDS[options.world], options.n, seed=options.seed)
    print(f"{options.folder}: {options.n} clips of the {options.world} world")


if __name__ == "__main__":
    main()
