"""Videos and images in and out, through PyAV and Pillow, both imported on first use only."""

from __future__ import annotations

from opensora_core.media.images import fit, read_image
from opensora_core.media.limits import MediaLimits

__all__ = ["MediaLimits", "fit", "read_image"]
