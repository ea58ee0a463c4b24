"""A model that can be asked why: attention, words, blocks, and any named activation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from numpy.typing import NDArray

from ..capture import Call, capture
from ..checks import number, one_of, whole
from ..errors import InvalidInputError
from .generation import encode_prompt
from .inputs import check_latents, check_prompt
from .trainable import Trainable

if TYPE_CHECKING:
    from .interpret.integrated import IntegratedGradients
    from .interpret.words import TokenAttribution


class Explainable(Trainable):
    """Interpretation of the denoiser, on any backend."""

    def attention_maps(
        self,
        latents: Any,
        *,
        timestep: float,
        prompt: str,
        kind: Literal["cross", "self"] = "cross",
        names: Sequence[str] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Attention weights in one prediction at latents [B, C, T, h, w] (the sampler's) and a timestep, 0 to 1000.

        By the layers' names, such as "spatial_blocks.0.cross_attn" or "temporal_blocks.0.attn"; names chooses some of
        them, otherwise kind does: "cross", from video to text, [B, H, T, h, w, L] with the patches of the latents and
        the tokens of the prompt; or "self", from video to video, [B, T, H, S, S] within a frame and [B, S, H, T, T]
        along time. Weights sum to 1 over the last axis.
        """
        from ..nn.attention import CrossAttention, SelfAttention
        from .interpret.attention import attention_maps, attention_names

        timestep = number("timestep", timestep, 0, 1000)
        check_prompt("prompt", prompt)
        kinds: dict[str, Any] = {"cross": CrossAttention, "self": SelfAttention}
        one_of("kind", kind, tuple(kinds))
        z = self.ops.asarray(latents, self.ops.wide_dtype)
        check_latents(z.shape, self.config)
        text = encode_prompt(self.ops, self._parts, [prompt] * z.shape[0])
        names = attention_names(self._parts, kinds[kind]) if names is None else names
        return attention_maps(self.ops, self._parts, z, timestep, text, names)

    def token_attribution(
        self, video: Any, prompt: str, *, timesteps: Sequence[float] = (300, 500, 700, 900), seed: int = 0
    ) -> TokenAttribution:
        """Which words of the prompt move which frames of a video (a Video, or uint8 frames [T, H, W, 3]).

        The video is noised to each timestep, and the model predicts with the prompt and with one word less at a time.
        Costs as many predictions as there are words and timesteps. The result's
        `picture(frames)` shows it over the frames.
        """
        from .interpret.words import token_attribution

        check_prompt("prompt", prompt)
        if not timesteps:
            raise InvalidInputError("timesteps is empty: give at least one, from 0 to 1000")
        times = [number("timesteps", t, 0, 1000) for t in timesteps]
        latents = self.encode(video)
        if len(latents) != 1:
            raise InvalidInputError(f"{len(latents)} videos were given: words are attributed for one at a time")
        return token_attribution(self.ops, self._parts, latents, prompt, times, whole("seed", seed, 0))

    def integrated_gradients(self, latents: Any, text: list[str], *, seed: int, steps: int = 32) -> IntegratedGradients:
        """How much each token of the captions lowers the training loss on latents [B, C, T, h, w].

        The path leads from the null caption to the caption in `steps` gradients; noise and time are of the seed.
        """
        from .interpret.integrated import integrated_gradients

        batch = self._batch(latents, text, seed, caption_dropout=0.0)
        return integrated_gradients(self.ops, self._parts, batch, whole("steps", steps, 1))

    def layer_importance(self, latents: Any, text: list[str], *, seed: int) -> dict[str, float]:
        """Rise of the training loss on latents [B, C, T, h, w] when one block is skipped, by the block's name."""
        from .interpret.layers import layer_importance

        return layer_importance(self.ops, self._parts, self._batch(latents, text, seed, caption_dropout=0.0))

    def capture(self, names: Iterable[str]) -> tuple[Self, dict[str, list[Call]]]:
        """Return (a copy of the model whose named parts note each call, and the calls of each part in order).

        names: as in the state dict, such as "denoiser.spatial_blocks.0" or "text_encoder.norm". The copy shares the
        weights and generates the same; what a call holds are arrays of the backend. Raises InvalidInputError for a name
        that leads nowhere or to something that is not called.
        """
        twin = copy(self)
        twin._loaded, calls = capture(replace(self._parts, compiled=None), names)
        return twin, calls
