"""What a user's first minutes with the installed wheel look like: python smoke.py PATH/OF/opensora."""

import importlib.util
import json
import subprocess
import sys

import av
import numpy as np

PROGRAM = sys.argv[1]
PROMPT = "a red circle moves right on a blue background"


def opensora(*arguments: str) -> str:
    """Run the program; shows it, fails with it."""
    print("$ opensora", *arguments, flush=True)
    done = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return done.stdout


def main() -> None:
    """Help, backends, and a prompt that becomes a video that other software can read."""
    assert importlib.util.find_spec("torch") is None, "torch came with the wheel"
    assert "generate" in opensora("--help")
    found = json.loads(opensora("backends", "--json"))
    assert found["auto"] == "numpy", found
    assert found["backends"]["numpy"]["available"], found
    assert not found["backends"]["torch"]["available"], found
    opensora("doctor")
    opensora("generate", PROMPT, "-o", "out.mp4", "--steps", "4", "--seed", "0")
    with av.open("out.mp4") as video:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    print(f"out.mp4: {frames.shape}, {video.format.name}", flush=True)
    assert len(frames) > 1, "a video has more than one frame"
    assert frames.std() > 5, "the video is one flat colour"


if __name__ == "__main__":
    main()
