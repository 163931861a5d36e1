"""HTML pages from templates, with embedded images.

Invariant: texts from users are escaped, and a missing value is an error.
"""

from __future__ import annotations

import base64
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


@cache
def page_templates(package: str) -> Environment:
    """Return the templates in the folder ``templates`` of a package, which are compiled once."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def picture_address(kind: str, data: bytes | bytearray) -> str:
    """Return a data URL of an image; `kind` is its media subtype, such as ``png``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
