"""Spatio-temporal diffusion transformers, one file per published architecture."""
