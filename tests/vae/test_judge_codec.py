from dataclasses import replace

import pytest

from opensora_core import get_backend
from opensora_core.synthetic import EASY
from opensora_core.training.codec_clips import clips
from opensora_core.training.codec_file import save_codec
from opensora_core.training.judge_codec import main, reconstruct
from opensora_core.vae.block_codec import BlockCodecConfig
from opensora_core.vae.block_pca import fit

OPS = get_backend("numpy")


@pytest.fixture(scope="module")
def codec():
    return fit(OPS, clips(seed=2, count=30), BlockCodecConfig(latent_channels=48))


def fewer(codec, channels):
    config = BlockCodecConfig(latent_channels=channels)
    return replace(codec, config=config, basis=codec.basis[:channels], scale=codec.scale[:channels])


def test_more_channels_and_less_noise_let_more_through(codec):
    best = reconstruct(OPS, codec, EASY, clips=8)
    assert best.adherence.n == 8
    assert best.adherence.color == best.adherence.background == 1.0
    assert best.psnr > 28
    for worse in (reconstruct(OPS, fewer(codec, 8), EASY, clips=8), reconstruct(OPS, codec, EASY, clips=8, noise=0.3)):
        assert worse.psnr < best.psnr - 1
        assert worse.adherence.iou < best.adherence.iou


def test_the_command_prints_a_row_per_world(codec, tmp_path, capsys):
    save_codec(fewer(codec, 4), tmp_path / "codec.safetensors")
    main([str(tmp_path / "codec.safetensors"), "--clips", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| world | decoder | PSNR")
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "easy",
        "easy, free placement",
        "full",
        "full, small shapes",
    ]
