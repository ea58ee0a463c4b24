"""Text models from folders as Hugging Face has them: `config.json` and safetensors, in one file or in shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..module import to_backend
from ..nn.init import ShapeInit
from ..ops import Ops
from ..serialization.folder import load_folder
from ..serialization.state import fill
from .clip import CLIPText
from .clip_config import CLIPTextConfig
from .t5 import T5Encoder
from .t5_config import T5Config
from .t5_streamed import StreamedT5

Weights = Mapping[str, NDArray[Any]]

T5_SHARED = "shared.weight"
T5_ALIAS = "encoder.embed_tokens.weight"  # the same table, under the name by which the encoder uses it
T5_DECODER = ("decoder.", "lm_head.")
CLIP_PREFIX = "text_model."
CLIP_OTHERS = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale")
CLIP_BUFFER = "text_model.embeddings.position_ids"


def load_t5(ops: Ops, folder: str | Path) -> T5Encoder:
    """The encoder with all weights on the backend, in its dtype. XXL has 4.8 billion: 9.5 GB in bfloat16.

    Raises InvalidInputError if there is no such folder, or one of another model; FileFormatError if it is damaged;
    WeightsError if the weights do not fit its configuration.
    """
    config, weights = load_folder(folder, verify=False)
    template = T5Encoder.create(T5Config.from_published(config), ShapeInit())
    return to_backend(ops, fill(template, t5_weights(weights)))


def open_t5(folder: str | Path) -> StreamedT5:
    """The encoder with its weights left in the files, of which it reads one block at a time; errors as `load_t5`."""
    config, weights = load_folder(folder, verify=False)
    return StreamedT5(T5Config.from_published(config), t5_weights(weights))


def load_clip(ops: Ops, folder: str | Path) -> CLIPText:
    """The text model of a folder that may hold the image model too; errors as `load_t5`."""
    config, weights = load_folder(folder, verify=False)
    template = CLIPText.create(CLIPTextConfig.from_published(config), ShapeInit())
    return to_backend(ops, fill(template, clip_weights(weights)))


def t5_weights(weights: Weights) -> dict[str, NDArray[Any]]:
    """Those of the encoder, the table of tokens once; published files may hold the decoder too."""
    own = {name: array for name, array in weights.items() if not name.startswith(T5_DECODER)}
    table = own.pop(T5_ALIAS, None)
    return own if table is None else {T5_SHARED: table, **own}


def clip_weights(weights: Weights) -> dict[str, NDArray[Any]]:
    """Those of the text model; it may have been saved without the prefix that it has beside an image model."""
    own = {name: array for name, array in weights.items() if not name.startswith(CLIP_OTHERS) and name != CLIP_BUFFER}
    if any(name.startswith(CLIP_PREFIX) for name in own):
        return own
    return {CLIP_PREFIX + name: array for name, array in own.items()}
