"""CUDA C++ kernels, and the host code that launches them: on CuPy, or on NumPy through the emulation."""
