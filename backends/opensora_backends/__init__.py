"""Interpreters of the tensor language, one file a backend; loaded by name through `opensora_core.get_backend`."""
