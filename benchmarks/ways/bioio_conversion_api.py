# /// script
# dependencies = ["bioio-conversion", "bioio-tifffile", "imagecodecs"]
# ///
"""bioio-conversion: ``OmeZarrConverter``. It cannot read a series, so it reads the same planes as one TIFF stack.

Pyramid: all axes halved, as it is asked to (left alone it keeps z); one voxel of each window for all kinds, because it
has neither mean nor mode nor maximum. With the chunks of all ways it reads the whole stack into memory and writes it
from one process. It uses several only for chunks of its own choice; each then decodes the whole stack, which is slower.
"""

from __future__ import annotations

from _way import CHUNK, VOXEL_SIZE_UM, read_job
from bioio_conversion.converters import OmeZarrConverter
from zarr.codecs import BloscCodec


def main() -> None:
    """Convert the stack; the image lies in TARGET."""
    job = read_job()
    converter = OmeZarrConverter(
        source=str(job.stack),
        destination=str(job.target),
        name="image",
        num_levels=len(job.factors) + 1,
        downsample_z=True,
        chunk_shape=CHUNK,
        compressor=BloscCodec(**job.blosc),
        physical_pixel_size=list(VOXEL_SIZE_UM),
        axes_units=["micrometer"] * 3,
        n_workers=job.threads,
    )
    converter.convert()


if __name__ == "__main__":
    main()
