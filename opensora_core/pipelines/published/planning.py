"""How much memory a generation will take, stage by stage, found before anything is allocated or read.

The models run as they would, on arrays without numbers (`MemoryCounter`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from ...checks import one_of, whole
from ...interpose.costs.sizes import nbytes
from ...interpose.memory import MemoryCounter
from ...module import named_leaves, state_dict, to_backend
from ...nn.init import ShapeInit
from ...ops import Array
from ...registry import DTYPES
from ...releases.architectures import ARCHITECTURES, Architecture
from ...releases.loading import fit_published, of_videos
from ...releases.offload import OFFLOAD_TYPES, offloaded
from ...releases.release import CELL, Release
from ...releases.task import Text
from ...text.published_tokenizers import CLIP_LENGTH, T5_LENGTHS
from ...text.t5_streamed import StreamedT5
from ..request import cache_of
from .clips import plan_clips
from .components import ReleaseFiles
from .conditions import Latents, read_conditions
from .process import besides_arrays
from .references import Placement
from .request import PublishedRequest

NOTHING = Placement([], [], None)  # but the frames that a clip begins with


@dataclass(frozen=True)
class Stage:
    """Bytes of one model at work: weights that are held, and what the computation takes beside them at most.

    process: what Python, the libraries and the C allocator take besides.
    """

    name: str
    model: str
    weights: int
    activations: int
    process: int

    @property
    def peak(self) -> int:
        """All of the process."""
        return self.weights + self.activations + self.process


class GenerationPlan:
    """The stages of a generation by a published release, at a size, on a backend, in a dtype.

    files: of the release, or the release itself for models of the published sizes. backend: whose memory is foretold;
    of those other than numpy and torch, an upper bound. offload_type: as of `PublishedOpenSora`. given_frames: with
    which the video begins, 1 for an image, more for a video that is continued. options: as of a generation; of a longer
    video one clip is planned that is given frames of the one before.
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

    def stages(self) -> Iterator[Stage]:
        """Text encoders, autoencoder where frames are given, denoiser and autoencoder, in the order of their turns."""
        yield self._t5()
        if self.release.pooled:
            yield self._clip_text()
        counter, given = self._counter(), None
        vae = self._autoencoder(counter)
        latents = vae.latent_shape(self.clip.num_frames, self.request.height, self.request.width)
        before = self._before(counter, latents)
        if self.clip.given:
            conditions = read_conditions(self.release, self.clips, NOTHING, self.request)
            given = conditions.of_clip(counter, vae, self.clip, latents, before)
            yield self._stage("given frames", type(vae).__name__, counter, _weights(vae))
        del vae
        yield self._denoiser(counter, latents, given)
        yield self._decoding(counter, latents)

    # ------------------------------------------------------------------ the stages

    def _t5(self) -> Stage:
        counter, (config, shell) = self._counter(), self._shell("T5Encoder")
        rows = np.zeros((2 if self.release.pooled else 1, self._length()), np.int64)
        StreamedT5(config, state_dict(shell))(counter, rows, None if self.release.pooled else rows == 0)
        return self._stage("text encoder", "T5, block by block", counter)

    def _clip_text(self) -> Stage:
        counter, (_, shell) = self._counter(), self._shell("CLIPText")
        model = to_backend(counter, shell)
        model(counter, np.zeros((2, CLIP_LENGTH), np.int64))
        return self._stage("text encoder", "CLIP", counter, _weights(model))

    def _denoiser(self, counter: MemoryCounter, latents: Latents, given: Any) -> Stage:
        counter.ledger.begin()
        config, shell = self._shell("denoiser")
        whole = self.offload_type == "none"
        model = to_backend(counter, shell) if whole else offloaded(counter, shell, state_dict(shell))
        cache, held = cache_of(self.request), 2  # the second step holds what the first one gave
        if cache is not None:
            model, held = replace(model, step_cache=cache), 2 * cache.every + 1  # the third computed one: two residuals
        task = self.request.task(latents, self.clip)
        for _ in islice(self.request.sample(counter, model, task, self._text(config), given), held):
            pass
        name = type(model).__name__
        if whole:
            return self._stage("denoiser", name, counter, _weights(model))
        return self._stage("denoiser", f"{name}, block by block", counter)

    def _autoencoder(self, counter: MemoryCounter) -> Any:
        config, shell = self._shell(self.release.autoencoder)
        return of_videos(config, to_backend(counter, shell, counter.wide_dtype))

    def _before(self, counter: MemoryCounter, latents: Latents) -> Array:
        """The video that the clip continues, which stays on the host until it is decoded itself."""
        frames = self.given_frames if self.clip.index == 0 else self.clip.num_frames
        return counter.full((1, 3, frames, *(CELL * side for side in latents[2:])), 0.0)

    def _decoding(self, counter: MemoryCounter, latents: Latents) -> Stage:
        counter.ledger.begin()
        vae = self._autoencoder(counter)
        z = counter.full((1, *latents), 0.0, counter.wide_dtype)
        video = vae.decode(counter, z, self.clip.num_frames)
        counter.ledger.passing(2 * nbytes(video))  # while its numbers become levels of pixels on the host
        return self._stage("autoencoder", type(vae).__name__, counter, _weights(vae))

    # ------------------------------------------------------------------ what they are made of

    def _counter(self) -> MemoryCounter:
        return MemoryCounter(self.backend, self.dtype)

    def _stage(self, name: str, model: str, counter: MemoryCounter, weights: int | None = None) -> Stage:
        """What was counted. weights: None of a model of which one block is there at a time."""
        weights = counter.ledger.most_arrived if weights is None else weights
        activations = counter.ledger.peak - weights
        process = besides_arrays(self.backend, self.dtype, activations)
        return Stage(name, model, weights, activations, process)

    def _shell(self, kind: str) -> tuple[Any, Any]:
        """Configuration and weightless model: of the files where they have it, else of the published size."""
        part = self.files.find(kind) if self.files else None
        if part is not None:
            return fit_published(part.architecture, part.checkpoint)[:2]
        architecture = next(a for a in ARCHITECTURES if kind == a.name or self._is(a, kind))
        config = architecture.config()
        return config, architecture.create(config, ShapeInit())

    def _is(self, architecture: Architecture, kind: str) -> bool:
        return (architecture.part, architecture.release) == (kind, self.release.name)

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


def _weights(model: Any) -> int:
    """Bytes of a model on a counter."""
    return sum(leaf.value.nbytes for _, leaf in named_leaves(model))
