"""A training step of STDiT3 in two ways that compute the same: as this library takes it, and in plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

RATE, BETAS = 1e-3, (0.9, 0.98)
SIDE, T, CHANNELS, CAPTION, WORDS = 64.0, 5, 48, 128, 24  # pixels, latent frames and channels; width, length of texts


class Size(NamedTuple):
    """Channels, attention heads, pairs of blocks, samples of a batch."""

    hidden_size: int
    num_heads: int
    depth: int
    batch_size: int


SIZES = {"embedded": Size(128, 4, 4, 16), "wide": Size(512, 8, 4, 8)}


class Variant(Protocol):
    """One way of training."""

    def step(self) -> float:
        """Train on the batch, return the loss."""

    def held(self) -> Iterable[Any]:
        """Weights and moments, which live from step to step."""


def make_config(size: Size) -> Any:
    """The embedded model's configuration at another width."""
    from opensora_core.dit.config import STDiT3Config

    return STDiT3Config(
        input_sq_size=1024, in_channels=CHANNELS, patch_size=(1, 1, 2), hidden_size=size.hidden_size, depth=size.depth,
        num_heads=size.num_heads, pred_sigma=False, caption_channels=CAPTION, model_max_length=WORDS,
        frame_time_fps=8.0, pooled_caption=True,
    )  # fmt: skip


def make_weights(config: Any) -> dict[str, Any]:
    """Initial weights, with noise where they are zero."""
    import numpy as np

    from opensora_core.dit.stdit3 import STDiT3
    from opensora_core.module import state_dict
    from opensora_core.nn.init import RandomInit

    rng = np.random.default_rng(0)
    initial = state_dict(STDiT3.create(config, RandomInit(0)))
    return {n: np.asarray(p if p.any() else 0.02 * rng.standard_normal(p.shape), "f4") for n, p in initial.items()}


def make_batch(size: Size) -> dict[str, Any]:
    """Noise for latents and text, captions of different lengths, some of them dropped."""
    import numpy as np

    rng, B = np.random.default_rng(1), size.batch_size
    video, text = (B, CHANNELS, T, 8, 8), (B, WORDS, CAPTION)
    return {
        **{name: rng.standard_normal(video, np.float32) for name in ("latents", "noise")},
        "t": np.linspace(50, 950, B, dtype=np.float32),
        "text": rng.standard_normal(text, np.float32),
        "text_mask": np.arange(WORDS) < rng.integers(5, WORDS, (B, 1)),
        "drop": np.arange(B) % 8 == 0,
        "fps": np.full(B, 8.0, np.float32),
    }


class Ours:
    """The step as this library's trainer takes it, by default on Torch."""

    def __init__(self, size: Size, checkpointing: bool, ops: Any = None) -> None:
        from opensora_core import get_backend
        from opensora_core.dit.stdit3 import STDiT3
        from opensora_core.nn.init import RandomInit
        from opensora_core.training.optimizer import AdamW

        config = make_config(size)
        self.ops, self.checkpointing = ops or get_backend("torch", device="cpu"), checkpointing
        self.batch = {name: self.ops.asarray(a) for name, a in make_batch(size).items()}
        self.template = STDiT3.create(config, RandomInit(0))
        self.params = {name: self.ops.asarray(a) for name, a in make_weights(config).items()}
        self.constant = {"rope.freqs": self.params.pop("rope.freqs")}
        self.adam, self.steps = AdamW(RATE, BETAS), 0
        self.moments = self.adam.init(self.ops, self.params)

    def loss(self, ops: Any, params: Any) -> Any:
        """The loss by the weights."""
        from opensora_core.checkpointed import checkpointed
        from opensora_core.module import rebuild
        from opensora_core.training.objective import training_loss

        denoiser = rebuild(self.template, {**self.constant, **params})
        denoiser = checkpointed(denoiser) if self.checkpointing else denoiser
        return training_loss(ops, denoiser, self.batch, height=SIDE, width=SIDE)

    def step(self) -> float:
        """Train on the batch, return the loss."""
        self.steps += 1
        loss, grads = self.ops.value_and_grad(self.loss, self.params)
        self.params, self.moments = self.adam.update(self.ops, self.params, grads, self.moments, self.steps)
        return float(loss)

    def held(self) -> Iterable[Any]:
        """Weights and moments."""
        return [*self.params.values(), *self.moments]


class Plain:
    """The step in plain PyTorch."""

    def __init__(self, size: Size, checkpointing: bool) -> None:
        import torch

        from .plain_stdit3 import PlainSTDiT3

        config = make_config(size)
        self.batch = {name: torch.from_numpy(a) for name, a in make_batch(size).items()}
        self.model = PlainSTDiT3(config, checkpointing)
        self.model.load_state_dict({name: torch.from_numpy(a) for name, a in make_weights(config).items()})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)

    def step(self) -> float:
        """Train on the batch, return the loss."""
        from .plain_stdit3 import training_step

        return training_step(self.model, self.optimizer, self.batch, SIDE)

    def held(self) -> Iterable[Any]:
        """Weights and moments."""
        return [*self.model.parameters(), *(a for state in self.optimizer.state.values() for a in state.values())]
