import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.module import num_parameters, rebuild, state_dict, to_backend
from opensora_core.nn.init import RandomInit
from opensora_core.random import normal
from opensora_core.training.codec_clips import clips
from opensora_core.training.fit_codec import main
from opensora_core.vae.block_codec import BlockCodec, BlockCodecConfig, from_blocks, to_blocks
from opensora_core.vae.block_pca import SOFTNESS, WEAKEST, fit
from opensora_core.vae.pixels import from_frames, to_frames

OPS = get_backend("numpy")
CONFIG = BlockCodecConfig(latent_channels=24)


@pytest.fixture(scope="module")
def codec():
    return fit(OPS, clips(seed=3, count=60, size=32), CONFIG)


def video(frames, height=16, width=24, batch=2, stream="video"):
    return normal(0, stream, frames, (batch, 3, frames, height, width))


def with_refiner(codec):
    config = BlockCodecConfig(latent_channels=24, refiner_width=8, refiner_depth=1)
    whole = BlockCodec.create(RandomInit(1), config)
    state = {name: 0.1 * normal(0, name, 0, leaf.shape) for name, leaf in state_dict(whole).items()}
    return rebuild(whole, {**state, **state_dict(codec)})


@pytest.mark.parametrize(
    ("frames", "latent_frames", "held"), [(1, 1, 1), (2, 2, 5), (5, 2, 5), (17, 5, 17), (18, 6, 21)]
)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24)])
def test_any_number_of_frames_and_any_shape_of_frame_round_trips_in_shape(
    codec, frames, latent_frames, held, height, width
):
    latents = codec.encode(OPS, video(frames, height, width))
    assert latents.shape == (2, 24, latent_frames, height // 8, width // 8)
    assert latents.shape[1:] == codec.latent_shape(frames, height, width)
    assert codec.frames_of(latent_frames) == held
    assert codec.decode(OPS, latents, frames).shape == (2, 3, frames, height, width)
    assert codec.decode(OPS, latents).shape == (2, 3, held, height, width)


def test_an_image_equals_the_first_latent_of_a_video_that_starts_with_it(codec):
    whole = video(18)
    latents = codec.encode(OPS, whole)
    assert_allclose(codec.encode(OPS, whole[:, :, :1])[:, :, 0], latents[:, :, 0], rtol=0, atol=2e-5)
    for decoder in (codec, with_refiner(codec)):
        image, first = decoder.decode(OPS, latents[:, :, :1]), decoder.decode(OPS, latents)[:, :, :1]
        assert_allclose(image, first, rtol=0, atol=1e-5)


def test_the_last_group_is_filled_by_the_last_frame(codec):
    short = video(18)
    filled = np.concatenate([short] + [short[:, :, -1:]] * 3, axis=2)
    assert_array_equal(codec.encode(OPS, short), codec.encode(OPS, filled))


def test_components_are_orthonormal_and_decoding_is_the_adjoint_of_encoding(codec):
    assert_allclose(codec.basis @ codec.basis.T, np.eye(24), atol=1e-5)
    # <encode(x) - encode(0), s²·z> = <x, decode(z) - decode(0)> wherever no frame is repeated: all frames but the first
    x, z = video(17), normal(0, "z", 0, (2, 24, 5, 2, 3))
    x[:, :, 0] = 0
    z[:, :, 0] = 0
    encoded = codec.encode(OPS, x) - codec.encode(OPS, 0 * x)
    decoded = codec.decode(OPS, z) - codec.decode(OPS, 0 * z)
    weighted = z * (codec.scale**2)[:, None, None, None]
    assert_allclose(np.vdot(encoded, weighted), np.vdot(x, decoded), rtol=1e-4)


def test_what_was_decoded_once_is_kept_exactly(codec):
    once = codec.decode(OPS, codec.encode(OPS, video(17)))
    again = codec.decode(OPS, codec.encode(OPS, once))
    assert_allclose(again[:, :, 1:], once[:, :, 1:], atol=1e-4)


def test_all_components_lose_nothing():
    everything = BlockCodecConfig(latent_channels=24, block=(2, 2, 2))
    videos = [normal(0, "any", i, (1, 3, 5, 8, 8)) for i in range(8)]
    codec = fit(OPS, videos, everything)
    x = video(7)
    assert_allclose(codec.decode(OPS, codec.encode(OPS, x), 7), x, atol=1e-4)


def test_blocks_hold_each_frame_once_except_the_first():
    x = video(5, 8, 16, batch=1)
    blocks = to_blocks(OPS, x, (4, 8, 8))
    assert blocks.shape == (1, 2, 1, 2, 768)
    assert_array_equal(blocks[0, 1, 0, 1].reshape(3, 4, 8, 8), x[0, :, 1:, :, 8:])
    assert_array_equal(blocks[0, 0, 0, 0].reshape(3, 4, 8, 8), np.repeat(x[0, :, :1, :, :8], 4, axis=1))
    assert_allclose(from_blocks(OPS, blocks, (4, 8, 8)), x, atol=1e-6)


def test_latents_of_the_world_are_centred_and_spread_by_the_root_of_their_components_spread(codec):
    latents = np.concatenate(
        [codec.encode(OPS, clip).reshape(24, -1) for clip in clips(seed=3, count=60, size=32)], axis=1
    )
    spread = latents.std(axis=1)
    assert_allclose(latents.mean(axis=1), 0, atol=1e-3)
    strong = codec.scale > 1.01 * SOFTNESS * WEAKEST**0.5
    assert strong.sum() >= 3
    assert_allclose(spread[strong], codec.scale[strong] / SOFTNESS**2, rtol=1e-2)
    assert (codec.scale >= np.float32(SOFTNESS * WEAKEST**0.5) * (1 - 1e-6)).all()


def test_the_same_clips_give_the_same_codec_and_more_components_a_better_one(codec):
    again = fit(OPS, clips(seed=3, count=60, size=32), CONFIG)
    for name, weight in state_dict(codec).items():
        assert_array_equal(weight, state_dict(again)[name])
    clip = next(clips(seed=4, count=1, size=32))
    fewer = fit(OPS, clips(seed=3, count=60, size=32), BlockCodecConfig(latent_channels=8))
    assert_allclose(fewer.basis, codec.basis[:8], atol=1e-4)
    assert error(codec, clip) < 0.8 * error(fewer, clip)


def error(codec, clip):
    return np.square(codec.decode(OPS, codec.encode(OPS, clip), clip.shape[2]) - clip).mean()


@pytest.mark.parametrize("refined", [False, True])
def test_torch_agrees_with_numpy(codec, refined):
    pytest.importorskip("torch")
    codec = with_refiner(codec) if refined else codec
    torch_ops = get_backend("torch")
    twin, x = to_backend(torch_ops, codec), video(6)
    latents = codec.encode(OPS, x)
    assert_allclose(torch_ops.to_numpy(twin.encode(torch_ops, torch_ops.asarray(x))), latents, atol=2e-5)
    decoded = torch_ops.to_numpy(twin.decode(torch_ops, torch_ops.asarray(latents), 6))
    assert_allclose(decoded, codec.decode(OPS, latents, 6), atol=2e-4)


def test_a_fresh_refiner_changes_nothing_and_its_weights_are_part_of_the_state_dict(codec):
    config = BlockCodecConfig(latent_channels=24, refiner_width=8, refiner_depth=1)
    fresh = BlockCodec.create(RandomInit(0), config)
    refined = rebuild(fresh, {**state_dict(fresh), **state_dict(codec)})
    latents = codec.encode(OPS, video(5))
    assert_array_equal(refined.decode(OPS, latents), codec.decode(OPS, latents))
    assert list(state_dict(codec)) == ["mean", "basis", "scale"]
    assert "refiner.blocks.0.conv1.weight" in state_dict(refined)
    assert num_parameters(refined) > num_parameters(codec)


def test_the_config_survives_json_and_refuses_what_it_does_not_know():
    config = BlockCodecConfig(latent_channels=12, block=(1, 8, 8), refiner_width=4)
    assert BlockCodecConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InvalidInputError, match="unknown block codec fields \\['chanels'\\]"):
        BlockCodecConfig.from_dict({"chanels": 3})
    with pytest.raises(InvalidInputError, match="from 1 to 768"):
        BlockCodecConfig(latent_channels=769)


