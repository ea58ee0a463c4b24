"""Noise schedules, guidance and samplers: pure functions, one sampler a function."""
