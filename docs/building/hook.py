"""What MkDocs calls while it builds the site: pictures and tables of the program's own are made, not committed.

Invariant: a picture that a page shows and that cannot be made ends the build.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from commands import describe_commands
from components import describe_components
from pictures import PictureError, take_pictures

_MADE_HERE = {"<!-- commands -->": describe_commands, "<!-- components -->": describe_components}
_made = tempfile.TemporaryDirectory(prefix="catnip2bids-docs-")


def on_startup(command: str, dirty: bool) -> None:
    """Run the demo and take the pictures, once for all builds of one `mkdocs serve`."""
    del command, dirty
    try:
        take_pictures(Path(_made.name))
    except PictureError as error:
        raise PluginError(f"the pictures of the documentation cannot be made: {error}") from error


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures to the site, as if they lay in docs/pictures."""
    for picture in sorted(Path(_made.name, "pictures").iterdir()):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put what is made of the program's own tables where a page asks for it."""
    del page, config, files
    for mark, describe in _MADE_HERE.items():
        if mark in markdown:
            markdown = markdown.replace(mark, describe())
    return markdown
