"""The order of the planes of an OME-TIFF, by TiffData in its OME-XML.

Invariant: pages are read in the order of the file, so one whose TiffData says anything else is never a volume.
"""

from __future__ import annotations

from xml.etree import ElementTree

from catnip2bids.documents import read_xml
from catnip2bids.formatting import format_planes


def order_of_files(xml: str) -> list[str]:
    """Return the names of the files of an OME-TIFF in the order of their planes; none where one file holds all.

    Raises
    ------
    xml.etree.ElementTree.ParseError, ValueError
        If the OME-XML is damaged.
    """
    planes = [
        (int(block.get("FirstZ", "0")), str(element.get("FileName")))
        for block in read_xml(xml).iter()
        if block.tag.endswith("}TiffData")
        for element in block
        if element.tag.endswith("}UUID") and element.get("FileName")
    ]
    return [name for _, name in sorted(planes)] if len({name for _, name in planes}) > 1 else []


_EACH_ONCE = "TiffData must name each of the {} planes once, in order"


def misplaced(document: ElementTree.Element, pixels: ElementTree.Element, n_planes: int) -> str | None:
    """Describe why page n is not plane n; None if it is.

    Parameters
    ----------
    document
        The OME-XML, of any version.
    pixels
        Its Pixels, of one channel and one time point. Without TiffData, pages are in the order of the file.
    n_planes
        How many planes there are.
    """
    expected, n_blocks, files = 0, 0, {document.get("UUID")} - {None}
    for block in pixels:
        if not block.tag.endswith("}TiffData"):
            continue
        n_blocks += 1
        files |= {element.text for element in block if element.tag.endswith("}UUID")}
        if len(files) > 1:
            return "planes are in several files (TiffData with UUID)"
        if (block.get("FirstC", "0"), block.get("FirstT", "0")) != ("0", "0"):
            return "TiffData speaks of a second channel or time point"
        try:
            ifd, z = int(block.get("IFD", "0")), int(block.get("FirstZ", "0"))
            # as the schema has it: one plane if the IFD is given, else all; it was NumPlanes before 2008
            count = int(block.get("PlaneCount", block.get("NumPlanes", "1" if "IFD" in block.attrib else n_planes)))
        except ValueError as failure:
            return f"TiffData has a value that is not a valid number ({failure})"
        if ifd != z:
            return f"TiffData puts page {ifd + 1} at {format_planes([z])}"
        if z != expected or count < 0:
            return _EACH_ONCE.format(n_planes)
        expected += count
    return _EACH_ONCE.format(n_planes) if n_blocks and expected != n_planes else None
