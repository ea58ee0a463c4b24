"""Golden tables: mask strategies, prompts, sizes by name, sizes of latents, and buckets of training files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..conditioning import prompts as p
from ..conditioning.mask_strategy import apply_mask_strategy, nearest_multiple, parse_mask_strategy
from ..conditioning.sizes import NUM_FRAMES, RATIO_NAMES, size_v12, sizes_v2, whole_cells
from ..errors import FileFormatError
from ..nn.init import ShapeInit
from ..registry import get_backend
from ..training.datasets.bucket_config import BucketConfig, BucketId
from ..training.datasets.resolutions import resolutions
from ..vae.two_stage import TwoStageConfig, TwoStageVAE
from .golden import GoldenSet
from .report import Check

Row = tuple[str, Any, Any]
"""What was asked, what came out, and what should: None where the official code fails."""


def aspect(golden: GoldenSet) -> list[Check]:
    """Sizes by resolution and aspect ratio: of v1.2 with the names of ratios and lengths, or of v2.0."""
    return _checks(golden, _aspect_v12(golden.table) if "resolutions" in golden.table else _aspect_v2(golden.table))


def _aspect_v12(table: Any) -> Iterator[Row]:
    for name, entry in table["resolutions"].items():
        ours = resolutions()[name]
        found = {"pixels": ours.pixels, "sizes": {ratio: list(size) for ratio, size in ours.sizes.items()}}
        yield name, found, entry
        for ratio, key in table["ratio_names"].items():
            if key in entry["sizes"]:
                yield f"{name} {ratio}", list(size_v12(name, ratio)), entry["sizes"][key]
    yield "ratio_names", RATIO_NAMES, table["ratio_names"]
    yield "num_frames", NUM_FRAMES, table["num_frames"]


def _aspect_v2(table: Any) -> Iterator[Row]:
    for name, expected in table.items():
        resolution, _, training = name.partition("|training=")
        found = sizes_v2(resolution, training=training == "True")
        yield name, {ratio: list(size) for ratio, size in found.items()}, expected


def latent_size(golden: GoldenSet) -> list[Check]:
    """Latents of the autoencoder of v1.2 for videos of many lengths, in chunks and in one."""

    def rows() -> Iterator[Row]:
        released = TwoStageVAE.create(TwoStageConfig(), ShapeInit())
        for chunk, T, H, W, expected in golden.table["rows"]:
            vae = replace(released, config=replace(released.config, micro_frame_size=chunk))
            yield f"{T}x{H}x{W} in chunks of {chunk}", list(vae.latent_shape(T, H, W)[1:]), expected

    return _checks(golden, rows())


def buckets(golden: GoldenSet) -> list[Check]:
    """Into which bucket files of many sizes and lengths fall, by the configurations of the three stages of v1.2."""

    def rows() -> Iterator[Row]:
        for number, stage in enumerate(golden.table["stages"], 1):
            config = BucketConfig({resolution: dict(cells) for resolution, cells in stage["config"]})
            yield f"stage {number}: buckets", config.num_buckets, stage["num_bucket"]
            for T, H, W, interval, seed, *expected in stage["rows"]:
                asked = f"stage {number}: {T}x{H}x{W} every {interval}, seed {seed}"
                yield asked, _bucket(config, config.bucket_id(T, H, W, interval, seed)), expected

    return _checks(golden, rows())


def _bucket(config: BucketConfig, bucket: BucketId | None) -> list[Any]:
    """Bucket, its size and its files a batch, as recorded; nothing of a file that no bucket will have."""
    if bucket is None:
        return [None, None, None]
    return [list(bucket), list(config.size(bucket)), config.batch_size(bucket)]


def mask_strategy(golden: GoldenSet) -> list[Check]:
    """Mask strategies as read, starts as aligned, and the masks and frames that come of them."""

    def rows() -> Iterator[Row]:
        for text, groups in golden.table["parsed"].items():
            yield repr(text), [list(group) for group in parse_mask_strategy(text)], groups
        for position, align, end, expected in golden.table["nearest"]:
            yield f"{position} of {end} by {align}", nearest_multiple(position, align, end), expected
        for row in golden.table["rows"]:
            asked = f"{row['strategy']!r} T={row['T']} loop={row['loop']} align={row['align']}"
            yield asked, _placed(row), None if row["error"] else [row["mask"], row["z"]]

    return _checks(golden, rows())


def _placed(row: Any) -> list[list[float]]:
    """Mask and frame numbers of one recorded row."""
    ops = get_backend("numpy", device="cpu", dtype="float64")
    references = [np.arange(start, start + n, dtype=float).reshape(1, n, 1, 1) for start, n in ((0, 10), (100, 15))]
    z, groups = -np.ones((1, 1, row["T"], 1, 1)), parse_mask_strategy(row["strategy"])
    z, mask = apply_mask_strategy(ops, z, [references], [groups], row["loop"], row["align"])
    return [mask[0].tolist(), ops.to_numpy(z).ravel().tolist()]


def prompts(golden: GoldenSet) -> list[Check]:
    """Prompts of v1.2 taken apart, scored and put together, or the endings of v2.0."""
    return _checks(golden, _prompts_v12(golden.table) if isinstance(golden.table, list) else _prompts_v2(golden.table))


def _prompts_v12(table: Any) -> Iterator[Row]:
    for row in table:
        parts = p.split_prompt(row["prompt"])
        segments = p.split_schedule(parts.text)
        scored = [p.Segment(loop, p.add_scores(text, 6.5, 4.0, "pan left")) for loop, text in segments]
        loops = [loop for loop, _ in segments if loop is not None]
        found = {
            "prompt": row["prompt"],
            "text": parts.text,
            "reference": parts.reference_path,
            "mask_strategy": parts.mask_strategy,
            "segments": [text for _, text in segments],
            "loop_idx": loops or None,
            "scored": [text for _, text in scored],
            "merged": p.merge_schedule(scored),
            "scored_aes_only": [p.add_scores(text, p.RELEASED_AESTHETIC) for _, text in segments],
            "loops": [p.text_of_loop(scored, loop) for loop in range(len(row["loops"]))],
        }
        yield row["prompt"], found, row


def _prompts_v2(table: Any) -> Iterator[Row]:
    for name, add in (("fps", p.add_fps), ("motion", p.add_motion_score)):
        for text, expected in table[name]:
            yield f"{name} {text!r}", add(text), expected
    for height, width, expected in table["sanitize"]:
        yield f"{height}x{width}", list(whole_cells(height, width)), expected


def _checks(golden: GoldenSet, rows: Iterator[Row]) -> list[Check]:
    """One check for each row; raises FileFormatError for a table of another form."""
    blank = Check(golden.name, golden.kind, golden.version, "", "table", "pass")
    try:
        checks = [_judge(replace(blank, case=asked), found, expected) for asked, found, expected in rows]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"golden set {golden.path} is malformed: {type(error).__name__} {error}") from error
    if not checks:
        raise FileFormatError(f"golden set {golden.path} has no rows, so nothing was compared")
    return checks


def _judge(row: Check, found: Any, expected: Any) -> Check:
    if expected is None:
        return replace(row, verdict="not compared", note="the official code fails here")
    return row if found == expected else replace(row, verdict="fail", note=f"{found!r}, expected {expected!r}")
