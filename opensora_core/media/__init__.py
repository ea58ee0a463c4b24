"""Videos and images in and out: PyAV for video files, Pillow for pictures, both imported on first use only.

`Video` is what every pipeline returns; `read_video` and `read_image` read what users bring, within `MediaLimits`.
"""

from __future__ import annotations

from .decode import MediaInfo, probe_video, read_video
from .images import fit, read_image
from .limits import MediaLimits
from .video import Video

__all__ = ["MediaInfo", "MediaLimits", "Video", "fit", "probe_video", "read_image", "read_video"]
