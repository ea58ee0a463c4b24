"""Small official autoencoders whose every weight counts."""

from __future__ import annotations

from typing import Any, TypeVar

from opensora_core import Ops, get_backend
from opensora_core.module import state_dict, to_backend, tree_map
from opensora_core.random import generator, normal
from opensora_core.vae.causal3d import HunyuanVAEConfig
from opensora_core.vae.image import AutoencoderKLConfig
from opensora_core.vae.temporal import TemporalVAEConfig
from opensora_core.vae.two_stage import TwoStageConfig
from opensora_core.vae.windowed import WindowedVAEConfig

M = TypeVar("M")
OPS = get_backend("numpy", device="cpu", dtype="float64")
IMAGE = AutoencoderKLConfig(block_out_channels=(4, 4, 4, 8), layers_per_block=1, norm_num_groups=2)
TEMPORAL = TemporalVAEConfig(filters=4, num_res_blocks=1, num_groups=2)
HUNYUAN = HunyuanVAEConfig(
    latent_channels=2,
    block_out_channels=(4, 4, 4, 4),
    layers_per_block=1,
    norm_num_groups=2,
    sample_size=16,
    sample_tsize=8,
)
WINDOWED = WindowedVAEConfig(
    z_channels=2, ch=4, ch_mult=(1, 1, 1, 1), num_res_blocks=1, num_groups=2, micro_frame_size=5, normalization=None
)
TWO_STAGE = TwoStageConfig(IMAGE, TEMPORAL)


def filled(shell: M, ops: Ops = OPS, std: float = 0.2) -> M:
    """A weightless model with random numbers in it."""
    rng = generator(0, "weights")
    return to_backend(ops, tree_map(lambda w: rng.normal(0, std, w.shape).astype("float32"), shell))


def video(*shape: int, ops: Ops = OPS) -> Any:
    return ops.asarray(normal(0, "video", 0, shape), "float64" if ops.dtype == "float64" else "float32")


def shapes(module: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(w.shape) for name, w in state_dict(module).items()}
