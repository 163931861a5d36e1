"""The page that lists all scenes.

Invariant: the page loads no resources, and every name in it is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from catnip2bids._version import __version__
from catnip2bids.html_pages import page_templates
from catnip2bids.viewing.scene import Scene


def start_page(title: str, scenes: Sequence[Scene]) -> str:
    """Return the page; the address of a scene is its number."""
    numbered = groupby(enumerate(scenes), key=lambda item: item[1].sample)
    samples = [(name, list(of_sample)) for name, of_sample in numbered]
    return (
        page_templates("catnip2bids.viewing")
        .get_template("start.html")
        .render(title=title, samples=samples, version=__version__)
    )
