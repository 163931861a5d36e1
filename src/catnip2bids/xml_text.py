"""Parse XML documents, and make texts safe for them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters and surrogate escapes, which XML forbids (XML 1.0, section 2.2)."""
_MOST_ELEMENTS = 300_000
"""OME-XML has a few elements per plane."""


def read_xml(text: str) -> ElementTree.Element:
    """Parse an XML document.

    Raises
    ------
    ElementTree.ParseError
        If it is not XML, or has more elements than a description of an image.
    """
    if (n_elements := text.count("<")) > _MOST_ELEMENTS:
        raise ElementTree.ParseError(f"{n_elements:,} elements, and an image needs fewer than {_MOST_ELEMENTS:,}")
    return ElementTree.fromstring(text)


def in_xml(text: str) -> str:
    """Replace the characters that XML forbids."""
    return _NOT_IN_XML.sub("\ufffd", text)
