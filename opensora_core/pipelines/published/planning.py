"""How much memory a generation will take, stage by stage, found before anything is allocated or read.

The models run as they would, on arrays without numbers (`MemoryCounter`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ...checks import one_of
from ...interpose.costs.sizes import nbytes
from ...interpose.memory import MemoryCounter
from ...module import named_leaves, state_dict, to_backend
from ...nn.init import ShapeInit
from ...releases.architectures import ARCHITECTURES, Architecture
from ...releases.loading import fit_published
from ...releases.offload import OFFLOAD_TYPES, offloaded
from ...releases.release import Release
from ...releases.task import Text
from ...text.published_tokenizers import CLIP_LENGTH, T5_LENGTHS
from ...text.t5_streamed import StreamedT5
from .clips import plan_clips
from .components import ReleaseFiles, of_videos
from .request import PublishedRequest

STEPS = 2  # of the sampler: the second one holds what the first one gave


@dataclass(frozen=True)
class Stage:
    """Bytes of one model at work: weights that are held, and what the computation takes beside them at most."""

    name: str
    model: str
    weights: int
    activations: int

    @property
    def peak(self) -> int:
        """Both together."""
        return self.weights + self.activations


class GenerationPlan:
    """The stages of a generation from text by a published release, at a size, on a backend, in a dtype.

    files: of the release, or the release itself for models of the published sizes. backend: whose memory is foretold;
    of those other than numpy and torch, an upper bound. offload_type: as of `PublishedOpenSora`. options: as of a
    generation; of a longer video one clip is planned. Given frames and the memory of Python and its libraries are not
    counted.
    Raises InvalidInputError, with what is legal, for what the release does not make.
    """

    def __init__(
        self, files: ReleaseFiles | Release, backend: str, dtype: str, offload_type: str = "none", **options: Any
    ) -> None:
        self.offload_type = one_of("offload_type", offload_type, OFFLOAD_TYPES)
        self.files = None if isinstance(files, Release) else files
        self.release = files if isinstance(files, Release) else files.release
        self.backend, self.dtype = backend, dtype
        self.request = PublishedRequest.create(self.release, **options)
        self.clip = plan_clips(self.release, 0, self.request.num_frames, self.request.clip_frames)[0]

    def stages(self) -> Iterator[Stage]:
        """Text encoders, denoiser and autoencoder, in the order of their turns."""
        yield self._t5()
        if self.release.pooled:
            yield self._clip_text()
        vae, counter = self._autoencoder()
        latents = vae.latent_shape(self.clip.num_frames, self.request.height, self.request.width)
        yield self._denoiser(latents)
        yield self._decoding(vae, counter, latents)

    # ------------------------------------------------------------------ the stages

    def _t5(self) -> Stage:
        counter, (config, shell) = self._counter(), self._shell("T5Encoder")
        rows = np.zeros((2 if self.release.pooled else 1, self._length()), np.int64)
        StreamedT5(config, state_dict(shell))(counter, rows, None if self.release.pooled else rows == 0)
        weights = counter.ledger.most_arrived  # of one block, as they are read one by one
        return Stage("text encoder", "T5, block by block", weights, counter.ledger.peak - weights)

    def _clip_text(self) -> Stage:
        counter, (_, shell) = self._counter(), self._shell("CLIPText")
        model = to_backend(counter, shell)
        model(counter, np.zeros((2, CLIP_LENGTH), np.int64))
        return _stage("text encoder", "CLIP", counter, model)

    def _denoiser(self, latents: tuple[int, int, int, int]) -> Stage:
        counter, (config, shell) = self._counter(), self._shell("denoiser")
        whole = self.offload_type == "none"
        model = to_backend(counter, shell) if whole else offloaded(counter, shell, state_dict(shell))
        task = self.request.task(latents, self.clip)
        steps = self.release.sample(counter, model, task, self._text(config), None)
        for _ in islice(steps, STEPS):
            pass
        if whole:
            return _stage("denoiser", type(model).__name__, counter, model)
        weights = counter.ledger.most_arrived
        return Stage("denoiser", f"{type(model).__name__}, block by block", weights, counter.ledger.peak - weights)

    def _autoencoder(self) -> tuple[Any, MemoryCounter]:
        counter, (config, shell) = self._counter(), self._shell(self.release.autoencoder)
        model = to_backend(counter, shell, counter.wide_dtype)
        return of_videos(config, model), counter

    def _decoding(self, vae: Any, counter: MemoryCounter, latents: tuple[int, int, int, int]) -> Stage:
        z = counter.full((1, *latents), 0.0, counter.wide_dtype)
        video = vae.decode(counter, z, self.clip.num_frames)
        counter.ledger.passing(2 * nbytes(video))  # while its numbers become levels of pixels on the host
        return _stage("autoencoder", type(vae).__name__, counter, vae)

    # ------------------------------------------------------------------ what they are made of

    def _counter(self) -> MemoryCounter:
        return MemoryCounter(self.backend, self.dtype)

    def _shell(self, kind: str) -> tuple[Any, Any]:
        """Configuration and weightless model: of the files where they have it, else of the published size."""
        for part in self.files.parts if self.files else []:
            if kind in (part.architecture.part, part.architecture.name):
                return fit_published(part.architecture, part.checkpoint)[:2]
        architecture = next(a for a in ARCHITECTURES if kind == a.name or self._is(a, kind))
        config = architecture.config()
        return config, architecture.create(config, ShapeInit())

    def _is(self, architecture: Architecture, kind: str) -> bool:
        return (architecture.part, architecture.release) == (kind, self.release.name)

    def _text(self, config: Any) -> Text:
        """Features of a prompt, all zero, as wide as the denoiser reads them."""
        length = self._length()
        width = config.context_in_dim if self.release.pooled else config.caption_channels
        features, mask = np.zeros((1, length, width), np.float32), np.ones((1, length), bool)
        if not self.release.pooled:
            return Text(features, mask)
        vector = np.zeros((1, config.vec_in_dim), np.float32)
        return Text(features, mask, (features, mask), vector, vector)

    def _length(self) -> int:
        """Tokens of a prompt."""
        config, _ = self._shell("denoiser")
        return min(T5_LENGTHS[self.release.name], getattr(config, "model_max_length", T5_LENGTHS["v2.0"]))


def _stage(name: str, kind: str, counter: MemoryCounter, model: Any) -> Stage:
    weights = sum(leaf.value.nbytes for _, leaf in named_leaves(model))
    return Stage(name, kind, weights, counter.ledger.peak - weights)
