"""Published denoisers by the names and shapes of their weights: configurations."""

from __future__ import annotations

from .shapes import Shapes, Values, count

XL_HEAD_DIM = 72  # of STDiT-XL, whose v1.0 weights do not tell
SPACE_SCALES = {256: 0.5, 1024: 1.0}  # of v1.0, by patches per frame: 256 and 512 pixels a side


def stdit(shapes: Shapes) -> Values:
    """STDiT (v1.0): the size of the latents is that of the position buffers, where the file has them."""
    values = _common(shapes, "blocks")
    values["num_heads"] = _heads(values["hidden_size"], XL_HEAD_DIM)
    if "pos_embed" in shapes:
        patches, frames = shapes["pos_embed"][1], shapes["pos_embed_temporal"][1]
        side = round(patches**0.5)
        pt, ph, pw = values["patch_size"]
        values["input_size"] = (frames * pt, side * ph, side * pw)
        values["space_scale"] = SPACE_SCALES.get(patches, 1.0)
    return values


def stdit2(shapes: Shapes) -> Values:
    """STDiT2 (v1.1), whose released weights were trained at input_sq_size 512."""
    values = _common(shapes, "blocks")
    head_dim = 2 * shapes["rope.freqs"][0]
    return {
        **values,
        "input_sq_size": 512,
        "num_heads": _heads(values["hidden_size"], head_dim),
        "qk_norm": "blocks.0.attn.q_norm.weight" in shapes,
    }


def stdit3(shapes: Shapes) -> Values:
    """STDiT3 (v1.2)."""
    values = _common(shapes, "spatial_blocks")
    head_dim = 2 * shapes["rope.freqs"][0]
    return {**values, **_normed(shapes, values["hidden_size"], head_dim)}


def windowed_stdit3(shapes: Shapes) -> Values:
    """STDiT3 of v1.3, whose rotary embedding turns a third of a head per axis where it has windows."""
    values = _common(shapes, "spatial_blocks")
    turned = 2 * shapes["rope.freqs"][0]
    head_dim = shapes.get("spatial_blocks.0.attn.q_norm.weight", (3 * turned,))[0]
    plain = {"kernel_size": None, "use_spatial_rope": False} if turned == head_dim else {}
    skips = {"skip_temporal": "temporal_blocks.0.attn.qkv.weight" not in shapes}
    return {**values, **_normed(shapes, values["hidden_size"], head_dim), **plain, **skips}


def mmdit(shapes: Shapes) -> Values:
    """MMDiT (v2.0) in the released layout or that of Flux; weights made to see given frames turn half-heads in rope."""
    hidden, in_channels = shapes["img_in.weight"]
    head_dim = shapes["double_blocks.0.img_attn.norm.query_norm.scale"][0]
    side = 2 * (7 * head_dim // 32)  # 56 of 128 channels, officially
    projection = "qkv" if "double_blocks.0.img_attn.qkv.weight" in shapes else "q_proj"
    sees_frames = "cond_in.weight" in shapes
    values = {
        "in_channels": in_channels,
        "vec_in_dim": shapes["vector_in.in_layer.weight"][1],
        "context_in_dim": shapes["txt_in.weight"][1],
        "hidden_size": hidden,
        "mlp_ratio": shapes["double_blocks.0.img_mlp.0.weight"][0] / hidden,
        "num_heads": _heads(hidden, head_dim),
        "depth": count(shapes, "double_blocks"),
        "depth_single_blocks": count(shapes, "single_blocks"),
        "axes_dim": (head_dim - 2 * side, side, side),
        "qkv_bias": f"double_blocks.0.img_attn.{projection}.bias" in shapes,
        "guidance_embed": "guidance_in.in_layer.weight" in shapes,
        "cond_embed": sees_frames,
        "fused_qkv": projection == "qkv",
        "use_liger_rope": sees_frames,
    }
    if sees_frames:
        values["patch_size"] = round((shapes["cond_in.weight"][1] - in_channels) ** 0.5)
    return values


def _common(shapes: Shapes, blocks: str) -> Values:
    """What every STDiT tells alike."""
    hidden, in_channels, *patch = shapes["x_embedder.proj.weight"]
    cell = patch[0] * patch[1] * patch[2]
    length, caption = shapes["y_embedder.y_embedding"]
    return {
        "in_channels": in_channels,
        "patch_size": tuple(patch),
        "hidden_size": hidden,
        "depth": count(shapes, blocks),
        "mlp_ratio": shapes[f"{blocks}.0.mlp.fc1.weight"][0] / hidden,
        "pred_sigma": shapes["final_layer.linear.weight"][0] == 2 * in_channels * cell,
        "caption_channels": caption,
        "model_max_length": length,
    }


def _normed(shapes: Shapes, hidden: int, head_dim: int) -> Values:
    return {"num_heads": _heads(hidden, head_dim), "qk_norm": "spatial_blocks.0.attn.q_norm.weight" in shapes}


def _heads(hidden: int, head_dim: int) -> int | None:
    """How many heads; None where the weights do not tell, and the configuration must."""
    return None if hidden % head_dim else hidden // head_dim
