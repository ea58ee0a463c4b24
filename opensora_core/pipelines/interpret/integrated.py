"""Integrated gradients (Sundararajan et al. 2017): how much each word of a caption lowers the loss of a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...dit.captions import null_captions
from ...ops import Array, Ops
from ..components import Components
from ..learning import loss_of


@dataclass(frozen=True)
class IntegratedGradients:
    """Shares of a caption's tokens in the change of the loss from no caption to this one.

    attribution: [B, L], negative where a token lowers the loss; the sums over all are loss - baseline_loss, but for the
    error of the integral. baseline_loss: with the null caption in place of all tokens; loss: with the caption.
    """

    attribution: NDArray[np.float64]
    baseline_loss: float
    loss: float


def integrated_gradients(ops: Ops, parts: Components, batch: Mapping[str, Array], steps: int) -> IntegratedGradients:
    """Follow the text features [B, L, C] of a training batch on the straight way from the null caption's."""
    text = batch["text"]
    null = null_captions(ops, parts.denoiser.y_embedder, text)
    way = text - null

    def loss_at(ops: Ops, inputs: Mapping[str, Array]) -> Array:
        return loss_of(ops, parts, {**batch, "text": inputs["text"]})

    slopes: Any = 0.0
    for step in range(steps):
        share = ops.full((), (step + 0.5) / steps, text.dtype)  # the midpoint rule
        _, grads = ops.value_and_grad(loss_at, {"text": null + way * share})
        slopes = slopes + _host(ops, grads["text"]) / steps
    ends = [float(ops.to_numpy(loss_at(ops, {"text": at}))) for at in (null, text)]
    return IntegratedGradients((slopes * _host(ops, way)).sum(axis=-1), *ends)


def _host(ops: Ops, x: Array) -> NDArray[np.float64]:
    return np.asarray(ops.to_numpy(ops.widen(x)), np.float64)
