"""`python -m opensora_core.cli`, the same as `opensora`."""

from . import main

main()
