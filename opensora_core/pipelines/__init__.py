"""From prompts, images and clips to videos: the wiring of text encoder, denoiser, sampler and autoencoder."""
