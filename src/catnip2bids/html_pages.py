"""Pages of HTML, from templates, with their pictures in them.

Invariant: whatever comes from names, tables and files of users is escaped, and a value that is missing is an error.
"""

from __future__ import annotations

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def page_templates(package: str) -> Environment:
    """Return the templates of a package, which are in its folder ``templates``."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def picture_address(kind: str, data: bytes | bytearray) -> str:
    """Return an address that holds a whole picture, so that a page needs no other file; `kind` as in ``image/png``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
