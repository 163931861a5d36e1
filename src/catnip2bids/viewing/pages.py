"""The page that lists what can be looked at.

Invariant: it loads nothing from anywhere, and every name in it is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from catnip2bids._version import __version__
from catnip2bids.viewing.scene import Scene


def start_page(title: str, scenes: Sequence[Scene]) -> str:
    """Write the page; a scene's address is its number."""
    environment = Environment(
        loader=PackageLoader("catnip2bids.viewing"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbered = groupby(enumerate(scenes), key=lambda item: item[1].sample)
    samples = [(name, list(of_sample)) for name, of_sample in numbered]
    return environment.get_template("start.html").render(title=title, samples=samples, version=__version__)
