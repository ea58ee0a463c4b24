"""The published architectures: how each is told from the others by its weights, and what its models are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..checks import fixed
from ..dit.config import STDiT3Config
from ..dit.mmdit import MMDiT
from ..dit.mmdit_config import MMDiTConfig
from ..dit.stdit import BUFFERS, STDiT, STDiTConfig
from ..dit.stdit2 import STDiT2, STDiT2Config
from ..dit.stdit3 import STDiT3
from ..dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from ..errors import WeightsError
from ..nn.init import RandomInit
from ..serialization.names import show
from ..text.clip import CLIPText
from ..text.clip_config import FIXED as CLIP_FIXED
from ..text.clip_config import CLIPTextConfig
from ..text.t5 import T5Encoder
from ..text.t5_config import FIXED as T5_FIXED
from ..text.t5_config import T5Config
from ..vae.causal3d import FIXED as HUNYUAN_FIXED
from ..vae.causal3d import HunyuanVAE, HunyuanVAEConfig
from ..vae.image import FIXED as IMAGE_FIXED
from ..vae.image import AutoencoderKL, AutoencoderKLConfig
from ..vae.two_stage import TwoStageConfig, TwoStageVAE
from ..vae.windowed import WindowedVAE, WindowedVAEConfig
from . import autoencoder_shapes as vae
from . import denoiser_shapes as dit
from . import text_shapes as text
from .autoencoder_names import ldm_weights, modern_names
from .published_config import clip_text, image_vae, merged, windowed_vae
from .shapes import Shapes, Values


@dataclass(frozen=True)
class Architecture:
    """One kind of published model.

    release: of Open-Sora. part: "denoiser", "image denoiser", "autoencoder" or "text encoder". has, lacks: names of
    weights that only it has, and that it must not have. values: its configuration as far as names and shapes tell.
    buffers: names that published files hold and the model computes itself. rename: older names of its weights to those
    of today. published: a published configuration under the names of `config`. fixed: what it may say of what the model
    here has one of.
    """

    name: str
    release: str
    part: str
    has: str
    values: Callable[[Shapes], Values]
    config: type[Any]
    create: Callable[[Any, RandomInit], Any]
    lacks: str | None = None
    buffers: tuple[str, ...] = ()
    rename: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    published: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, shapes: Shapes) -> bool:
        """Whether weights of these names are of this architecture."""
        return self.has in shapes and self.lacks not in shapes

    def configure(self, shapes: Shapes, published: Mapping[str, Any], source: str) -> Any:
        """The configuration: what the published one says, and where it is silent, what the weights tell.

        Raises WeightsError where the weights lack what all of this architecture have, or neither tells the number of
        heads; InvalidInputError for a configuration of another model.
        """
        self._check_class(published, source)
        said, values = self.published(published), self._told(shapes, source)
        fixed(self.name, said, self.fixed)
        for entry in fields(self.config):
            if said.get(entry.name) is not None:
                values[entry.name] = merged(values.get(entry.name), said[entry.name])
        if values.get("num_heads", 1) is None:
            raise WeightsError(
                f"{source}: neither configuration nor weights tell the number of heads of {self.name} with "
                f"{values['hidden_size']} channels: put the model's config.json with its num_heads beside them"
            )
        return self.config(**values)

    def _check_class(self, published: Mapping[str, Any], source: str) -> None:
        """Refuse a configuration that names another class of those known here; names of other code say nothing."""
        listed = published.get("architectures")
        classes = listed if isinstance(listed, list) else []
        for said in (published.get("_class_name"), published.get("model_type"), *classes):
            others = [other for other in ARCHITECTURES if other.name == said]
            if others and all(other.config is not self.config for other in others):
                raise WeightsError(
                    f"{source}: the configuration is of {said} ({others[0].release}), but the weights are of "
                    f"{self.name} ({self.release}); put the model's own config.json beside them"
                )

    def _told(self, shapes: Shapes, source: str) -> Values:
        try:
            return self.values(shapes)
        except KeyError as error:
            raise WeightsError(
                f"{source} looks like {self.name} of {self.release}, but lacks {error.args[0]}; was it cut short?"
            ) from error


ARCHITECTURES = (
    Architecture(
        "STDiT", "v1.0", "denoiser", "blocks.0.attn_temp.qkv.weight",
        dit.stdit, STDiTConfig, STDiT.create, "t_block_temp.1.weight", BUFFERS,
    ),
    Architecture("STDiT2", "v1.1", "denoiser", "t_block_temp.1.weight", dit.stdit2, STDiT2Config, STDiT2.create),
    Architecture(
        "STDiT3", "v1.2", "denoiser", "temporal_blocks.0.attn.qkv.weight",
        dit.stdit3, STDiT3Config, STDiT3.create, "x_embedder_cond.proj.weight",
    ),
    Architecture(
        "STDiT3", "v1.3", "denoiser", "x_embedder_cond.proj.weight",
        dit.windowed_stdit3, WindowedConfig, WindowedSTDiT3.create,
    ),
    Architecture(
        "MMDiT", "v2.0", "denoiser", "double_blocks.0.img_attn.q_proj.weight", dit.mmdit, MMDiTConfig, MMDiT.create
    ),
    Architecture(
        "Flux", "t2i2v", "image denoiser", "double_blocks.0.img_attn.qkv.weight",
        dit.mmdit, MMDiTConfig, MMDiT.create, "cond_in.weight",
    ),
    Architecture(
        "MMDiT, Flux layout", "v2.0", "denoiser", "double_blocks.0.img_attn.qkv.weight",
        dit.mmdit, MMDiTConfig, MMDiT.create,
    ),
    Architecture(
        "AutoencoderKL", "v1.0, v1.1, t2i2v", "autoencoder", "encoder.down_blocks.0.resnets.0.conv1.weight",
        vae.image, AutoencoderKLConfig, AutoencoderKL.create, rename=modern_names, published=image_vae,
        fixed=IMAGE_FIXED,
    ),
    Architecture(
        "AutoencoderKL", "v1.0, v1.1, t2i2v", "autoencoder", "encoder.down.0.block.0.conv1.weight",
        vae.image_ldm, AutoencoderKLConfig, AutoencoderKL.create, rename=ldm_weights, published=image_vae,
        fixed=IMAGE_FIXED,
    ),
    Architecture(
        "TwoStageVAE", "v1.2", "autoencoder", "temporal_vae.encoder.conv_in.conv.weight",
        vae.two_stage, TwoStageConfig, TwoStageVAE.create,
    ),
    Architecture(
        "WindowedVAE", "v1.3", "autoencoder", "encoder.down.0.block.0.conv1.conv.weight",
        vae.windowed, WindowedVAEConfig, WindowedVAE.create, published=windowed_vae,
    ),
    Architecture(
        "HunyuanVAE", "v2.0", "autoencoder", "encoder.down_blocks.0.resnets.0.conv1.conv.weight",
        vae.hunyuan, HunyuanVAEConfig, HunyuanVAE.create, fixed=HUNYUAN_FIXED,
    ),
    Architecture(
        "T5Encoder", "v1.0 to v2.0", "text encoder", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
        text.t5, T5Config, T5Encoder.create, rename=text.t5_weights,
        fixed=T5_FIXED,
    ),
    Architecture(
        "CLIPText", "v2.0", "text encoder", "text_model.encoder.layers.0.self_attn.q_proj.weight",
        text.clip, CLIPTextConfig, CLIPText.create, rename=text.clip_weights,
        buffers=("text_model.embeddings.position_ids",), published=clip_text, fixed=CLIP_FIXED,
    ),
    Architecture(
        "CLIPText", "v2.0", "text encoder", "embeddings.token_embedding.weight",
        text.clip, CLIPTextConfig, CLIPText.create, rename=text.clip_weights,
        buffers=("embeddings.position_ids",), published=clip_text, fixed=CLIP_FIXED,
    ),
)  # fmt: skip


PIXART = "blocks.0.cross_attn.kv_linear.weight"  # and no attention along time, as all above have


def recognise(shapes: Shapes, source: str) -> Architecture:
    """The architecture that weights of these names are of.

    Raises WeightsError, naming what is known, for weights of anything else.
    """
    for architecture in ARCHITECTURES:
        if architecture.fits(shapes):
            return architecture
    if PIXART in shapes:
        raise WeightsError(
            f"{source} is an image model of PixArt, which makes no videos; a denoiser to be trained begins from it: "
            "`opensora convert FILE FOLDER --start v1.2`"
        )
    known = "; ".join(f"{a.name} of {a.release} ({a.part}) has {a.has}" for a in ARCHITECTURES)
    first = ", ".join(show(name) for name in list(shapes)[:3]) or "none"
    raise WeightsError(
        f"{source} holds no model that is known here: its {len(shapes)} weights begin with {first}. Known are: {known}"
    )
