"""What patches, the codec, the denoiser, its files and its gradients must do whatever the weights are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...derived import rearrange
from ...dit.config import STDiT3Config
from ...dit.embedders import PatchEmbed
from ...dit.stdit3 import STDiT3
from ...module import named_leaves, rebuild, state_dict, tree_map
from ...nn.init import ShapeInit
from ...nn.layers import Mlp
from ...ops import Array, Ops
from ...serialization.reader import open_safetensors
from ...serialization.writer import write_safetensors
from ...vae.block_codec import BlockCodec, BlockCodecConfig, from_blocks, to_blocks
from .inputs import Inputs
from .judged import holds

Pairs = Iterator[tuple[Array, Array]]
TINY = STDiT3Config(
    in_channels=3, hidden_size=16, depth=1, num_heads=2, caption_channels=6, model_max_length=5, frame_time_fps=8.0
)
REACH = 3  # latent cells that one residual block and the convolution in front of it see to each side


@holds("blocks", exact=True)
def patches_put_together_are_the_video(ops: Ops, inputs: Inputs) -> Pairs:
    """Cutting into patches and back, for the denoiser and for the codec, moves every element home."""
    pt, ph, pw = inputs.size(1, 2), inputs.size(1, 3), inputs.size(1, 3)
    T, h, w = inputs.size(1, 3), inputs.size(1, 3), inputs.size(1, 3)
    x = inputs.normal(2, 3, T * pt, h * ph, w * pw)
    sizes = {"h": h, "pt": pt, "ph": ph, "pw": pw}
    patches = rearrange(ops, x, "b c (t pt) (h ph) (w pw) -> b t (h w) (pt ph pw c)", **sizes)
    yield rearrange(ops, patches, "b t (h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)", **sizes), x
    block = (2, ph, pw)
    video = inputs.normal(2, 3, 1 + 2 * (T - 1), h * ph, w * pw)
    yield from_blocks(ops, to_blocks(ops, video, block), block), video


@holds("blocks")
def a_patch_embedding_is_a_convolution_by_its_stride(ops: Ops, inputs: Inputs) -> Pairs:
    """One token per patch: the convolution whose kernel is its stride."""
    patch = (inputs.size(1, 2), inputs.size(1, 3), inputs.size(1, 3))
    weight, bias = inputs.normal(5, 3, *patch), inputs.normal(5)
    x = inputs.normal(2, 3, *(n * inputs.size(1, 3) for n in patch))
    tokens = rearrange(ops, ops.conv(x, weight, bias, stride=patch), "b c t h w -> b t (h w) c")
    yield PatchEmbed(weight, bias)(ops, x), tokens


@holds("blocks")
def tiles_are_the_whole(ops: Ops, inputs: Inputs) -> Pairs:
    """A tile decodes to its part of the whole, less the cells at a cut edge that the refiner sees past."""
    wide, h, w = inputs.wide, inputs.size(1, 3), 2 * REACH + inputs.size(1, 3)
    config = BlockCodecConfig(latent_channels=4, block=(2, 2, 2), refiner_width=3, refiner_depth=1)
    codec = tree_map(lambda leaf: _weights(inputs, leaf, wide), BlockCodec.create(ShapeInit(), config))
    z, cut = inputs.latents(1, 4, 3, h, w), inputs.size(REACH, w - REACH)
    linear, whole = replace(codec, refiner=None), codec.decode_blocks(ops, z)
    tiles = [linear.decode(ops, part) for part in (z[..., :cut], z[..., cut:])]
    yield ops.concat(tiles, axis=-1), linear.decode(ops, z)
    left, right = codec.decode_blocks(ops, z[..., : cut + REACH]), codec.decode_blocks(ops, z[..., cut - REACH :])
    yield ops.concat([left[..., :cut, :], right[..., REACH:, :]], axis=3), whole
    yield codec.decode_blocks(ops, z[:, :, 1:])[:, 1:], whole[:, 2:]  # in time it sees one latent back, none ahead
    yield codec.decode_blocks(ops, z[:, :, :2]), whole[:, :2]


@holds("model")
def the_order_of_a_batch_does_not_matter(ops: Ops, inputs: Inputs) -> Pairs:
    """The denoiser treats each sample as if it were alone, whatever stands beside it."""
    model, call = _denoiser(inputs, batch=3)
    order = inputs.indices(inputs.rng.permutation(3))
    shuffled = {name: ops.take(x, order, axis=0) for name, x in call.items()}
    whole = _run(ops, model, call)
    yield ops.take(whole, order, axis=0), _run(ops, model, shuffled)
    yield whole[1:2], _run(ops, model, {name: x[1:2] for name, x in call.items()})


@holds("model")
def padding_does_not_matter(ops: Ops, inputs: Inputs) -> Pairs:
    """Text tokens under a false mask may hold anything; a frame mask that holds everywhere is no mask."""
    model, call = _denoiser(inputs, batch=2)
    kept = inputs.size(1, 4)
    call["mask"] = inputs.flags(np.broadcast_to(np.arange(5) < kept, (2, 5)))
    loud = ops.full((2, 5 - kept, 6), 50.0, call["y"].dtype)
    other = {**call, "y": ops.concat([call["y"][:, :kept], loud], axis=1)}
    yield _run(ops, model, call), _run(ops, model, other)
    other = {**call, "x_mask": inputs.flags(np.ones((2, call["x"].shape[2])))}
    yield _run(ops, model, call), _run(ops, model, other)


@holds("model", exact=True)
def what_was_saved_is_what_is_loaded(ops: Ops, inputs: Inputs) -> Pairs:
    """Weights go through a file without losing a bit, and the model made of them says the same."""
    model, call = _denoiser(inputs, batch=1)
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        write_safetensors(path, {name: ops.to_numpy(leaf) for name, leaf in named_leaves(model)})
        with open_safetensors(path) as file:
            loaded = {name: ops.asarray(np.array(file[name])) for name in file}
    for name, leaf in state_dict(model).items():
        yield loaded[name], leaf
    yield _run(ops, rebuild(model, loaded), call), _run(ops, model, call)


@holds("train", dtypes=("float64", "float32"))
def the_gradient_of_a_sum_is_the_sum_of_gradients(ops: Ops, inputs: Inputs) -> Pairs:
    """Batches may be learned in parts; twice the loss has twice the gradient; what is not used has none."""
    C, x, unused = inputs.size(2, 6), inputs.normal(4, 3), inputs.normal(2)
    mlp = tree_map(lambda leaf: _weights(inputs, leaf, inputs.dtype), Mlp.create(ShapeInit(), 3, C, 2))
    params = {**state_dict(mlp), "unused": unused}

    def loss(rows: slice, times: float = 1.0) -> tuple[Array, dict[str, Array]]:
        def value(o: Ops, p: Mapping[str, Array]) -> Array:
            y = rebuild(mlp, p)(o, x[rows])
            return o.sum(y * y) * times

        return ops.value_and_grad(value, params)

    (value, whole), (first, a), (second, b) = loss(slice(0, 4)), loss(slice(0, 1)), loss(slice(1, 4))
    yield value, first + second
    for name in params:
        yield whole[name], a[name] + b[name]
        yield whole[name] + whole[name], loss(slice(0, 4), 2.0)[1][name]
    yield whole["unused"], ops.full((2,), 0.0, unused.dtype)


def _denoiser(inputs: Inputs, batch: int) -> tuple[STDiT3, dict[str, Array]]:
    """Return a model in which every weight counts, and arguments of a call by name."""
    T, H, W = inputs.size(1, 3), inputs.size(1, 4), inputs.size(1, 4)
    model = tree_map(lambda leaf: _weights(inputs, leaf, inputs.dtype), STDiT3.create(TINY, ShapeInit()))
    call = {
        "x": inputs.latents(batch, 3, T, H, W),
        "timestep": inputs.place(inputs.rng.uniform(0, 1000, batch), inputs.wide),
        "y": inputs.normal(batch, 5, 6),
        "fps": inputs.place(inputs.rng.uniform(8, 60, batch), inputs.wide),
    }
    return model, call


def _run(ops: Ops, model: STDiT3, call: dict[str, Any]) -> Array:
    return model(ops, **call, height=48, width=80)


def _weights(inputs: Inputs, leaf: Array, dtype: str) -> Array:
    return inputs.place(inputs.rng.normal(0, 0.3, leaf.shape), dtype)
