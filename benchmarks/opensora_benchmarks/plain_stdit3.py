"""STDiT3 and a training step of it in plain PyTorch, written by hand: what this library is timed beside.

The model is that of `opensora_core.dit.stdit3` under the same parameter names, so that both load the same weights.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from opensora_core.dit.config import STDiT3Config


class Mlp(nn.Module):
    """Two linear maps with a tanh-GELU between them."""

    def __init__(self, fan_in: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(fan_in, hidden), nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(F.gelu(self.fc1(x), approximate="tanh")))


class SelfAttention(nn.Module):
    """Attention among rows of tokens [rows, length, C], with QK-norm."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.q_norm, self.k_norm = (nn.RMSNorm(size // heads, eps=1e-6) for _ in range(2))

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        rows, length, size = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        out = F.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.proj(out.transpose(1, 2).reshape(rows, length, size)))


class CrossAttention(nn.Module):
    """Tokens attend to the text."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear, self.kv_linear, self.proj = (
            nn.Linear(size, size),
            nn.Linear(size, 2 * size),
            nn.Linear(size, size),
        )

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        B, N, C = x.shape
        q = self.q_linear(x).view(B, N, self.heads, -1).transpose(1, 2)
        k, v = self.kv_linear(text).view(B, text.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return cast(Tensor, self.proj(out.transpose(1, 2).reshape(B, N, C)))


class Block(nn.Module):
    """Modulated attention in space or time, attention to the text, modulated MLP."""

    def __init__(self, c: STDiT3Config, temporal: bool) -> None:
        super().__init__()
        C = c.hidden_size
        self.temporal = temporal
        self.scale_shift_table = nn.Parameter(torch.empty(6, C))
        self.norm1, self.norm2 = (nn.LayerNorm(C, eps=1e-6, elementwise_affine=False) for _ in range(2))
        self.attn, self.cross_attn = SelfAttention(C, c.num_heads), CrossAttention(C, c.num_heads)
        self.mlp = Mlp(C, int(C * c.mlp_ratio), C)

    def forward(self, x: Tensor, t: Tensor, text: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        B, T, S, C = x.shape
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (self.scale_shift_table + t).unsqueeze(1).chunk(6, dim=2)
        h = self.norm1(x) * (1 + scale) + shift
        if self.temporal:
            h = self.attn(h.transpose(1, 2).reshape(B * S, T, C), rope).view(B, S, T, C).transpose(1, 2)
        else:
            h = self.attn(h.reshape(B * T, S, C)).view(B, T, S, C)
        x = x + gate * h
        x = x + self.cross_attn(x.reshape(B, T * S, C), text, mask).view(B, T, S, C)
        h = self.norm2(x) * (1 + scale_mlp) + shift_mlp
        return x + gate_mlp * self.mlp(h)


class ScalarEmbedder(nn.Module):
    """Sinusoidal features of a number, then an MLP."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, value: Tensor) -> Tensor:
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(128) / 128)
        angles = value[:, None] * frequencies
        return cast(Tensor, self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1)))


