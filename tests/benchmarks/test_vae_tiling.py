"""Decoding in parts is measured beside decoding as a whole, and says what it takes, does and changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensora_benchmarks import vae_tiling
from opensora_core.module import tree_map

WAYS = ("whole", "1 frame at a time")


@pytest.fixture(scope="module")
def cases():
    return vae_tiling.cases()


def test_frames_one_at_a_time_take_a_part_of_the_memory_and_change_nothing(cases):
    case = cases["FrameVAE"]
    case = case._replace(ways={name: case.ways[name] for name in WAYS}, latents=(1, 4, 12, 8, 8))
    row = vae_tiling.measure(case, "numpy", 1, 1)
    part = row["of_the_whole"]["1 frame at a time"]
    assert part["memory"] == pytest.approx(row["peak_megabytes"][WAYS[1]] / row["peak_megabytes"]["whole"], abs=1e-3)
    assert 0 < part["memory"] < 0.5
    assert (part["work"], part["apart"] < vae_tiling.SAME) == (1.0, True)
    assert part["time"]["median"] > 0


def test_tiles_do_more_work_the_more_they_overlap_and_are_another_video(cases):
    row = vae_tiling.measure(cases["HunyuanVAE"]._replace(latents=(1, 16, 1, 12, 12)), "numpy", 1, 1)
    small, large = (row["of_the_whole"][f"tiles overlap by {share}"] for share in (0.125, 0.25))
    cells = {0.125: (8 + 5) / 12, 0.25: (8 + 6) / 12}  # along a side, of the whole's
    assert small["work"] == pytest.approx(cells[0.125] ** 2, rel=0.02)
    assert large["work"] == pytest.approx(cells[0.25] ** 2, rel=0.02)
    assert small["apart"] > vae_tiling.SAME


def test_a_way_that_should_change_nothing_and_does_is_not_timed(cases):
    case = cases["FrameVAE"]
    wrong = replace(case.ways[WAYS[1]], module=tree_map(lambda w: w * 1.1, case.ways[WAYS[1]].module))
    ways = {"whole": case.ways["whole"], "wrong": wrong}
    with pytest.raises(SystemExit, match=r"frames are \d.* apart: nothing to time"):
        vae_tiling.measure(case._replace(ways=ways, latents=(1, 4, 2, 2, 2)), "numpy", 1, 1)
