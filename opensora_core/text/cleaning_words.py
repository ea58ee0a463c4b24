"""Rules of cleaning that drop words: addresses, names of files, numbers of shops, phrases of web pages.

Written from a description of the official behaviour and recorded cases (`tests/golden/text_clean.json`). A word goes
together with the punctuation that clings to it: of "a cat, cat.jpg, a dog" remains "a cat, a dog". The space around
it stays, which is collapsed later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from itertools import groupby

SPACES = re.compile(r"(\s+)")
SPACES_AND_TAGS = re.compile(r"""([\s"'<>]+)""")  # an address in a tag ends where its quotes end
CLINGING = ".,:;!?…\"'()[]{}"

DOMAINS = (".com", ".net", ".org", ".edu", ".gov")
IMAGE_TYPES = {"jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "svg"}
FILE_TYPES = IMAGE_TYPES | {
    "mp4",
    "mov",
    "avi",
    "mkv",
    "webm",
    "mp3",
    "wav",
    "pdf",
    "doc",
    "docx",
    "txt",
    "zip",
    "html",
}
ARTICLES = {"article", "id", "sku"}
# Whole phrases only, so that a hand that clicks a mouse remains.
PHRASES = (
    *("free shipping", "worldwide shipping", "free download", "download now", "download here"),
    *("click here", "click for more", "click for details", "click to enlarge", "click to zoom", "click to download"),
)
PHRASE = re.compile(r"\b(?:" + "|".join(phrase.replace(" ", r"\s+") for phrase in PHRASES) + r")\b")
PAGE = re.compile(r"\bpage\s+\d+(?:\s+of\s+\d+)?\b")
# Two digits at least: a 4x4 is a car and no size.
SIZE = re.compile(r"(?<!\w)\d{2,}\s?[x×]\s?\d{2,}(?:p|\s?px)?(?!\w)")


def drop_addresses(text: str) -> str:
    """Without addresses of the web and of mail, with or without their scheme."""
    return _drop(text, _is_address, SPACES_AND_TAGS)


def drop_nicknames(text: str) -> str:
    """Without @nick."""
    return _drop(text, lambda core: core.startswith("@") and len(core) > 1)


def drop_ips(text: str) -> str:
    """Without numbers of computers, as in 192.168.1.1:80."""
    return _drop(text, _is_ip)


def drop_article_id(text: str) -> str:
    """Without the number of an article at the end, which its name must announce: a year or a time may end a prompt."""
    words = text.rsplit(maxsplit=2)
    if len(words) < 2 or words[-2].strip(CLINGING) not in ARTICLES or not any(map(str.isdigit, words[-1])):
        return text
    return words[0] if len(words) == 3 else ""


def drop_number_signs(text: str) -> str:
    """Without #123; of fewer than three digits, as on a player's back, only the sign goes, with other marks."""
    return _drop(text, lambda core: core.startswith("#") and core[1:].isdigit() and len(core) > 3)


def drop_long_numbers(text: str) -> str:
    """Without numbers of six digits or more."""
    return _drop(text, lambda core: core.isdigit() and len(core) >= 6)


def drop_file_names(text: str) -> str:
    """Without words that end in the extension of a well-known type of file."""
    return _drop(text, lambda core: "." in core and core.rpartition(".")[2] in FILE_TYPES)


def drop_codes(text: str) -> str:
    """Without ids of letters and digits, as in dsc1234 and abc123def; 4k, 1080p, mp4 and boeing747 are none."""
    return _drop(text, _is_code)


def drop_phrases(text: str) -> str:
    """Without what shops and pages write beside pictures on shipping, downloads and clicks."""
    return PHRASE.sub("", text)


def drop_image_types(text: str) -> str:
    """Without extensions of images that stand alone."""
    return _drop(text, lambda core: core in IMAGE_TYPES)


def drop_pages(text: str) -> str:
    """Without "page 12" and "page 12 of 30"."""
    return PAGE.sub("", text)


def drop_sizes(text: str) -> str:
    """Without sizes such as 640x480 and 1080×720."""
    return SIZE.sub("", text)


def _drop(text: str, is_dropped: Callable[[str], bool], between: re.Pattern[str] = SPACES) -> str:
    """The text without the words of which `is_dropped`, given a word without clinging punctuation, is true."""
    pieces = between.split(text)  # words at even places, what is between them at odd ones
    pieces[::2] = ["" if is_dropped(word.strip(CLINGING)) else word for word in pieces[::2]]
    return "".join(pieces)


def _is_address(core: str) -> bool:
    host = core.partition("/")[0]
    return "://" in core or core.startswith("www.") or (host.endswith(DOMAINS) and host not in DOMAINS)


def _is_ip(core: str) -> bool:
    try:
        IPv4Address(core.partition(":")[0])
    except AddressValueError:
        return False
    return True


def _is_code(core: str) -> bool:
    """Letters and digits by turns with three digits or more, or letters and then four digits or more."""
    runs = ["".join(run) for _, run in groupby(core, str.isdigit)]
    digits = sum(map(str.isdigit, core))
    if not core.isalnum() or len(runs) < 2:
        return False
    return digits >= 3 if len(runs) > 2 else digits >= 4 and runs[1].isdigit()
