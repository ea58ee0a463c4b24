"""How much memory a generation will take, stage by stage, found before anything is allocated or read.

The models run as they would, on arrays without numbers (`MemoryCounter`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from ...checks import one_of, whole
from ...errors import InvalidInputError
from ...interpose.costs.sizes import nbytes
from ...interpose.memory import MemoryCounter
from ...module import state_dict, to_backend
from ...ops import Array
from ...registry import DTYPES
from ...releases.loading import of_videos
from ...releases.offload import OFFLOAD_TYPES, offloaded
from ...releases.release import CELL, PICTURE_FIRST, Release
from ...releases.task import Text
from ...text.published_tokenizers import CLIP_LENGTH, T5_LENGTHS
from ...text.t5_streamed import StreamedT5
from ..request import cache_of
from .clips import plan_clips
from .components import ReleaseFiles
from .conditions import Latents, read_conditions
from .ignored import check_image_resolution
from .picture import SAMPLER, picture_task
from .references import Placement
from .request import PublishedRequest
from .shells import Shell, image_shell, shell_of
from .stages import Stage, weight_bytes

NOTHING = Placement([], [], None)  # but the frames that a clip begins with


class GenerationPlan:
    """The stages of a generation by a published release, at a size, on a backend, in a dtype.

    files: of the release, or the release itself for models of the published sizes. backend: whose memory is foretold;
    of those other than numpy and torch, an upper bound. offload_type: as of `PublishedOpenSora`. given_frames: with
    which the video begins, 1 for an image, more for a video that is continued. cond_type: "t2i2v" (v2.0) for a first
    frame that an image model makes. options: as of a generation; a longer video's clip that is given frames is planned.
    Raises InvalidInputError, with what is legal, for what the release does not make.
    """

    def __init__(
        self,
        files: ReleaseFiles | Release,
        backend: str,
        dtype: str,
        offload_type: str = "none",
        *,
        given_frames: int = 0,
        cond_type: str | None = None,
        **options: Any,
    ) -> None:
        self.offload_type = one_of("offload_type", offload_type, OFFLOAD_TYPES)
        self.files = None if isinstance(files, Release) else files
        self.release = files if isinstance(files, Release) else files.release
        self.backend, self.dtype = backend, one_of("dtype", dtype, DTYPES)
        self.request = PublishedRequest.create(self.release, **options)
        self.given_frames = whole("given_frames", given_frames, 0)
        self.clips = plan_clips(self.release, given_frames, self.request.num_frames, self.request.clip_frames)
        self.clip = max(self.clips, key=lambda clip: clip.given)
        self.paints, placement = _paints(self.release, cond_type), NOTHING
        check_image_resolution(self.request.image_resolution, paints=self.paints)
        if self.paints:
            blank = np.zeros((self.request.height, self.request.width, 3), np.uint8)
            placement = Placement([blank], [], "i2v_head")
        self.conditions = read_conditions(self.release, self.clips, placement, self.request)

    def stages(self) -> Iterator[Stage]:
        """Each model in the order of their turns.

        Text encoders, of t2i2v the image denoiser and its autoencoder, the autoencoder where frames are given, the
        denoiser, and the autoencoder again.
        """
        yield self._t5()
        if self.release.pooled:
            yield self._clip_text()
        if self.paints:
            yield from self._picture()
        counter, given = self._counter(), None
        vae = self._autoencoder(counter)
        latents = vae.latent_shape(self.clip.num_frames, self.request.height, self.request.width)
        before = self._before(counter, latents)
        if self.conditions.needed(self.clip):
            given = self.conditions.of_clip(counter, vae, self.clip, latents, before)
            yield Stage.counted("given frames", type(vae).__name__, counter, weight_bytes(vae))
        del vae
        yield self._denoiser(counter, latents, given)
        counter.ledger.begin()
        yield self._decoding("autoencoder", counter, self._autoencoder(counter), latents, self.clip.num_frames)

    # ------------------------------------------------------------------ the stages

    def _t5(self) -> Stage:
        counter, (config, shell) = self._counter(), self._shell("T5Encoder")
        rows = np.zeros((2 if self.release.pooled else 1, self._length()), np.int64)
        StreamedT5(config, state_dict(shell))(counter, rows, None if self.release.pooled else rows == 0)
        return Stage.counted("text encoder", "T5, block by block", counter)

    def _clip_text(self) -> Stage:
        counter, (_, shell) = self._counter(), self._shell("CLIPText")
        model = to_backend(counter, shell)
        model(counter, np.zeros((2, CLIP_LENGTH), np.int64))
        return Stage.counted("text encoder", "CLIP", counter, weight_bytes(model))

    def _denoiser(self, counter: MemoryCounter, latents: Latents, given: Any) -> Stage:
        counter.ledger.begin()
        config, shell = self._shell("denoiser")
        model = self._arrived(counter, shell)
        cache, held = cache_of(self.request), 2  # the second step holds what the first one gave
        if cache is not None:
            model, held = replace(model, step_cache=cache), 2 * cache.every + 1  # the third computed one: two residuals
        task = self.request.task(latents, self.clip)
        steps = self.request.sample(counter, model, task, self._text(config), given)
        return self._sampling("denoiser", counter, model, islice(steps, held))

    def _picture(self) -> Iterator[Stage]:
        """The image denoiser, and the autoencoder that decodes its picture."""
        vae_config, vae_shell = image_shell(self.files, "AutoencoderKL")
        task = picture_task(of_videos(vae_config, vae_shell), self.request)
        counter, (config, shell) = self._counter(), image_shell(self.files, "Flux")
        model = self._arrived(counter, shell)
        steps = SAMPLER(counter, model, task, self._text(config), None)
        yield self._sampling("image denoiser", counter, model, islice(steps, 2))
        del model, steps
        counter = self._counter()
        vae = of_videos(vae_config, to_backend(counter, vae_shell, counter.wide_dtype))
        yield self._decoding("image autoencoder", counter, vae, task.shape, 1)

    def _arrived(self, counter: MemoryCounter, shell: Any) -> Any:
        """A denoiser on the counter, as the offload type has it."""
        if self.offload_type == "none":
            return to_backend(counter, shell)
        return offloaded(counter, shell, state_dict(shell))

    def _sampling(self, name: str, counter: MemoryCounter, model: Any, steps: Iterator[Any]) -> Stage:
        for _ in steps:
            pass
        kind = type(model).__name__
        if self.offload_type == "none":
            return Stage.counted(name, kind, counter, weight_bytes(model))
        return Stage.counted(name, f"{kind}, block by block", counter)

    def _autoencoder(self, counter: MemoryCounter) -> Any:
        config, shell = self._shell(self.release.autoencoder)
        return of_videos(config, to_backend(counter, shell, counter.wide_dtype))

    def _before(self, counter: MemoryCounter, latents: Latents) -> Array:
        """The video that the clip continues, which stays on the host until it is decoded itself."""
        frames = self.given_frames if self.clip.index == 0 else self.clip.num_frames
        return counter.full((1, 3, frames, *(CELL * side for side in latents[2:])), 0.0)

    def _decoding(self, name: str, counter: MemoryCounter, vae: Any, latents: Latents, num_frames: int) -> Stage:
        video = vae.decode(counter, counter.full((1, *latents), 0.0, counter.wide_dtype), num_frames)
        counter.ledger.passing(2 * nbytes(video))  # while its numbers become levels of pixels on the host
        return Stage.counted(name, type(vae).__name__, counter, weight_bytes(vae))

    # ------------------------------------------------------------------ what they are made of

    def _counter(self) -> MemoryCounter:
        return MemoryCounter(self.backend, self.dtype)

    def _shell(self, kind: str) -> Shell:
        return shell_of(self.files, self.release, kind)

    def _text(self, config: Any) -> Text:
        """Features of a prompt, all zero, as wide as the denoiser reads them."""
        length = self._length()
        width = self.release.text_width(config)
        features, mask = np.zeros((1, length, width), np.float32), np.ones((1, length), bool)
        if not self.release.pooled:
            return Text(features, mask)
        vector = np.zeros((1, config.vec_in_dim), np.float32)
        return Text(features, mask, (features, mask), vector, vector)

    def _length(self) -> int:
        """Tokens of a prompt."""
        config, _ = self._shell("denoiser")
        return min(T5_LENGTHS[self.release.name], getattr(config, "model_max_length", T5_LENGTHS["v2.0"]))


def _paints(release: Release, cond_type: str | None) -> bool:
    """Whether an image model makes the first frame; InvalidInputError for other condition types and releases."""
    if cond_type is None:
        return False
    if cond_type != PICTURE_FIRST or not release.picture_first:
        raise InvalidInputError(
            f"cond_type={cond_type!r}: a plan knows {PICTURE_FIRST!r} of v2.0 only; of other condition types it takes "
            "given_frames, the number of frames that are given"
        )
    return True
