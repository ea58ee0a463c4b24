"""Cleaning of prompts as Open-Sora v1 does it before T5 reads them: what captions of the web have and prompts need not.

Written from a description of what each step does, and held to inputs and outputs of the official code.
"""

from __future__ import annotations

import html
import re
from urllib.parse import unquote_plus

from ..errors import MissingDependencyError

PASSES = 2  # what one pass uncovers, such as a tag written in entities, the next one drops
FEW_JOINTS = 3  # hyphens and underscores that a prompt may have; a text with more is a name of a file

IMAGE_TYPES = "png|jpe?g|bmp|webp|eps|pdf|apk|mp4"
DASHES = "‐‑‒–—―−﹘﹣－"
DOUBLE_QUOTES = "`´«»“”„‟″"
SINGLE_QUOTES = "‘’"


def clean_prompt(text: str) -> str:
    """The prompt in lower case without markup, addresses, ids and the like, as the official encoders are given it.

    Raises MissingDependencyError, naming the extra, without the package ftfy.
    """
    for _ in range(PASSES):
        text = clean_once(text)
    return text


def clean_once(text: str) -> str:
    """One pass of `clean_prompt`; the order of the steps matters."""
    text = unquote_plus(text).strip().lower()
    text = without_tags(URL.sub("", text.replace("<person>", "person")))
    for pattern, replacement in BEFORE_REPAIR:
        text = pattern.sub(replacement, text)
    if len(JOINT.findall(text)) > FEW_JOINTS:
        text = JOINT.sub(" ", text)
    text = html.unescape(html.unescape(repaired(text))).strip()
    for pattern, replacement in AFTER_REPAIR:
        text = pattern.sub(replacement, text)
    return text.strip()


def without_tags(text: str) -> str:
    """The text between the tags of HTML, entities resolved once."""
    return html.unescape(TAG.sub("", text))


def repaired(text: str) -> str:
    """The text with wrongly decoded characters put right by ftfy."""
    try:
        from ftfy import fix_text
    except ImportError as error:
        remedy = "pip install 'opensora-core[text]'"
        raise MissingDependencyError(f"cleaning prompts needs ftfy: {remedy}", name="ftfy") from error
    return str(fix_text(text))


def _rules(*rules: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), replacement) for pattern, replacement in rules]


TAG = re.compile(r"<!--.*?-->|<[a-z/!?][^>]*>", re.DOTALL)
URL = re.compile(r"(?:https?://|\bwww\.)\S+")
JOINT = re.compile(r"[-_]")

BEFORE_REPAIR = _rules(
    (r"@\w+", ""),  # names of accounts
    (r"[\u31c0-\u9fff]", ""),  # Chinese characters, with the strokes and enclosed ones before them
    (f"[{DASHES}]", "-"),
    (f"[{DOUBLE_QUOTES}]", '"'),
    (f"[{SINGLE_QUOTES}]", "'"),
    (r"&quot;?|&amp", ""),  # entities that lost their end
    (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", " "),  # IP addresses
    (r"\d:\d\d\s+$", ""),  # ids of articles, where something was dropped behind them
    (r"\\n", " "),
    (r"#\d+\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.(?:{IMAGE_TYPES})\b", ""),  # names of files
    (r"[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~+()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)

AFTER_REPAIR = _rules(
    (r"\b[a-z]{1,3}\d{3,}\b", ""),  # ids such as dsc1234
    (r"\b(?:[a-z]+\d+[a-z]|\d+[a-z]+\d)[a-z0-9]*\b", ""),  # ids such as abc123def; sizes such as 640x480
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s+)?download(?:\s+free)?", ""),
    (r"\bclick\b\s+(?:for|on)\s+\w+", ""),
    (rf"\b(?:{IMAGE_TYPES})\b(?:\s+images?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d+\s*[x×х]\s*\d+\b", ""),  # sizes; the last sign is Cyrillic
    (r"\s+:\s+", ": "),
    (r"(\D[,./])(?=\w)", r"\1 "),
    (r"\s+", " "),
    (r"^[\"'](.+)[\"']$", r"\1"),
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
)
