"""Text for XML documents."""

from __future__ import annotations

import re

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, and what stands for bytes of file names that are not UTF-8 (XML 1.0, section 2.2)."""


def in_xml(text: str) -> str:
    """Replace every character that no XML document can have."""
    return _NOT_IN_XML.sub("\ufffd", text)
