"""How well a model does what it is asked: adherence to held-out prompts, kept images, seamless extensions.

Everything is measured on scenes that no training sees, with fixed seeds, beside two bounds: real renders of the same
scenes, and the same videos held against other scenes. Nothing here prints.
"""

from .cases import Case, ClipShape, held_out_cases, render_real
from .extension import ExtensionReport, evaluate_extension
from .image import ImageReport, evaluate_image
from .sheet import contact_sheet
from .text import TextReport, evaluate_text

__all__ = [
    "Case",
    "ClipShape",
    "ExtensionReport",
    "ImageReport",
    "TextReport",
    "contact_sheet",
    "evaluate_extension",
    "evaluate_image",
    "evaluate_text",
    "held_out_cases",
    "render_real",
]
