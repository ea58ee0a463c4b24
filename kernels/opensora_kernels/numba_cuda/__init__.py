"""CUDA kernels in readable Python, by Numba: what to read first, and a second opinion on those in CUDA C++."""
