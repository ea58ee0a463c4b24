"""OpenSora: the model as users meet it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CancelledError, InvalidInputError
from ..media.images import fit, read_image
from ..media.video import Video
from ..module import num_parameters, rebuild, state_dict
from ..nn.init import RandomInit, ShapeInit
from ..ops import Array, Ops
from ..registry import get_backend
from ..schedulers.parametrization import to_velocity
from ..serialization.folder import from_bytes, load_config, load_folder, save_folder, to_bytes
from ..serialization.state import check_state
from .components import Components
from .config import OpenSoraConfig
from .frames import padded_size, to_frames, to_latents
from .generation import CheckFinite, Given, Prompt, encode_prompt, sample_window, text_context
from .request import Request, available_bytes, check_memory, peak_bytes
from .windows import Window, plan_windows

FORMAT = "opensora-core"
EMBEDDED = Path(__file__).resolve().parent.parent / "assets" / "embedded"
Callback = Callable[["OpenSora", int, float, dict[str, Any]], Any]


class PromptWarning(UserWarning):
    """Part of a prompt does not reach the model."""


class Progress(NamedTuple):
    """State of a running generation after one sampler step."""

    step: int  # finished steps over all windows
    total: int
    timestep: float
    latents: Array  # of the present window
    denoised: Array  # the model's present guess of the clean latents
    preview: Callable[[], NDArray[np.uint8]]  # decodes that guess: uint8 [T, H, W, 3]


class OpenSora:
    """Text, image and clip to video, on one backend.

    >>> model = OpenSora.from_pretrained()
    >>> model.generate_from_text("a red circle moves right on a blue background", seed=0).save("out.mp4")

    Args:
        config: shape and defaults of the model; the weights are random until they are loaded or trained.
        backend: "numpy", "torch", another registered name, or "auto"; or an `Ops` instance.
        device, dtype: see `get_backend`.
        seed: of the random weights.
    """

    def __init__(
        self,
        config: OpenSoraConfig | None = None,
        *,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or OpenSoraConfig()
        self.ops = backend if isinstance(backend, Ops) else get_backend(backend, device=device, dtype=dtype)
        self._parts = Components.create(self.config, RandomInit(seed)).on(self.ops)

    # ------------------------------------------------------------------ generation

    def generate_from_text(self, prompt: str, **options: Any) -> Video:
        """Make a video of what the prompt says.

        Options, each with the model's own default: num_frames, height, width (pixels), fps, num_inference_steps,
        guidance_scale (1 switches guidance off), seed (drawn if absent, found in `video.metadata`), negative_prompt,
        prompt_embeds (text features [1, L, C] in place of a prompt) with prompt_mask [1, L],
        callback_on_step_end(model, step, timestep, {"latents", "denoised", "preview"}), which stops the generation by
        returning False, check_finite "raise", "warn" or "off", condition_frames (carried from window to window when
        num_frames exceeds the model's window).
        Raises InvalidInputError, LimitError (not enough memory), NonFiniteError, CancelledError.
        """
        return self._finish(self.stream(prompt, **options), options)

    def generate_from_image(self, image: Any, prompt: str = "", **options: Any) -> Video:
        """Make a video that begins with an image (path, PIL image or uint8 array), which is kept.

        The image is scaled to cover the video's size and cropped around its centre; the size is the model's own unless
        height and width are given. Other options as for `generate_from_text`.
        """
        return self._finish(self.stream(prompt, image=image, **options), options)

    def extend_video(
        self, video: Any, prompt: str = "", num_frames: int = 16, condition_frames: int = 5, **options: Any
    ) -> Video:
        """Continue a video (Video, path or uint8 frames) by num_frames new frames; the given frames stay as they are.

        condition_frames: how many of its last frames the model sees. Size and fps are the video's own; other options as
        for `generate_from_text`.
        """
        clip = _as_video(video)
        own = {"height": clip.height, "width": clip.width, "fps": clip.fps}
        settings = {**own, **options, "num_frames": clip.num_frames + num_frames, "condition_frames": condition_frames}
        if num_frames < 1:
            raise InvalidInputError(f"num_frames={num_frames} must be at least 1 new frame")
        return self._finish(self.stream(prompt, video=clip, **settings), settings)

    def generate_custom(self, prompt: str, num_frames: int, height: int, width: int, **options: Any) -> Video:
        """Make a video of any length, size and aspect ratio; other options as for `generate_from_text`."""
        return self.generate_from_text(prompt, num_frames=num_frames, height=height, width=width, **options)

    def stream(
        self,
        prompt: str,
        *,
        image: Any = None,
        video: Video | None = None,
        condition_frames: int = 5,
        negative_prompt: str | None = None,
        prompt_embeds: Any = None,
        prompt_mask: Any = None,
        check_finite: CheckFinite = "raise",
        callback_on_step_end: Callback | None = None,
        **asked: Any,
    ) -> Iterator[Progress | Video]:
        """Generate step by step: yields a Progress after every step and the finished Video at the end.

        The generation underneath all others; closing the iterator stops it. Options as for `generate_from_text`, with
        image or video as the beginning.
        """
        request = self._request(asked)
        check_memory(peak_bytes(self.config, request, 1, self.ops.dtype), request, available_bytes())
        text = self._prompt(prompt, negative_prompt, prompt_embeds, prompt_mask, bool(image is not None or video))
        frames = self._given_frames(image, video, request)
        group = self.config.codec.block[0]
        planned = plan_windows(
            len(frames), request.num_frames - len(frames), self.config.num_frames, condition_frames, group
        )
        for window in planned:
            for progress in self._window(window, len(planned), request, text, frames, check_finite):
                if isinstance(progress, Progress):
                    _tell(callback_on_step_end, self, progress)
                    yield progress
                else:
                    frames = progress
        yield Video(frames, request.fps, {**request.settings(), "prompt": prompt, "backend": self.ops.name})

    def _request(self, asked: dict[str, Any]) -> Request:
        known = {"num_frames", "height", "width", "fps", "num_inference_steps", "guidance_scale", "seed"}
        unknown = sorted(set(asked) - known)
        if unknown:
            raise InvalidInputError(f"unknown options {unknown}; known: {sorted(known)}")
        return Request.create(self.config, **asked)

    def _prompt(self, prompt: str, negative: str | None, embeds: Any, mask: Any, conditioned: bool) -> Prompt:
        ops, parts = self.ops, self._parts
        if embeds is not None:
            features = ops.asarray(_checked_embeds(embeds, self.config), ops.dtype)
            ones = np.ones(features.shape[:2], bool)
            features_mask = ops.asarray(np.asarray(ones if mask is None else mask, bool).reshape(ones.shape))
        else:
            _check_prompt(prompt, allow_empty=conditioned)
            if loss := parts.tokenizer.describe_loss(prompt):
                warnings.warn(loss, PromptWarning, stacklevel=2)
            features, features_mask = encode_prompt(ops, parts, [prompt])
        other = None if negative is None else encode_prompt(ops, parts, [negative])
        return Prompt(features, features_mask, other)

    def _given_frames(self, image: Any, video: Video | None, request: Request) -> NDArray[np.uint8]:
        if image is not None:
            return fit(read_image(image)[None], request.height, request.width)
        if video is not None:
            return np.asarray(video.frames)
        return np.zeros((0, request.height, request.width, 3), np.uint8)

    def _window(
        self,
        window: Window,
        windows: int,
        request: Request,
        prompt: Prompt,
        frames: NDArray[np.uint8],
        check_finite: CheckFinite,
    ) -> Iterator[Progress | NDArray[np.uint8]]:
        """Sample one window; yields its steps, then all frames so far."""
        rows, columns = self.config.codec.block[1:]
        height, width = padded_size(self.config, request.height, request.width)
        latent_frames = self._parts.codec.latent_frames(window.num_frames)
        steps = sample_window(
            self.ops,
            self._parts,
            self.config,
            request,
            prompt,
            latent_frames=latent_frames,
            latent_size=(height // rows, width // columns),
            given=self._given_latents(frames[len(frames) - window.given :], latent_frames),
            window=window.index,
            check_finite=check_finite,
        )

        def decode(latents: Array) -> NDArray[np.uint8]:
            size = (window.num_frames, request.height, request.width)
            return to_frames(self.ops, self._parts, self.config, latents, *size)[0]

        total = windows * request.num_inference_steps
        for step in steps:
            done = window.index * request.num_inference_steps + step.number + 1
            guess = step.denoised
            yield Progress(done, total, step.timestep, step.latents, guess, lambda guess=guess: decode(guess))  # type: ignore[misc]
        made = decode(step.latents)
        # Frames that were given go on as they were; a first image goes through the autoencoder, to match what follows.
        kept = 0 if len(frames) == window.given == 1 else window.given
        yield np.concatenate([frames[: len(frames) - window.given + kept], made[kept:]])

    def _given_latents(self, frames: NDArray[np.uint8], latent_frames: int) -> Given | None:
        if len(frames) == 0:
            return None
        known = to_latents(self.ops, self._parts, self.config, frames[None])  # (1, C, T', h, w)
        n = known.shape[2]
        latents = np.zeros((*known.shape[:2], latent_frames, *known.shape[3:]), np.float32)
        latents[:, :, :n] = known
        mask = np.ones((1, latent_frames), np.float32)
        mask[:, :n] = 0.0
        return Given(latents, mask)

    def _finish(self, stream: Iterator[Progress | Video], options: Mapping[str, Any]) -> Video:
        for item in stream:
            if isinstance(item, Video):
                return item
        raise AssertionError("a stream ends with its video")

    # ------------------------------------------------------------------ one prediction

    def predict(self, latents: Any, *, timestep: float, prompt: str, fps: float | None = None) -> NDArray[Any]:
        """One denoising prediction: the velocity at latents [B, C, T, h, w] and a timestep from 0 to 1000."""
        z = self.ops.asarray(latents, self.ops.dtype)
        _check_latents(z.shape, self.config)
        features, mask = encode_prompt(self.ops, self._parts, [prompt] * z.shape[0])
        context = text_context(self.ops, self._parts, Prompt(features, mask), guidance_scale=1)
        t = self.ops.full((z.shape[0],), timestep, self.ops.dtype)
        rate = 120.0 if z.shape[2] == 1 else (fps or self.config.fps)
        rows, columns = self.config.codec.block[1:]
        size = (float(z.shape[3] * rows), float(z.shape[4] * columns))
        fps_array = self.ops.full((z.shape[0],), rate, self.ops.dtype)
        output = self._parts.denoiser.denoise(self.ops, z, t, context, None, fps_array, *size)
        return np.asarray(self.ops.to_numpy(to_velocity(self.ops, output, z, t, self.config.prediction, 1e-6)))

    def encode(self, frames: Any) -> NDArray[np.float32]:
        """uint8 frames [T, H, W, 3] or [B, T, H, W, 3], or a Video -> latents [B, C, T', h, w]."""
        pixels = np.asarray(frames.frames if isinstance(frames, Video) else frames)
        return to_latents(self.ops, self._parts, self.config, pixels if pixels.ndim == 5 else pixels[None])

    def decode(self, latents: Any, num_frames: int | None = None) -> NDArray[np.uint8]:
        """Latents [B, C, T', h, w] -> uint8 frames [B, T, H, W, 3]."""
        z = self.ops.asarray(latents)
        _check_latents(z.shape, self.config)
        rows, columns = self.config.codec.block[1:]
        frames = num_frames or self._parts.codec.frames_of(z.shape[2])
        return to_frames(self.ops, self._parts, self.config, z, frames, z.shape[3] * rows, z.shape[4] * columns)

    # ------------------------------------------------------------------ weights

    @property
    def num_parameters(self) -> int:
        """How many numbers the model holds."""
        return num_parameters(self._parts)

    @property
    def metadata(self) -> dict[str, Any]:
        """What this model is: architecture, parameters by part, dtype, backend."""
        return {
            "architecture": self.config.architecture,
            "parameters": {
                name: num_parameters(getattr(self._parts, name)) for name in ("denoiser", "text_encoder", "codec")
            },
            "dtype": self.ops.dtype,
            "backend": self.ops.name,
            "device": self.ops.device,
            "config": self.config.to_dict(),
        }

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All weights as NumPy arrays under their dotted names."""
        return {name: self.ops.to_numpy(a) for name, a in state_dict(self._parts).items()}

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Take weights by name; missing, unexpected and misshapen ones are errors that list them.

        strict=False keeps the present weight where one is missing and ignores unexpected ones.
        """
        own = state_dict(self._parts)
        shapes = {name: tuple(a.shape) for name, a in state.items()}
        check_state({name: tuple(a.shape) for name, a in own.items()}, shapes, strict=strict)
        taken = {n: self.ops.asarray(state[n], a.dtype) if n in state else a for n, a in own.items()}
        self._parts = rebuild(self._parts, taken)

    # ------------------------------------------------------------------ keeping and loading

    def save(self, folder: str | Path, *, dtype: str | None = None) -> Path:
        """Write config and weights into a folder, whole or not at all; `dtype` stores floats in another precision."""
        return save_folder(folder, self._header(), self._stored(dtype))

    def to_bytes(self, *, dtype: str | None = None) -> bytes:
        """Everything in one deterministic block of bytes (a safetensors file)."""
        return to_bytes(self._header(), self._stored(dtype))

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
    ) -> OpenSora:
        """Load a model from a folder that `save` wrote; without a source, the embedded model.

        Raises InvalidInputError if there is nothing there, FileFormatError if it is damaged, WeightsError if the
        weights do not fit the configuration.
        """
        path = EMBEDDED if source is None else Path(source)
        config, tensors = load_folder(path)
        return cls._assemble(config, tensors, backend, device, dtype)

    @classmethod
    def from_bytes(
        cls, data: bytes, *, backend: str | Ops = "auto", device: str | None = None, dtype: str | None = None
    ) -> OpenSora:
        """Load what `to_bytes` gave."""
        return cls._assemble(*from_bytes(data), backend, device, dtype)

    @staticmethod
    def read_config(source: str | Path | None = None) -> OpenSoraConfig:
        """Read the configuration in a model folder, without its weights."""
        return _config_of(load_config(EMBEDDED if source is None else Path(source)))

    @classmethod
    def _assemble(
        cls, header: Mapping[str, Any], tensors: Mapping[str, Any], backend: str | Ops, device: Any, dtype: Any
    ) -> OpenSora:
        model = cls.__new__(cls)
        model.config = _config_of(header)
        model.ops = backend if isinstance(backend, Ops) else get_backend(backend, device=device, dtype=dtype)
        shell = Components.create(model.config, ShapeInit())
        check_state(
            {name: tuple(a.shape) for name, a in state_dict(shell).items()},
            {name: tuple(a.shape) for name, a in tensors.items()},
        )
        model._parts = rebuild(shell, tensors).on(model.ops)
        return model

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": 1, "config": self.config.to_dict()}

    def _stored(self, dtype: str | None) -> dict[str, NDArray[Any]]:
        state = self.state_dict()
        if dtype is None:
            return state
        host = get_backend("numpy")
        return {name: np.asarray(host.astype(a, dtype)) for name, a in state.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> OpenSora:
        twin = copy.copy(self)
        own = {name: self.ops.asarray(np.array(a)) for name, a in self.state_dict().items()}
        twin._parts = rebuild(self._parts, own)
        return twin

    def __enter__(self) -> OpenSora:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the weights; the model cannot be used afterwards."""
        self._parts = None  # type: ignore[assignment]


def _config_of(header: Mapping[str, Any]) -> OpenSoraConfig:
    if header.get("format") != FORMAT or "config" not in header:
        raise InvalidInputError(f"config.json has format {header.get('format')!r}, expected {FORMAT!r}")
    return OpenSoraConfig.from_dict(header["config"])


def _tell(callback: Callback | None, model: OpenSora, progress: Progress) -> None:
    if callback is None:
        return
    state = {"latents": progress.latents, "denoised": progress.denoised, "preview": progress.preview}
    if callback(model, progress.step, progress.timestep, state) is False:
        raise CancelledError(f"the callback stopped the generation after step {progress.step} of {progress.total}")


def _as_video(source: Any) -> Video:
    if isinstance(source, Video):
        return source
    if isinstance(source, str | Path):
        return Video.load(source)
    return Video(np.asarray(source), fps=8.0)


def _check_prompt(prompt: str, allow_empty: bool) -> None:
    if not isinstance(prompt, str) or len(prompt) > 10_000:
        raise InvalidInputError(f"the prompt must be text of at most 10000 characters, got {str(prompt)[:40]!r}...")
    if not prompt.strip() and not allow_empty:
        raise InvalidInputError("the prompt is empty; say what the video should show")


def _check_latents(shape: Sequence[int], config: OpenSoraConfig) -> None:
    if len(shape) != 5 or shape[1] != config.codec.latent_channels:
        raise InvalidInputError(f"latents of shape {tuple(shape)} must be [B, {config.codec.latent_channels}, T, h, w]")


def _checked_embeds(embeds: Any, config: OpenSoraConfig) -> NDArray[Any]:
    array = np.asarray(embeds)
    if array.ndim != 3 or array.shape[0] != 1 or array.shape[2] != config.text.hidden_size:
        raise InvalidInputError(f"prompt_embeds of shape {array.shape} must be [1, L, {config.text.hidden_size}]")
    if array.shape[1] != config.text.max_length:
        raise InvalidInputError(f"prompt_embeds has {array.shape[1]} tokens; the model reads {config.text.max_length}")
    return array
