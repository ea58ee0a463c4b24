"""Run in a process of its own, as numba-cuda compiles or simulates: prints as JSON what the gate says of Python."""

import inspect
import json
import math
import sys
import warnings
from dataclasses import asdict

import numpy as np
from numba import cuda, float32, int32

from opensora_kernels.gate.python_kernels import PythonKernel, compile_python, python_kernels, remarks
from opensora_kernels.numba_cuda.launching import launch
from opensora_kernels.numba_cuda.norm_kernel import normalise


def doubled(x):
    x[0] = x[0] * math.pi


def indexed(x, n):
    held = cuda.local.array(8, float32)
    for i in range(n):
        held[int(x[i]) & 7] = x[i]
    x[0] = held[n & 7]


def said_of(function, *signature):
    """Faults that are seeded."""
    (report,) = compile_python([PythonKernel("here.py", function.__name__, function, signature)], "80")
    return asdict(report)


class Configured:
    """A kernel that takes Numba's launch configuration, and launches nothing."""

    def __getitem__(self, configuration):
        normalise[configuration]
        return lambda *args: None


kernels = python_kernels()
reports = [
    asdict(report)
    for arch, words in json.loads(sys.argv[1]).items()
    for report in compile_python([one for one in kernels if any(word in one.name for word in words)], arch)
]
inspect.signature(cuda.as_cuda_array).bind("array", sync=False)  # as the host code calls them, which no GPU sees here
inspect.signature(cuda.external_stream).bind("pointer")
warnings.simplefilter("error")
launch(np, Configured(), (1,), 32, ())  # Numba has no word of a small grid
answer = {
    "names": [one.name for one in kernels],
    "reports": reports,
    "doubled": said_of(doubled, float32[::1]),
    "indexed": said_of(indexed, float32[::1], int32),
    "empty": list(remarks(normalise.py_func, ".target sm_80\n", "90")),
}
print(json.dumps(answer))
