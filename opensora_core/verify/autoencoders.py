"""Golden sets of the official autoencoders: latents of a video, and the video of those latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..derived import rearrange
from ..module import to_backend
from ..nn.init import ShapeInit
from ..ops import HALF, Array, Ops
from ..serialization.state import fill
from ..vae.causal3d import HunyuanVAE, HunyuanVAEConfig
from ..vae.image import SCALE
from ..vae.posterior import Draw, Posterior
from ..vae.two_stage import TwoStageConfig, TwoStageVAE
from ..vae.windowed import WindowedVAE, WindowedVAEConfig
from .golden import GoldenSet, bring
from .produced import Kind, Produced


def _half_by_video(run: Kind) -> Kind:
    """In half precision only the decoded videos count, of the first two cases, an image and one chunk.

    They depend on all that comes before. Latents are a few dozen numbers, each behind many norms: whose half precision
    errs more in the worst of so few is chance. Chunks and tiles are judged by float32 and float64.
    """

    @wraps(run)
    def judged(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
        if ops.dtype not in HALF:
            return run(golden, ops)
        first = replace(golden, cases=dict(list(golden.cases.items())[:2]))
        return (result for result in run(first, ops) if result.tensor == "out/x_rec")

    return judged


@_half_by_video
def vae_pipeline(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """v1.2: both autoencoders, with the official draws, and the moments each of them gives."""
    for name, case in golden.cases.items():
        config = TwoStageConfig.from_dict(_shared(golden.config) | {"micro_frame_size": case.args["mfs"]})
        vae = _load_two_stage(golden, ops, config)
        inputs = {key: bring(ops, x) for key, x in golden.inputs(name).items()}
        video = inputs["x"]
        z = vae.encode(ops, video, _draws(inputs["noise_s"], inputs["noise_t"]))
        yield Produced(name, "out/z", ops.to_numpy(z))
        yield Produced(name, "out/x_rec", ops.to_numpy(vae.decode(ops, z, video.shape[2])))
        posteriors = list(vae.spatial_vae.posteriors(ops, video))
        yield Produced(name, "out/moments2d", np.concatenate([_stacked(ops, p) for p in posteriors]))
        means = ops.concat([p.mean for p in posteriors]) * SCALE
        frames = rearrange(ops, means, "(b t) c h w -> b c t h w", t=video.shape[2])[:, :, :17]
        yield Produced(name, "out/temporal_moments", _stacked(ops, vae.temporal_vae.posterior(ops, frames)))


@_half_by_video
def hunyuan_vae(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """v2.0: the mean, a sample, and the video of the mean, whole and in tiles."""
    for name, case in golden.cases.items():
        tiles = {f"use_{kind}_tiling": case.args[f"{kind}_tiling"] for kind in ("spatial", "temporal")}
        config = HunyuanVAEConfig.from_dict({**golden.config, **tiles})
        vae = to_backend(ops, fill(HunyuanVAE.create(config, ShapeInit()), golden.weights()))
        inputs = {key: bring(ops, x) for key, x in golden.inputs(name).items()}
        posterior, noise = vae.posterior(ops, inputs["x"]), inputs["noise"]
        z = vae.scaled(posterior.mean)
        yield Produced(name, "out/z", ops.to_numpy(z))
        yield Produced(name, "out/z_sample", ops.to_numpy(vae.scaled(posterior.sample(ops, _single(noise)))))
        yield Produced(name, "out/x_rec", ops.to_numpy(vae.decode(ops, z)))


@_half_by_video
def vae_v13(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """v1.3: means and their video, whole, in windows that overlap or do not, and one video after the other."""
    encoder = golden.config["encoder"]
    sizes = {name: encoder[name] for name in ("in_channels", "z_channels", "ch", "ch_mult", "num_res_blocks")}
    for name, case in golden.cases.items():
        windows = {
            "micro_frame_size": case.args.get("mfs"),
            "micro_batch_size": case.args.get("mbs"),
            "temporal_overlap": case.args.get("ov", False),
            "normalization": case.args.get("norm"),
        }
        config = WindowedVAEConfig.from_dict(sizes | windows)
        vae = to_backend(ops, fill(WindowedVAE.create(config, ShapeInit()), golden.weights()))
        z = vae.encode(ops, bring(ops, golden.inputs(name)["x"]))
        yield Produced(name, "out/z", ops.to_numpy(z))
        yield Produced(name, "out/x_rec", ops.to_numpy(vae.decode(ops, z)))


def _single(noise: Array) -> Draw:
    return lambda shape: noise


def _load_two_stage(golden: GoldenSet, ops: Ops, config: TwoStageConfig) -> TwoStageVAE:
    """With shift and scale from the configuration, since the official float64 run has not rounded them to float32."""
    weights = golden.weights()
    for name in ("shift", "scale"):
        weights[name] = np.reshape(np.float64(getattr(config, name)), weights[name].shape)
    return to_backend(ops, fill(TwoStageVAE.create(config, ShapeInit()), weights))


def _shared(config: Any) -> dict[str, Any]:
    """The configuration here; the official one gives the size of micro-batches beside that of the 2D part."""
    vae_2d = {**config["vae_2d"], "micro_batch_size": config["micro_batch_size"]}
    return {**{key: value for key, value in config.items() if key != "micro_batch_size"}, "vae_2d": vae_2d}


def _draws(frames: Array, chunks: Array) -> Draw:
    """Recorded numbers in their order: those of images [N, C, h, w], then those of chunks [B, C, T, h, w]."""
    used = {4: 0, 5: 0}

    def draw(shape: Sequence[int]) -> Array:
        start, axis = used[len(shape)], 0 if len(shape) == 4 else 2
        stop = used[len(shape)] = start + shape[axis]
        return frames[start:stop] if axis == 0 else chunks[:, :, start:stop]

    return draw


def _stacked(ops: Ops, posterior: Posterior) -> NDArray[Any]:
    """[mean, log-variance] in one array [B, 2C, ...], as recorded."""
    return np.asarray(ops.to_numpy(ops.concat(posterior, axis=1)))