class FinalLayer(nn.Module):
    """Modulated projection to patches."""

    def __init__(self, c: STDiT3Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(c.hidden_size, eps=1e-6, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.empty(2, c.hidden_size))
        self.linear = nn.Linear(c.hidden_size, math.prod(c.patch_size) * c.out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + t[:, None]).unsqueeze(1).chunk(2, dim=2)
        return cast(Tensor, self.linear(self.norm(x) * (1 + scale) + shift))


class CaptionEmbedder(nn.Module):
    """Projects the text; holds the empty caption."""

    def __init__(self, c: STDiT3Config) -> None:
        super().__init__()
        self.y_embedding = nn.Parameter(torch.empty(c.model_max_length, c.caption_channels))
        self.y_proj = Mlp(c.caption_channels, c.hidden_size, c.hidden_size)


class PlainSTDiT3(nn.Module):
    """The denoiser with `pooled_caption` and `frame_time_fps`, for whole patches and without given frames."""

    def __init__(self, config: STDiT3Config, checkpointing: bool = False) -> None:
        super().__init__()
        C, c = config.hidden_size, config
        self.config, self.checkpointing = config, checkpointing
        self.rope = nn.Module()
        self.rope.register_buffer("freqs", torch.empty(c.head_dim // 2))
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv3d(c.in_channels, C, c.patch_size, stride=c.patch_size)})
        self.t_embedder, self.fps_embedder = ScalarEmbedder(C), ScalarEmbedder(C)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(C, 6 * C))
        self.y_embedder = CaptionEmbedder(c)
        self.pool_embedder = nn.Sequential(nn.Linear(c.caption_channels, C), nn.SiLU(), nn.Linear(C, C))
        self.spatial_blocks = nn.ModuleList(Block(c, temporal=False) for _ in range(c.depth))
        self.temporal_blocks = nn.ModuleList(Block(c, temporal=True) for _ in range(c.depth))
        self.final_layer = FinalLayer(c)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor, mask: Tensor, fps: Tensor, height: float, width: float
    ) -> Tensor:
        """x [B, in, T, H, W], t and fps [B], y [B, L, caption], mask [B, L] -> [B, out, T, H, W]."""
        c = self.config
        text = self.y_embedder.y_proj(y)
        share = mask / mask.sum(1, keepdim=True).clamp(min=1)
        t = self.t_embedder(t) + self.fps_embedder(fps) + self.pool_embedder((y * share[..., None]).sum(1))
        modulation = self.t_block(t).view(-1, 6, c.hidden_size)
        x = self.x_embedder["proj"](x)
        B, _, T, H, W = x.shape
        x = x.flatten(3).permute(0, 2, 3, 1) + places(c, H, W, height, width) + moments(c, T, fps)[:, :, None]
        angles = torch.outer(torch.arange(T), self.rope.freqs)
        rope, keep = (angles.cos(), angles.sin()), mask[:, None, None]
        for pair in zip(self.spatial_blocks, self.temporal_blocks, strict=True):
            for block in pair:
                arguments = (x, modulation, text, keep, rope)
                x = checkpoint(block, *arguments, use_reentrant=False) if self.checkpointing else block(*arguments)
        pt, ph, pw = c.patch_size
        x = self.final_layer(x, t).view(B, T, H, W, pt, ph, pw, -1)
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(B, -1, T * pt, H * ph, W * pw)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn channel pairs (2k, 2k+1)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


def places(c: STDiT3Config, H: int, W: int, height: float, width: float) -> Tensor:
    """Position embedding [H·W, C]."""
    scale, base = (height * width) ** 0.5 / c.input_sq_size, round((H * W) ** 0.5)
    frequencies = 10000.0 ** (-2.0 * torch.arange(c.hidden_size // 4) / (c.hidden_size // 2))
    columns = torch.outer(torch.arange(W) / scale * base / W, frequencies).expand(H, W, -1)
    rows = torch.outer(torch.arange(H) / scale * base / H, frequencies)[:, None].expand(H, W, -1)
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=-1).flatten(0, 1)


def moments(c: STDiT3Config, T: int, fps: Tensor) -> Tensor:
    """Embedding [B, T, C] of the frames' times."""
    frequencies = 100.0 ** (-2.0 * torch.arange(c.hidden_size // 2) / c.hidden_size)
    angles = (torch.arange(T) * (cast(float, c.frame_time_fps) / fps[:, None]))[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def training_step(model: PlainSTDiT3, optimizer: torch.optim.AdamW, batch: dict[str, Any], height: float) -> float:
    """Loss of rectified flow, backward, clipping and AdamW."""
    x0, noise, t = batch["latents"], batch["noise"], batch["t"]
    u = (t / 1000)[:, None, None, None, None]
    text = torch.where(batch["drop"][:, None, None], model.y_embedder.y_embedding, batch["text"])
    velocity = model((1 - u) * x0 + u * noise, t, text, batch["text_mask"], batch["fps"], height, height)
    loss = F.mse_loss(velocity, x0 - noise)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()
