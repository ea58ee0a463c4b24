"""Autoencoders: video [B, 3, T, H, W] in [-1, 1] to latents and back."""
