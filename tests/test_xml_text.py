"""XML documents that are read, and text for them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from catnip2bids.volume import inspect_stack
from catnip2bids.xml_text import in_xml, read_xml

MANY = f"<OME>{'<a/>' * 300_000}</OME>"


def test_a_document_of_too_many_elements_is_not_parsed() -> None:
    with pytest.raises(ElementTree.ParseError, match="300,002 elements"):
        read_xml(MANY)
    assert len(read_xml(MANY.replace("<a/>", "", 100))) == 299_900


def test_a_stack_that_is_described_by_too_many_elements_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 8), "uint8"), description=MANY, metadata=None, photometric="minisblack")
    (problem,) = inspect_stack(path).problems
    assert problem.startswith(f"{path}: its OME-XML is damaged (300,002 elements")


def test_characters_that_xml_does_not_have_are_replaced() -> None:
    assert in_xml("a\0b\udc80c") == "a\ufffdb\ufffdc"
