"""The parts of a model and the tree of all their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..dit.stdit3 import STDiT3
from ..dit.step_cache import StepCache
from ..errors import InvalidInputError
from ..module import static, to_backend
from ..nn.init import RandomInit
from ..ops import Array, Ops
from ..text.encoder import TextEncoder
from ..text.tokenizer import WordTokenizer
from ..vae.block_codec import BlockCodec
from .config import OpenSoraConfig


@dataclass(frozen=True)
class Components:
    """Text encoder, denoiser and autoencoder; state-dict names begin with these field names."""

    text_encoder: TextEncoder
    denoiser: STDiT3
    codec: BlockCodec
    config: OpenSoraConfig = static()
    tokenizer: WordTokenizer = static()
    compiled: Callable[..., Array] | None = static(default=None)  # `STDiT3.denoise` of any weights, but for the ops

    @classmethod
    def create(cls, config: OpenSoraConfig, init: RandomInit) -> Components:
        """Random weights, or with a ShapeInit a weightless model to load a checkpoint into."""
        return cls(
            TextEncoder.create(config.text, init),
            STDiT3.create(config.denoiser, init),
            BlockCodec.create(init, config.codec),
            config,
            WordTokenizer(config.vocabulary, config.text.max_length),
        )

    def denoise(self, ops: Ops, *inputs: Any) -> Array:
        """One prediction, by the compiled function if there is one; inputs as for `STDiT3.denoise`."""
        if self.compiled is None:
            return self.denoiser.denoise(ops, *inputs)
        return self.compiled(self.denoiser, *inputs)

    def with_step_cache(self, cache: StepCache | None) -> Components:
        """Return the parts for one generation that leaves out steps, or with None for one that computes all.

        Raises InvalidInputError where the denoiser is compiled, as it is compiled whole.
        """
        if cache is None:
            return self
        if self.compiled is not None:
            raise InvalidInputError(
                f"step_cache={cache.every} leaves out the blocks of a denoiser, but this one is compiled as a whole: "
                "generate without step_cache, or load the model again and do not compile it"
            )
        return replace(self, denoiser=replace(self.denoiser, step_cache=cache))

    def on(self, ops: Ops) -> Components:
        """Return the parts on a backend in its dtype, the autoencoder in float32 or better."""
        return Components(
            to_backend(ops, self.text_encoder),
            to_backend(ops, self.denoiser),
            to_backend(ops, self.codec, ops.wide_dtype),
            self.config,
            self.tokenizer,
        )
