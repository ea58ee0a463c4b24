"""The compile gate: what NVIDIA's compiler makes of our CUDA kernels, and whether that is good enough; needs no GPU."""
