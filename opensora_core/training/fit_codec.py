"""Fit the embedded model's block codec to the synthetic world and save it.

python -m opensora_core.training.fit_codec --channels 48 -o codec.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..registry import get_backend
from ..vae.block_codec import BlockCodecConfig
from ..vae.block_pca import fit
from .codec_clips import clips
from .codec_file import save_codec


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and save; says what was kept."""
    parser = argparse.ArgumentParser(description="Fit the embedded model's block codec to the synthetic world.")
    parser.add_argument("--channels", type=int, default=48, help="latent channels (default 48)")
    parser.add_argument("--clips", type=int, default=3000, help="clips to fit on (default 3000)")
    parser.add_argument("--seed", type=int, default=0, help="which clips (default 0)")
    parser.add_argument("-o", "--output", default="codec.safetensors", help="file to write")
    options = parser.parse_args(arguments)
    config = BlockCodecConfig(latent_channels=options.channels)
    numpy = get_backend("numpy", device="cpu", dtype="float32")  # whatever the environment says
    codec = fit(numpy, clips(options.seed, options.clips), config)
    save_codec(codec, options.output)
    print(f"{options.output}: {options.channels} components, scales {codec.scale[0]:.3f} to {codec.scale[-1]:.3f}")


if __name__ == "__main__":
    main()
