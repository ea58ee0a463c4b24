"""Published configurations as the models here write them: fields that lie in parts of them, and under other names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..errors import WeightsError

Config = Mapping[str, Any]
WINDOWED_LAYERS = {"down_sampling_layer": [1, 2], "temporal_up_layers": [2, 3]}  # where v1.3 has its strides
SHARED = ("in_channels", "out_ch", "z_channels", "ch", "ch_mult", "num_res_blocks")


def clip_text(published: Config) -> Config:
    """CLIP's: that of the whole model has the text model's in `text_config`, older ones in `text_config_dict`."""
    parts = [published[name] for name in ("text_config", "text_config_dict") if published.get(name)]
    return {name: value for part in parts or [published] for name, value in part.items()}


def windowed_vae(published: Config) -> Config:
    """The v1.3 autoencoder's: the official code says encoder and decoder apart, which are of one shape."""
    parts = {name: published[name] for name in ("encoder", "decoder") if isinstance(published.get(name), Mapping)}
    said: dict[str, Any] = {}
    for name, part in parts.items():
        for field in (field for field in SHARED if field in part):
            if said.setdefault(field, part[field]) != part[field]:
                raise WeightsError(f"{field} of encoder and decoder are {said[field]} and {part[field]}; v1.3 has one")
        for field, layers in WINDOWED_LAYERS.items():
            if list(part.get(field, layers)) != layers:
                raise WeightsError(f"{name}.{field}={part[field]}: the autoencoder of v1.3 has {layers}")
    return {**published, **said}


def image_vae(published: Config) -> Config:
    """A 2D autoencoder's: one that says a shift is of a later family, whose own scale counts, too."""
    if published.get("shift_factor") is None:
        return published
    return {**published, "shift": published["shift_factor"], "scale": published.get("scaling_factor")}


def merged(told: Any, said: Any) -> Any:
    """What the configuration says of a part, and where it is silent, what the weights tell."""
    if not isinstance(said, Mapping) or not is_dataclass(told):
        return said
    part: Any = told
    known = {field.name for field in fields(part)}
    return replace(part, **{name: value for name, value in said.items() if name in known and value is not None})
