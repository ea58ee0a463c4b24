"""Golden sets on the disk, and a copy of a small one to be spoilt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from opensora_core.serialization.reader import read_safetensors

GOLDEN = Path(__file__).parent.parent / "golden"
STDIT3 = GOLDEN / "stdit3_skipy.json"


def copy_set(folder: Path, **changes: Any) -> dict[str, Any]:
    """Copy one small set, its JSON fields changed, and return its tensors."""
    table = json.loads(STDIT3.read_text())
    (folder / STDIT3.name).write_text(json.dumps({**table, **changes}))
    shutil.copy(STDIT3.with_suffix(".safetensors"), folder)
    return read_safetensors(STDIT3.with_suffix(".safetensors"))
