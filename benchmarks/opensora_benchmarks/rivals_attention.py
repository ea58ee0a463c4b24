"""Attention by flash-attn and xformers, which take [B, L, H, D]."""

from __future__ import annotations

from typing import Any

from .providers import UnsupportedError


def flash(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    """By flash_attn_func; half precision only."""
    from flash_attn import flash_attn_func

    return _with_heads_inside(flash_attn_func, q, k, v, mask)


def efficient(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    """By memory_efficient_attention."""
    from xformers.ops import memory_efficient_attention

    return _with_heads_inside(memory_efficient_attention, q, k, v, mask)


def _with_heads_inside(function: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
    if mask is not None:
        raise UnsupportedError("it is called without masks here")
    return function(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


FLASH = {"attention": flash}
XFORMERS = {"attention": efficient}
