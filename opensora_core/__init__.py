"""Open-Sora as one framework-agnostic library."""
