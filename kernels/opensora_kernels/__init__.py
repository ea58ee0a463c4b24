"""Attention kernels of opensora-core: they know arrays and launch shapes, not models."""
