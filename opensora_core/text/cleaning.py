"""The cleaning of prompts as Open-Sora v1 does it before T5, in the order of its rules.

Written from a description of the official behaviour and recorded cases (`tests/golden/text_clean.json`).
"""

from __future__ import annotations

from collections.abc import Callable

from .cleaning_marks import (
    collapse_repeated_marks,
    collapse_spaces,
    drop_cjk,
    drop_lone_dots,
    drop_marks,
    part_joined_words,
    space_after_marks,
    strip_ends,
    unify_dashes,
    unify_quotes,
)
from .cleaning_markup import (
    drop_entities,
    fix_encoding,
    lower_case,
    strip_html,
    unescape_twice,
    unquote,
    unwrap_person,
)
from .cleaning_words import (
    drop_addresses,
    drop_article_id,
    drop_codes,
    drop_file_names,
    drop_image_types,
    drop_ips,
    drop_long_numbers,
    drop_nicknames,
    drop_number_signs,
    drop_pages,
    drop_phrases,
    drop_sizes,
)

PASSES = 2
"""How often a prompt is cleaned: what one pass uncovers, such as an escaped tag, the next removes."""


def _part_lines(text: str) -> str:
    """A line break written out as backslash and n is a space."""
    return text.replace("\\n", " ")


def _close_colons(text: str) -> str:
    return text.replace(" : ", ": ")


RULES: tuple[Callable[[str], str], ...] = (
    unquote,
    lower_case,
    unwrap_person,
    drop_addresses,
    strip_html,
    drop_nicknames,
    drop_cjk,
    unify_dashes,
    unify_quotes,
    drop_entities,
    drop_ips,
    drop_article_id,
    _part_lines,
    drop_number_signs,
    drop_long_numbers,
    drop_file_names,
    collapse_repeated_marks,
    drop_marks,
    drop_lone_dots,
    part_joined_words,
    fix_encoding,
    unescape_twice,
    drop_codes,
    drop_phrases,
    drop_image_types,
    drop_pages,
    drop_sizes,
    _close_colons,
    space_after_marks,
    collapse_spaces,
    strip_ends,
)


def clean_once(text: str) -> str:
    """A prompt after one pass of the rules: one line in lower case, possibly empty.

    Raises MissingDependencyError, naming the extra, without ftfy.
    """
    for rule in RULES:
        text = rule(text)
    return text


def clean_prompt(text: str) -> str:
    """A prompt as T5 is given it by Open-Sora v1: cleaned PASSES times; errors as in `clean_once`."""
    for _ in range(PASSES):
        text = clean_once(text)
    return text
