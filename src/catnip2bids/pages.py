"""Pages of HTML, from templates.

Invariant: whatever comes from names, tables and files of users is escaped, and a value that is missing is an error.
"""

from __future__ import annotations

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
