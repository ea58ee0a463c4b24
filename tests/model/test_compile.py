"""Torch compiles the whole denoiser, host tables included, to one graph that computes the same."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from opensora_backends.torch_ops import TorchOps
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.module import to_backend
from opensora_core.nn.init import RandomInit

CONFIG = STDiT3Config(
    hidden_size=16,
    depth=1,
    num_heads=2,
    caption_channels=8,
    model_max_length=6,
    frame_time_fps=8.0,
    pooled_caption=True,
)


def test_the_denoiser_is_one_graph():
    ops, rng = TorchOps(), np.random.default_rng(0)
    model = to_backend(ops, STDiT3.create(CONFIG, RandomInit(0)))
    x = ops.asarray(rng.standard_normal((2, CONFIG.in_channels, 3, 5, 4)), "float32")  # 5 rows: the patch grid pads
    y = ops.asarray(rng.standard_normal((2, 6, 8)), "float32")
    mask, x_mask = ops.asarray(np.arange(6)[None] < 4), ops.asarray([[False, True, True]] * 2)
    inputs = (x, ops.full((2,), 500.0), y, mask, x_mask, ops.full((2,), 8.0))

    def predict(*inputs):
        return model(ops, *inputs, 40.0, 32.0)

    graphs = []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own imports
        torch.compiler.reset()
        traced = torch.compile(predict, backend=count, fullgraph=True, dynamic=False)(*inputs)  # a break would raise
    assert len(graphs) == 1
    assert len(graphs[0].graph.nodes) > 300
    torch.testing.assert_close(traced, predict(*inputs), rtol=1e-5, atol=1e-6)
