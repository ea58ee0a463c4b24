"""Benchmarks of opensora-core: inputs and providers here, measuring in one harness."""
