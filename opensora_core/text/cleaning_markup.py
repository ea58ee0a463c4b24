"""Rules of cleaning about encodings and markup: percent signs, tags, entities, wrongly decoded characters.

Written from a description of the official behaviour and recorded cases (`tests/golden/text_clean.json`).
"""

from __future__ import annotations

import html
from html.parser import HTMLParser
from urllib.parse import unquote_plus

from ..errors import MissingDependencyError

# These stand inside a word (<b>C</b>at); any other tag parts what is before it from what is after it.
INLINE_TAGS = {"a", "b", "em", "font", "i", "s", "small", "span", "strong", "sub", "sup", "u"}


def unquote(text: str) -> str:
    """%20 and + are a space, %2C is a comma, and so on."""
    return unquote_plus(text)


def lower_case(text: str) -> str:
    """Lower case, without space at the ends."""
    return text.strip().lower()


def unwrap_person(text: str) -> str:
    """The placeholder <person> of a blanked name is a word and no tag."""
    return text.replace("<person>", "person")


def strip_html(text: str) -> str:
    """The text without tags and comments, its entities decoded, without space at the ends."""
    parser = _TextOfHtml()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError:  # html.parser does so at a declaration that it does not know, as in "<![if"
        return text
    return "".join(parser.pieces).strip()


class _TextOfHtml(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in INLINE_TAGS:
            self.pieces.append(" ")


def drop_entities(text: str) -> str:
    """Without the &quot and &amp that are left since they were escaped twice."""
    for entity in ("&quot;", "&quot", "&amp;", "&amp"):
        text = text.replace(entity, "")
    return text


def fix_encoding(text: str) -> str:
    """Characters that were decoded wrongly, ligatures and wide letters put right by ftfy."""
    try:
        import ftfy
    except ImportError as error:
        remedy = "pip install 'opensora-core[text]'"
        raise MissingDependencyError(f"the cleaning of prompts needs ftfy: {remedy}", name="ftfy") from error
    return str(ftfy.fix_text(text))


def unescape_twice(text: str) -> str:
    """Entities decoded, also those that were escaped twice."""
    return html.unescape(html.unescape(text))
