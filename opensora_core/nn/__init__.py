"""Layers that several models share, written in the language."""
