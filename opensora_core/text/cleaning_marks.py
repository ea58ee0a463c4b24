"""Rules of cleaning about single characters: foreign scripts, dashes, quotes, punctuation, space.

Written from a description of the official behaviour and recorded cases (`tests/golden/text_clean.json`).
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

# T5 v1.1 reads English; what Unicode names so is Chinese, Japanese or Korean.
CJK_NAMES = ("CJK ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO ", "HANGUL ", "IDEOGRAPHIC ")
MINUS = "\N{MINUS SIGN}"
QUOTES = str.maketrans({**dict.fromkeys("“”„‟«»`", '"'), **dict.fromkeys("‘’‚‛‹›´", "'")})

# Besides all brackets, pictures (©, an emoji) and numbers in other forms (¾, ²). A degree sign tells of a view.
BAD_MARKS = set("*#&@|~^\\/•·")
BAD_CATEGORIES = {"Ps", "Pe", "So", "No"}
GOOD_SYMBOLS = {"°"}

JOINTS = "-_"
MOST_JOINTS = 3  # more of them are the joints of a name of a file

# A sentence ends with a point, a question mark or an exclamation mark, and begins with none.
NO_END = ",:;-_'"
NO_BEGINNING = NO_END + ".!?"


def drop_cjk(text: str) -> str:
    """Without Chinese, Japanese and Korean characters; their wide space stays a space."""
    return "".join(char for char in text if char.isspace() or not _is_cjk(char))


def _is_cjk(char: str) -> bool:
    return not char.isascii() and unicodedata.name(char, "").startswith(CJK_NAMES)


def unify_dashes(text: str) -> str:
    """Every dash is a hyphen."""
    return "".join("-" if char == MINUS or unicodedata.category(char) == "Pd" else char for char in text)


def unify_quotes(text: str) -> str:
    """Every quotation mark is \" or '."""
    return text.translate(QUOTES)


def collapse_repeated_marks(text: str) -> str:
    """Quotes and dots once where they stand several times in a row."""
    return "".join(char if char in "\"'." else "".join(run) for char, run in groupby(text))


def drop_marks(text: str) -> str:
    """A space in the place of every mark that is no punctuation of a sentence."""
    return "".join(" " if _is_bad(char) else char for char in text)


def _is_bad(char: str) -> bool:
    return char in BAD_MARKS or (unicodedata.category(char) in BAD_CATEGORIES and char not in GOOD_SYMBOLS)


def drop_lone_dots(text: str) -> str:
    """Without dots that stand alone between words."""
    return text.replace(" . ", " ")


def part_joined_words(text: str) -> str:
    """Spaces for hyphens and underscores where there are more than three of both together."""
    if sum(map(text.count, JOINTS)) <= MOST_JOINTS:
        return text
    return text.replace("-", " ").replace("_", " ")


def space_after_marks(text: str) -> str:
    """A space between a mark of `,./` and the word after it, unless a digit (6.5) or space is before it."""
    return "".join(
        char + " " if char in ",./" and _ends_word(before) and after.isalnum() else char
        for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False)
    )


def _ends_word(char: str) -> bool:
    return not (char.isdigit() or char.isspace())


def collapse_spaces(text: str) -> str:
    """One space where there are several, or line breaks; also at the ends."""
    return re.sub(r"\s+", " ", text)


def strip_ends(text: str) -> str:
    """Without quotes around the whole text, and without punctuation that no text begins or ends with.

    Space goes last, so that a comma that a dropped word leaves at the end goes with the next pass, as in the cases.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2:
        text = text[1:-1]
    return text.lstrip(NO_BEGINNING).rstrip(NO_END).strip()