def test_wrong_sizes_are_refused_with_the_nearest_legal_one(codec):
    with pytest.raises(InvalidInputError, match=r"12x16 pixels.*nearest: 16x16"):
        codec.encode(OPS, video(5, 12, 16))
    with pytest.raises(InvalidInputError, match="nearest: 8x24"):
        codec.latent_shape(5, 3, 25)
    with pytest.raises(InvalidInputError, match="num_frames=17 needs 5 latent frames, got 2"):
        codec.decode(OPS, codec.encode(OPS, video(5)), 17)
    with pytest.raises(InvalidInputError, match="num_frames=0"):
        codec.latent_frames(0)
    with pytest.raises(InvalidInputError, match="too few"):
        fit(OPS, [video(1, 8, 8, batch=1)], CONFIG)


def test_the_command_saves_a_codec_that_loads(tmp_path, capsys):
    from safetensors.numpy import load_file

    main(["--channels", "8", "--clips", "5", "-o", str(tmp_path / "codec.safetensors")])
    assert "8 components" in capsys.readouterr().out
    config = BlockCodecConfig(latent_channels=8)
    codec = rebuild(BlockCodec.create(RandomInit(0), config), load_file(tmp_path / "codec.safetensors"))
    expected = fit(OPS, clips(0, 5), config)
    assert_array_equal(codec.basis, expected.basis)
    assert codec.basis.dtype == np.float32


def test_frames_and_video_convert_without_loss():
    frames = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1).repeat(3, axis=-1)
    assert_array_equal(to_frames(from_frames(frames)), frames)
    assert_array_equal(to_frames(np.full((1, 3, 1, 1, 1), 1.5)), np.full((1, 1, 1, 1, 3), 255))
