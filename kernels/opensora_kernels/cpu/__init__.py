"""Kernels for processors, in Numba: one pass over memory where NumPy makes many.

Functions take and return NumPy arrays of float32 or float64, in any memory layout, and never write to an argument.
Nothing is compiled before its first call, and what is compiled is kept on disk (see `compiled`).
"""
